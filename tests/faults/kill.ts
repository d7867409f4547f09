/**
 * Kills trainings at random moments with SIGKILL, resumes them until they end, and compares their
 * weights, scores and metrics with those of a training that nobody killed. The configuration is that of
 * a small next-location model, or a given one; it should train in seconds with many checkpoints.
 *
 *     deno run -A tests/faults/kill.ts [trainings] [seed] [CONFIG.yaml]
 *
 * @module
 */
import { randomKey, uniform } from "../../src/core/random.ts";

const [count = 50, seed = 1] = Deno.args.slice(0, 2).map(Number);
const folder = await Deno.makeTempDir({ prefix: "gatewise_kill_" });
const config = `${folder}/config.yaml`;
// Small, and with a checkpoint after every second step, so that many kills fall into writing one.
await Deno.writeTextFile(
  config,
  Deno.args[2] !== undefined
    ? await Deno.readTextFile(Deno.args[2])
    : `training: {batch_size: 256, print_step: 3, checkpoint_step: 2}
embedding: {base_emb_size: 8}
model: {lstm_hidden_size: 16, lstm_num_layers: 1}
optimiser: {max_epoch: 2}
`,
);
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

/** Kills a process after so long, and if a run is given, as soon as it then writes a checkpoint. */
function killAfter(child: Deno.ChildProcess, milliseconds: number, run?: string): () => void {
  let watcher: Deno.FsWatcher | undefined;
  const timer = setTimeout(async () => {
    if (run === undefined) return child.kill("SIGKILL");
    try {
      watcher = Deno.watchFs(`${run}/checkpoints`);
    } catch {
      return child.kill("SIGKILL"); // There is no such folder yet.
    }
    for await (const { paths } of watcher) {
      if (paths.some((path) => path.endsWith(".partial"))) return child.kill("SIGKILL");
    }
  }, milliseconds);
  return () => {
    clearTimeout(timer);
    try {
      watcher?.close();
    } catch { /* The loop's end has closed it. */ }
  };
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
  const { code, text } = await finish(start("--config", config, "--out", run));
  if (code !== 0) throw new Error(text);
  return (performance.now() - started) / 1000;
}

const whole = `${folder}/whole`;
// The first training on a machine also compiles kernels, which says nothing about the others' time.
await trainWhole(`${folder}/first`);
const seconds = await trainWhole(whole);
const expected = await outcome(whole);
if (await outcome(`${folder}/first`) !== expected) throw new Error("two trainings differ");
let same = 0, kills = 0, partial = 0, tooEarly = 0;
const draws = uniform(randomKey(seed), count * 100);
let draw = 0;
for (let i = 0; i < count; i++) {
  const run = `${folder}/run_${i}`;
  let made = false;
  for (let attempt = 0;; attempt++) {
    const child = made ? start("--resume", run) : start("--config", config, "--out", run);
    // After four kills it may end, so that every training comes to one.
    const stop = attempt < 4
      ? killAfter(child, 1000 * seconds * 1.1 * draws[draw++], attempt % 2 === 0 ? undefined : run)
      : () => {};
    const { code, text } = await finish(child);
    stop();
    if (code === 0) break;
    if (code !== 137) throw new Error(`run ${i}, attempt ${attempt}: exit ${code}: ${text}`);
    kills++;
    const names = await Array.fromAsync(Deno.readDir(`${run}/checkpoints`)).catch(() => []);
    if (names.some(({ name }) => name.endsWith(".partial"))) partial++;
    made = names.some(({ name }) => name.endsWith(".safetensors"));
    if (!made) {
      tooEarly++;
      await Deno.remove(run, { recursive: true }).catch(() => {});
    }
  }
  if (await outcome(run) === expected) same++;
  else console.log(`run ${i} differs: ${run}`);
  console.log(`${i + 1}/${count}: ${same} the same; ${kills} kills`);
}
console.log(
  `${count} trainings of ${
    seconds.toFixed(1)
  } s: ${same} ended with the same weights, scores and ` +
    `metrics as the one that nobody killed; ${kills} kills, ${partial} of them while a checkpoint ` +
    `was written, ${tooEarly} before the first checkpoint (trained anew)`,
);
if (same === count) await Deno.remove(folder, { recursive: true });
Deno.exit(same === count ? 0 : 1);
