/**
 * Trying a reader in a process of its own, so that one that never ends or takes all memory is seen.
 *
 * @module
 */
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import type { Outcome } from "./reader.ts";

/** What came of trying a reader. */
export interface Trial extends Outcome {
  readonly name: string;
  /** The most memory its process had, in MiB. */
  readonly memory: number;
}

/** Which reader is tried, and how. */
export interface ApartOptions {
  /** Module with the `readers`, and which of them. */
  readonly module: string;
  readonly index: number;
  readonly cases: number;
  readonly seed: number;
  /** Silence of the process, in milliseconds, that counts as a hang: far more than a slow start. */
  readonly silence?: number;
  /** Memory in MiB that counts as a crash. */
  readonly mostMemory?: number;
}

/** Tries a reader in a process of its own. */
export async function tryApart(options: ApartOptions): Promise<Omit<Trial, "name">> {
  const { module, index, cases, seed, silence = 60_000, mostMemory = 512 } = options;
  const child = new Deno.Command("deno", {
    args: [
      ...["run", "--no-prompt", "--allow-read", "--allow-write", "--allow-ffi", "--no-check"],
      // Garbage of many inputs is not counted as the need of one.
      `--v8-flags=--max-old-space-size=${mostMemory},--max-semi-space-size=8`,
      new URL("./one.ts", import.meta.url).href,
      ...[module, index, cases, seed].map(String),
    ],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stderr = new Response(child.stderr).text();
  let silent = false;
  let done = 0;
  let end: { readonly outcome: Outcome; readonly peak: number } | undefined;
  const watch = (): ReturnType<typeof setTimeout> =>
    setTimeout(() => {
      silent = true;
      child.kill("SIGKILL");
    }, silence);
  let timer = watch();
  for await (const line of createInterface({ input: Readable.from(child.stdout) })) {
    clearTimeout(timer);
    timer = watch();
    const told = JSON.parse(line);
    if (told.outcome !== undefined) end = told;
    else done = told.done;
  }
  clearTimeout(timer);
  const { code, signal } = await child.status;
  const errors = await stderr;
  if (end === undefined) {
    const where = `after ${done} cases of seed ${seed}`;
    const nothing = { cases: done, accepted: 0, refused: 0, crashes: [], hangs: [], memory: NaN };
    return silent
      ? { ...nothing, hangs: [`no answer for ${silence} ms ${where}`] }
      : { ...nothing, crashes: [`ended with ${signal ?? code} ${where}: ${errors.slice(-400)}`] };
  }
  const memory = Math.round(end.peak / 2 ** 20);
  const crashes = memory <= mostMemory
    ? end.outcome.crashes
    : [...end.outcome.crashes, `took ${memory} MiB of memory, more than ${mostMemory}`];
  return { ...end.outcome, crashes, memory };
}

/** The trials as a table, with their sums. */
export function formatTable(trials: readonly Trial[]): string {
  const sum = (of: (trial: Trial) => number): number => trials.reduce((n, t) => n + of(t), 0);
  const rows = trials.map((t) => [
    t.name,
    ...[t.cases, t.accepted, t.refused, t.crashes.length, t.hangs.length, t.memory],
  ]);
  const total = [
    "all",
    ...[sum((t) => t.cases), sum((t) => t.accepted), sum((t) => t.refused)],
    ...[sum((t) => t.crashes.length), sum((t) => t.hangs.length)],
    Math.max(...trials.map((t) => t.memory)),
  ];
  return [
    "| kind of input | cases | read | refused | crashes | hangs | peak MiB |",
    "|---|---|---|---|---|---|---|",
    ...[...rows, total].map((cells) => `| ${cells.join(" | ")} |`),
  ].join("\n");
}
