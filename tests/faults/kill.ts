/**
 * Kills trainings with SIGKILL, each until it has gone on from a checkpoint twice, at random moments
 * and while checkpoints are written, and compares their weights, scores and metrics with those of a
 * training that nobody killed. The configuration is that of a small next-location model, or a given
 * one; it should train in seconds with many checkpoints.
 *
 *     deno run -A tests/faults/kill.ts [trainings] [seed] [CONFIG.yaml]
 *
 * @module
 */
import { randomKey, uniform } from "../../src/core/random.ts";
import { writeTown } from "../commands.ts";

const [count = 50, seed = 1] = Deno.args.slice(0, 2).map(Number);
const given = Deno.args[2];
const folder = await Deno.makeTempDir({ prefix: "gatewise_kill_" });
const config = `${folder}/config.yaml`;
// Small, and with a checkpoint after every second step, so that many kills fall into writing one.
const small = `training: {batch_size: 8, print_step: 3, checkpoint_step: 2}
embedding: {base_emb_size: 8}
model: {lstm_hidden_size: 16, lstm_num_layers: 1}
optimiser: {max_epoch: 4}
`;
await Deno.writeTextFile(config, given === undefined ? small : await Deno.readTextFile(given));
const data = given === undefined ? ["--data", await writeTown(folder)] : [];
/** Times that a training goes on from a checkpoint and is killed, and kills at most. */
const RESUMED = 2;
const MOST_KILLS = 12;
const train = ["run", "--no-prompt", "--allow-read", "--allow-write", "src/cli/train.ts"];
const environment = { XDG_RUNTIME_DIR: "/tmp" };

function start(...args: string[]): Deno.ChildProcess {
  return new Deno.Command("deno", {
    args: [...train, ...args],
    env: environment,
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

async function finish(child: Deno.ChildProcess): Promise<{ code: number; text: string }> {
  const { code, stderr } = await child.output();
  return { code, text: new TextDecoder().decode(stderr) };
}

/** Whether a promise is not settled after so long. */
async function lasts(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const { promise: time, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(true), milliseconds);
  const long = await Promise.race([time, promise.then(() => false)]);
  clearTimeout(timer);
  return long;
}

/** Kills a training after so long. */
async function killAfter(child: Deno.ChildProcess, milliseconds: number): Promise<void> {
  if (await lasts(child.status, milliseconds)) child.kill("SIGKILL");
}

/** Kills a training while it writes its nth checkpoint. */
async function killWriting(child: Deno.ChildProcess, run: string, nth: number): Promise<void> {
  let watcher: Deno.FsWatcher | undefined;
  while (watcher === undefined) {
    if (!await lasts(child.status, 2)) return;
    try {
      watcher = Deno.watchFs(`${run}/checkpoints`);
    } catch { /* It is not there yet. */ }
  }
  child.status.then(() => watcher.close()).catch(() => {});
  const seen = new Set<string>();
  for await (const { paths } of watcher) {
    for (const path of paths) if (path.endsWith(".partial")) seen.add(path);
    if (seen.size < nth) continue;
    child.kill("SIGKILL");
    return;
  }
}

/** What must not differ: everything but the time it took. */
async function outcome(run: string): Promise<string> {
  const weights = await Deno.readFile(`${run}/best.safetensors`);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", weights)).toHex();
  const results = JSON.parse(await Deno.readTextFile(`${run}/test_results.json`));
  const metrics = await Deno.readTextFile(`${run}/metrics.jsonl`);
  return JSON.stringify([
    hash,
    { ...results, seconds: 0 },
    metrics.replaceAll(/"seconds":[\d.e-]+/g, ""),
  ]);
}

/** Trains without an end before its end; gives the seconds it took. */
async function trainWhole(run: string): Promise<number> {
  const started = performance.now();
  const { code, text } = await finish(start("--config", config, ...data, "--out", run));
  if (code !== 0) throw new Error(text);
  return (performance.now() - started) / 1000;
}

const whole = `${folder}/whole`;
// The first training on a machine also compiles kernels, which says nothing about the others' time.
await trainWhole(`${folder}/first`);
const seconds = await trainWhole(whole);
const expected = await outcome(whole);
if (await outcome(`${folder}/first`) !== expected) throw new Error("two trainings differ");
let same = 0, kills = 0, resumed = 0, partial = 0;
const draws = uniform(randomKey(seed), count * 2 * MOST_KILLS);
let draw = 0;
for (let i = 0; i < count; i++) {
  const run = `${folder}/run_${i}`;
  let [made, goneOn] = [false, 0];
  for (let attempt = 0;; attempt++) {
    const child = made ? start("--resume", run) : start("--config", config, ...data, "--out", run);
    const end = finish(child);
    const [when, which] = [draws[draw++], draws[draw++]];
    if (goneOn < RESUMED && attempt < MOST_KILLS) {
      if (which < 0.5) await killAfter(child, 1000 * seconds * 1.1 * when);
      else await killWriting(child, run, 1 + Math.floor(10 * when));
    }
    const { code, text } = await end;
    if (made) goneOn++;
    if (code === 0 && (goneOn > 0 || attempt >= MOST_KILLS)) break;
    if (code === 0) {
      // It ended before it was to be killed: another one.
      await Deno.remove(run, { recursive: true });
      continue;
    }
    // Killed between its last file and its end.
    if (made && text.includes("this run is finished")) break;
    if (code !== 137) throw new Error(`run ${i}, attempt ${attempt}: exit ${code}: ${text}`);
    kills++;
    const names = await Array.fromAsync(Deno.readDir(`${run}/checkpoints`)).catch(() => []);
    if (names.some(({ name }) => name.endsWith(".partial"))) partial++;
    made = names.some(({ name }) => name.endsWith(".safetensors"));
    if (!made) await Deno.remove(run, { recursive: true }).catch(() => {});
  }
  if (goneOn > 0) resumed++;
  if (await outcome(run) === expected) same++;
  else console.log(`run ${i} differs: ${run}`);
  console.log(`${i + 1}/${count}: ${same} the same, ${resumed} resumed; ${kills} kills`);
}
console.log(
  `${count} trainings of ${
    seconds.toFixed(1)
  } s: ${same} ended with the same weights, scores and ` +
    `metrics as the one that nobody killed; ${kills} kills, ${partial} of them while a checkpoint ` +
    `was written; ${resumed} trainings went on from a checkpoint, the others were killed before ` +
    "their first one and trained anew",
);
if (same === count) await Deno.remove(folder, { recursive: true });
Deno.exit(same === count ? 0 : 1);
