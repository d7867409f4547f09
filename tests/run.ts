/**
 * `deno task test`: every check of the project one after the other. The last line counts them:
 * `N passed, N failed`, each test and each other check being one. Arguments go to `deno test`.
 *
 * @module
 */
import { findBrowser } from "./browser.ts";

interface Count {
  readonly passed: number;
  readonly failed: number;
}

interface Outcome {
  readonly success: boolean;
  /** The signal that ended the process, if one did. */
  readonly signal: Deno.Signal | null;
  readonly output: string;
}

/** Runs `deno` with its output passed on. */
async function deno(args: readonly string[]): Promise<Outcome> {
  console.log(`> deno ${args.join(" ")}`);
  const child = new Deno.Command("deno", { args: [...args], stdout: "piped" }).spawn();
  const [shown, kept] = child.stdout.tee();
  const [output] = await Promise.all([
    new Response(kept).text(),
    shown.pipeTo(Deno.stdout.writable, { preventClose: true }),
  ]);
  const { success, signal } = await child.status;
  return { success, signal, output };
}

const one = (success: boolean): Count => ({ passed: success ? 1 : 0, failed: success ? 0 : 1 });

/** Most tests need an adapter and skip without one: here that is a failure. */
async function checkAdapter(): Promise<Count> {
  const adapter = await navigator.gpu?.requestAdapter();
  console.log(
    adapter
      ? `WebGPU adapter: ${adapter.info.description || adapter.info.vendor}`
      : "WebGPU adapter: none. Run this through ./denow, which installs Mesa's software driver.",
  );
  return one(adapter != null);
}

/** Runs the tests and reads the total at the end: `ok | 12 passed (3 steps) | 0 failed (2s)`. */
async function runTests(args: readonly string[]): Promise<Count> {
  // Tests write to temporary folders, run the commands, load DuckDB and open a report in a browser.
  const programs = ["deno", findBrowser() ?? []].flat().join(",");
  const permissions = ["--allow-read", "--allow-write", "--allow-env", "--allow-ffi"];
  const run = `--allow-run=${programs}`;
  const { success, signal, output } = await deno(["test", "--doc", ...permissions, run, ...args]);
  // deno-lint-ignore no-control-regex -- the colours of a terminal
  const plain = output.replace(/\x1b\[[0-9;]*m/g, "");
  const totals = [...plain.matchAll(/^(ok|FAILED) \| (\d+) passed.*?\| (\d+) failed/gm)];
  const [, verdict, passed, failed] = totals.at(-1) ?? ["", "", "0", "0"];
  // Mesa's software driver now and then frees memory twice while a process that used it exits. The
  // total is printed before that; a crash during the tests leaves none.
  const crashedAfter = signal !== null && verdict === "ok";
  if (crashedAfter) console.log(`All tests had passed when their process was ended by ${signal}.`);
  // A failure before the first test, such as a type error, is in no total.
  return {
    passed: Number(passed),
    failed: success || crashedAfter ? Number(failed) : Math.max(Number(failed), 1),
  };
}

const counts: Count[] = [await checkAdapter()];
for (const args of [["fmt", "--check"], ["lint"], ["check"], ["doc", "--lint", "mod.ts"]]) {
  counts.push(one((await deno(args)).success));
}
counts.push(await runTests(Deno.args));

const passed = counts.reduce((all, count) => all + count.passed, 0);
const failed = counts.reduce((all, count) => all + count.failed, 0);
console.log(`${passed} passed, ${failed} failed`);
Deno.exit(failed > 0 ? 1 : 0);
