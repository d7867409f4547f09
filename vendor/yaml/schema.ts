// @ts-types="@types/js-yaml"
import yaml from "js-yaml";

/** Name of a schema: which tags and implicit types are understood. */
export type SchemaType = "failsafe" | "json" | "core" | "default" | "extended";

// "extended" adds undefined and regular expressions (and, in js-yaml, functions: never enable it).
const schemas = {
  failsafe: yaml.FAILSAFE_SCHEMA,
  json: yaml.JSON_SCHEMA,
  core: yaml.CORE_SCHEMA,
  default: yaml.DEFAULT_SAFE_SCHEMA,
};

/** js-yaml's schema of that name. */
export function schemaOf(name: SchemaType = "default"): yaml.SchemaDefinition {
  if (name === "extended") throw new TypeError('The vendored @std/yaml has no schema "extended"');
  return schemas[name];
}
