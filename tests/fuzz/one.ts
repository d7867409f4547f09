/**
 * Tries one reader in a process of its own: `one.ts MODULE INDEX CASES SEED`. Prints a line of JSON
 * every half second, how many cases are done, and one with the outcome and the peak memory.
 *
 * @module
 */
import { type Reader, tryReader } from "./reader.ts";

/** The most memory that this process has had, in bytes. */
function peakMemory(): number {
  try {
    const [, kib] = /VmHWM:\s*(\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))!;
    return Number(kib) * 1024;
  } catch {
    return Deno.memoryUsage().rss; // Not Linux.
  }
}

const [module, index, cases, seed] = Deno.args;
const { readers }: { readers: readonly Reader[] } = await import(module);
let done = 0;
let told = 0;
const outcome = await tryReader(readers[Number(index)], {
  cases: Number(cases),
  seed: Number(seed),
  onCase() {
    done++;
    if (performance.now() - told < 500) return;
    told = performance.now();
    console.log(JSON.stringify({ done }));
  },
});
console.log(JSON.stringify({ outcome, peak: peakMemory() }));
