/**
 * `@std/yaml` for machines that cannot reach JSR: the same signatures over `npm:js-yaml@3`, the
 * library that `@std/yaml` is a port of.
 *
 * @module
 */
export * from "./parse.ts";
export * from "./stringify.ts";
