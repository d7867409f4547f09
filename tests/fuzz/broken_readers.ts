/**
 * Readers that do what readers must not, for tests/fuzz_test.ts.
 *
 * @module
 */
import fc from "fast-check";
import { type Reader, reader } from "./reader.ts";

/** One that never ends, one that ends the process, one that takes 400 MiB. */
export const readers: readonly Reader[] = [
  () => {
    while (true);
  },
  () => Deno.exit(3),
  () => new Uint8Array(400 * 2 ** 20).fill(1).length,
].map((read) => reader({ name: "broken", input: fc.nat(), read }));
