/**
 * `@std/cli` for machines that cannot reach JSR: `parseArgs` with the same signature over
 * `node:util`'s.
 *
 * @module
 */
export * from "./parse_args.ts";
