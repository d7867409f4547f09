/**
 * Trains for very many steps as `deno task train` does, and prints the process's memory, the device's
 * bytes and the open files as it goes, and at the end what share of the time went into checkpoints.
 * The configuration is that of a small model for the simulated people, or a given one, without its
 * early stopping.
 *
 *     deno run -A tests/faults/soak.ts [steps] [CONFIG.yaml]
 *
 * @module
 */
import { openDevice } from "../../src/gpu/device.ts";
import { parseConfig, readConfig } from "../../src/train/config.ts";
import { fingerprint, loadData } from "../../src/train/data.ts";
import { taskOf } from "../../src/tasks/tasks.ts";
import { fit } from "../../src/train/fit.ts";
import {
  appendMetrics,
  claimRun,
  saveCheckpoint,
  startRun,
} from "../../src/train/run_directory.ts";

const steps = Number(Deno.args[0] ?? 20_000);
const file = Deno.args[1];
const small = `training: {batch_size: 16}
embedding: {base_emb_size: 8}
model: {lstm_hidden_size: 16, lstm_num_layers: 1}
`;
const read = file === undefined ? parseConfig(small, "soak.yaml") : await readConfig(file);
const given = { ...read, maxEpoch: 100_000, patience: 100_000 };
const folder = await Deno.makeTempDir({ prefix: "gatewise_soak_" });
const loaded = await loadData(given, ["train", "validation", "test"]);
const { samples } = loaded;
const epoch = taskOf(given).batchCount(loaded.config, samples.train, true);
/** The greatest common divisor. */
const common = (a: number, b: number): number => b === 0 ? a : common(b, a % b);
// Results are read just before a checkpoint is due: what it then takes is its own.
const config = { ...loaded.config, printStep: common(epoch, given.checkpointStep) };
using device = await openDevice();
const run = { path: await claimRun(config, { out: `${folder}/run` }), config };
await startRun(run, {});
const origin = { config, data: fingerprint(config, samples), environment: "soak" };
const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
let seen = 0;
let checkpoints = 0;
let checkpointMs = 0;
let before = 0;
const stop = new AbortController();
const started = performance.now();
console.log("| steps | seconds | resident MiB | heap MiB | device MiB | open files |");
console.log("|---|---|---|---|---|---|");
function measure(step: number): void {
  const { rss, heapUsed } = Deno.memoryUsage();
  const files = [...Deno.readDirSync("/proc/self/fd")].length;
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  const bytes = [rss, heapUsed, device.liveBytes].map(mebibytes);
  console.log(`| ${[step, seconds, ...bytes, files].join(" | ")} |`);
}
try {
  await fit(device, config, samples, {
    onInterval: (record) => appendMetrics(run, { kind: "interval", ...record }),
    onBatch: () => void (before = performance.now()),
    onEpoch(epoch) {
      appendMetrics(run, { kind: "epoch", ...epoch });
      before = performance.now();
    },
    async onCheckpoint(checkpoint) {
      await saveCheckpoint(run, checkpoint, origin);
      // With reading the state.
      checkpointMs += performance.now() - before;
      checkpoints++;
      const { step } = checkpoint.progress;
      if (seen === 0 || step - seen >= steps / 10) measure(seen = step);
      if (step >= steps) stop.abort();
    },
  }, { signal: stop.signal });
} catch (error) {
  if (error !== stop.signal.reason) throw error;
}
measure(steps);
console.log(
  `${checkpoints} checkpoints took ${(checkpointMs / 1000).toFixed(1)} s, ${
    (100 * checkpointMs / (performance.now() - started)).toFixed(1)
  }% of the time`,
);
await Deno.remove(folder, { recursive: true });
