/**
 * `deno task fuzz`: tries every reader with bad input, each in a process of its own, and prints what
 * came of it as a table. Exits with 1 after a crash, a hang, or too much memory.
 *
 * @module
 */
import type { Command, Options } from "../../src/cli/options.ts";
import { runCommand } from "../../src/cli/output.ts";
import { readers } from "./readers.ts";
import { formatTable, type Trial, tryApart } from "./apart.ts";

const command = {
  name: "deno task fuzz",
  meaning: "Tries every reader of files and command lines with bad input.",
  options: {
    cases: { type: "whole", min: 1, default: 6000, meaning: "inputs a reader" },
    seed: { type: "whole", min: 0, max: 2 ** 31 - 1, meaning: "seed; default a new one, printed" },
    reader: { type: "text", meaning: "only readers whose name holds this" },
  },
  examples: ["deno task fuzz --cases 100000 --seed 1", "deno task fuzz --reader pickle"],
} as const satisfies Command;

async function main({ cases, seed, reader = "" }: Options<typeof command>): Promise<void> {
  const start = seed ?? crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
  console.log(`seed ${start}`);
  const module = new URL("./readers.ts", import.meta.url).href;
  const trials: Trial[] = [];
  for (const [index, { name }] of readers.entries()) {
    if (!name.includes(reader)) continue;
    console.error(`${name} ...`);
    const trial = { name, ...await tryApart({ module, index, cases, seed: start }) };
    trials.push(trial);
    const { crashes, hangs } = trial;
    console.error(`  ${trial.cases} cases, ${crashes.length} crashes, ${hangs.length} hangs`);
  }
  console.log(formatTable(trials));
  const problems = trials.flatMap(({ name, crashes, hangs }) =>
    [...crashes, ...hangs].map((problem) => `${name}: ${problem}`)
  );
  for (const problem of problems) console.log(`\n${problem}`);
  if (problems.length > 0) Deno.exit(1);
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
