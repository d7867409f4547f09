// @ts-types="@types/js-yaml"
import yaml from "js-yaml";
import { schemaOf, type SchemaType } from "./schema.ts";

export type { SchemaType };

/** How a tag's values are written. */
export type StyleVariant =
  | "lowercase"
  | "uppercase"
  | "camelcase"
  | "decimal"
  | "binary"
  | "octal"
  | "hexadecimal";

/** Options for {@linkcode stringify}. */
export type StringifyOptions = {
  /** Spaces a level; 2 if left out. */
  indent?: number;
  /** Whether the elements of an array are indented; `true` if left out. */
  arrayIndent?: boolean;
  /** Whether values that YAML cannot hold are left out instead of throwing. */
  skipInvalid?: boolean;
  /** Nesting level from which collections are written in flow style; -1 (never) if left out. */
  flowLevel?: number;
  /** Style of each tag. */
  styles?: Record<string, StyleVariant>;
  /** Name of the schema to use; `"default"` if left out. */
  schema?: SchemaType;
  /** Whether keys are sorted, or the order to sort them by. */
  sortKeys?: boolean | ((a: string, b: string) => number);
  /** Line width to fold at; 80 if left out. */
  lineWidth?: number;
  /** Whether an object met twice is written as an anchor and references; `true` if left out. */
  useAnchors?: boolean;
  /** Whether words that YAML 1.1 reads as booleans are quoted; `true` if left out. */
  compatMode?: boolean;
  /** Whether flow collections are written without spaces. */
  condenseFlow?: boolean;
};

/**
 * A value as a YAML document.
 *
 * @throws {TypeError} If `data` holds something that YAML cannot.
 */
export function stringify(data: unknown, options: StringifyOptions = {}): string {
  const { arrayIndent = true, useAnchors = true, compatMode = true, schema, ...rest } = options;
  try {
    return yaml.safeDump(data, {
      ...rest,
      schema: schemaOf(schema),
      noArrayIndent: !arrayIndent,
      noRefs: !useAnchors,
      noCompatMode: !compatMode,
    });
  } catch (error) {
    if (!(error instanceof yaml.YAMLException)) throw error;
    throw new TypeError(error.message, { cause: error });
  }
}
