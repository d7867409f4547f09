// @ts-types="@types/js-yaml"
import yaml from "js-yaml";
import { schemaOf, type SchemaType } from "./schema.ts";

export type { SchemaType };

/** Options for {@linkcode parse}. */
export interface ParseOptions {
  /** Name of the schema to use; `"default"` if left out. */
  schema?: SchemaType;
  /** Whether a repeated key overwrites the earlier value instead of throwing. */
  allowDuplicateKeys?: boolean;
  /** Called with each warning. */
  onWarning?(error: Error): void;
}

/** Runs js-yaml with `@std/yaml`'s options, and its errors as SyntaxErrors (line and column in the message). */
function load<T>(
  options: ParseOptions,
  read: (settings: yaml.LoadOptions) => T,
): T {
  try {
    return read({
      schema: schemaOf(options.schema),
      json: options.allowDuplicateKeys ?? false,
      onWarning: (error) => options.onWarning?.(error),
    });
  } catch (error) {
    if (!(error instanceof yaml.YAMLException)) throw error;
    throw new SyntaxError(error.message, { cause: error });
  }
}

/**
 * The value that a YAML document describes; `null` for an empty one. Runs no code.
 *
 * @throws {SyntaxError} If `content` is not one YAML document; the message ends in the line,
 * column and text of the place.
 */
export function parse(content: string, options: ParseOptions = {}): unknown {
  return load(options, (settings) => yaml.safeLoad(content, settings)) ?? null;
}

/**
 * The values of all documents of a YAML stream.
 *
 * @throws {SyntaxError} If `content` is not YAML.
 */
export function parseAll(content: string, options: ParseOptions = {}): unknown {
  return load(options, (settings) => yaml.safeLoadAll(content, null, settings));
}
