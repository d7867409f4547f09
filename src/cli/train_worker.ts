/// <reference lib="deno.worker" />
/**
 * The worker in which `deno task train` reads data and trains: its permissions end at the samples and
 * the run directory. It is given a {@linkcode TrainJob}, then perhaps the exit code of an interrupt,
 * and answers with the exit code.
 *
 * @module
 */
import denoConfig from "../../deno.json" with { type: "json" };
import { InputError } from "../core/errors.ts";
import { randomKey } from "../core/random.ts";
import { type Device, openDevice } from "../gpu/device.ts";
import type { Splits, Task } from "../tasks/task.ts";
import { taskOf } from "../tasks/tasks.ts";
import type { Checkpoint } from "../train/checkpoint.ts";
import { type CommonConfig, dataPath, differences } from "../train/config.ts";
import { fingerprint, loadData } from "../train/data.ts";
import { checkBatchSize, type Epoch, fit, type FitResult, optimizerOf } from "../train/fit.ts";
import {
  appendMetrics,
  cutMetrics,
  fileOf,
  loadCheckpoint,
  lockRun,
  type Origin,
  removeRun,
  type RunDirectory,
  saveCheckpoint,
  startRun,
  writeConfig,
  writeRunJson,
} from "../train/run_directory.ts";
import { saveWeights } from "../train/weights.ts";
import { exitCodeOf, formatDuration, print, type Progress, startProgress } from "./output.ts";

/** What the worker is to train. */
export interface TrainJob {
  /** Its directory, empty unless an earlier run goes on. */
  readonly run: RunDirectory;
  /** Whether an earlier run goes on. */
  readonly resume: boolean;
  readonly quiet: boolean;
  readonly json: boolean;
  readonly debug: boolean;
}

/** What the run used, for `environment.json`. */
function environmentOf(device: Device): Readonly<Record<string, unknown>> {
  return {
    gatewise: denoConfig.version,
    adapter: device.adapter.name,
    kernels: device.adapter.straight ? "straight" : "loop",
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    typescript: Deno.version.typescript,
    system: `${Deno.build.os} ${Deno.build.arch}`,
  };
}

/** What makes bits differ: another adapter or another release. */
function labelOf({ gatewise, adapter, kernels }: Readonly<Record<string, unknown>>): string {
  return `release ${gatewise} on ${adapter}, ${kernels} kernels`;
}

/** What to train, from its beginning or from a checkpoint. */
interface Prepared {
  readonly run: RunDirectory;
  readonly config: CommonConfig;
  readonly samples: Splits;
  readonly origin: Origin;
  readonly lock: Disposable;
  readonly from?: Checkpoint;
  /** Bytes that `metrics.jsonl` has to begin with. */
  readonly metricsBytes: number;
}

const SPLITS = ["train", "validation", "test"] as const;

async function prepareNew(
  { path, config: given }: RunDirectory,
  device: Device,
): Promise<Prepared> {
  const lock = await lockRun({ path, config: given });
  const { config, samples } = await loadData(given, SPLITS);
  checkBatchSize(config, samples);
  const run = { path, config };
  const environment = environmentOf(device);
  await startRun(run, environment);
  const data = fingerprint(config, samples);
  const origin = { config, data, environment: labelOf(environment) };
  return { run, config, samples, origin, lock, metricsBytes: 0 };
}

async function prepareEarlier(earlier: RunDirectory, device: Device): Promise<Prepared> {
  const { path } = earlier;
  const lock = await lockRun(earlier);
  const stored = await loadCheckpoint(earlier, (reason) => console.error(`not used: ${reason}`));
  const { config, samples } = await loadData(earlier.config, SPLITS);
  const run = { path, config };
  const environment = labelOf(environmentOf(device));
  const origin = { config, data: fingerprint(config, samples), environment };
  const [changed] = differences(config, stored.origin.config);
  if (changed !== undefined) {
    throw new InputError(
      `${fileOf(run, "config")}: ${changed.path} is ${changed.ours}, but the checkpoint was made ` +
        `with ${changed.theirs}: set it back, or train anew with --config`,
    );
  }
  if (origin.data !== stored.origin.data) {
    throw new InputError(
      `${
        dataPath(config) ?? `${taskOf(config).generated} data`
      }: the samples are not those that ${path} was ` +
        "trained on: give them with --data, or train anew",
    );
  }
  if (environment !== stored.origin.environment) {
    console.error(
      `the checkpoint was made with ${stored.origin.environment}; here is ${environment}: ` +
        "the results will not be the same to the last bit",
    );
  }
  const task = taskOf(config), model = task.model(config);
  const weights = model.init(randomKey(config.seed));
  const first = task.batches(config, samples.train, randomKey(config.seed)).next().value!;
  const from = stored.fit(
    weights,
    optimizerOf(config).init(weights.params),
    model.carriedStart?.(first),
  );
  const { stopped, epoch, epochs: finished } = from.progress;
  const ended = stopped || epoch > config.maxEpoch;
  if (ended && await exists(fileOf(run, "results"))) {
    throw new InputError(
      `${path}: this run is finished, after ${finished.length} epochs` +
        (stopped ? " by early stopping" : "; --epochs with more of them goes on with it"),
    );
  }
  await writeConfig(run);
  await cutMetrics(run, stored.metricsBytes);
  if (from.best !== undefined) {
    await saveWeights(
      fileOf(run, "weights"),
      task.name,
      model,
      from.best,
      from.progress.bestStep,
    );
  }
  const { metricsBytes } = stored;
  return { run, config, samples, origin, lock, from, metricsBytes };
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function train(
  { run: given, resume, quiet, json }: TrainJob,
  signal: AbortSignal,
): Promise<number> {
  using device = await openDevice();
  const prepared = await (resume ? prepareEarlier : prepareNew)(given, device);
  using _lock = prepared.lock;
  const { run, config, samples, origin, from } = prepared;
  const task = taskOf(config), model = task.model(config);
  let progress: Progress | undefined;
  let good = from?.progress.step;
  let { metricsBytes } = prepared;
  const note = (text: string): void => {
    progress?.end();
    if (!quiet) console.error(text);
  };
  note(task.describe(config, samples));
  note(
    `on ${device.adapter.name}; ` +
      (from === undefined ? `writing to ${run.path}` : `${run.path} goes on from step ${good}`),
  );
  note("preparing the kernels: the first steps take longer, most of all on a new machine");
  const resumption = `deno task train --resume ${run.path}`;
  let result: FitResult<unknown>;
  try {
    result = await fit<unknown>(device, config, samples, {
      onPass(label, total) {
        progress?.end();
        progress = startProgress({ label, total, quiet });
      },
      onBatch: (done, loss) => progress?.update(done, loss),
      onInterval: (interval) => appendMetrics(run, { kind: "interval", ...interval }),
      onEpoch(epoch) {
        appendMetrics(run, { kind: "epoch", ...epoch });
        note(formatEpoch(task, epoch));
      },
      async onCheckpoint(checkpoint) {
        ({ metricsBytes } = await saveCheckpoint(run, checkpoint, origin));
        good = checkpoint.progress.step;
      },
      onRewind({ step, loss, to, rateFactor }) {
        Deno.truncateSync(fileOf(run, "metrics"), metricsBytes);
        appendMetrics(run, {
          kind: "rewind",
          step,
          loss: String(loss ?? "finite"),
          to,
          rateFactor,
        });
        note(
          `the loss of step ${step} was ${loss ?? "finite, its parameters not"}: back to step ` +
            `${to}, with ${rateFactor} times the learning rate`,
        );
      },
      onBest: (weights, step) =>
        saveWeights(fileOf(run, "weights"), task.name, model, weights, step),
    }, { from, signal });
  } catch (error) {
    progress?.end();
    if (signal.aborted && error === signal.reason) {
      console.error(`stopped after step ${good}; go on with: ${resumption}`);
      return signal.reason;
    }
    if (good !== undefined && error instanceof Error) {
      error.message += `; go on from step ${good} with ${resumption}`;
    }
    throw error;
  }
  progress?.end();
  const beside = task.baselines(config, samples.train, samples.test);
  const results = {
    ...task.results(result.test, beside),
    best_epoch: result.bestEpoch,
    epochs: result.epochs.length,
    seconds: result.seconds,
  };
  await writeRunJson(run, "results", results);
  if (json) {
    print(JSON.stringify(results, null, 2));
    return 0;
  }
  print(task.format(config, "test", result.test, beside));
  print(
    `\nBest after epoch ${result.bestEpoch} of ${result.epochs.length}; ${
      formatDuration(result.seconds)
    } in all. Weights and scores are in ${run.path}; a page about it: deno task report --run ${run.path}`,
  );
  return 0;
}

function formatEpoch(
  task: Task,
  { epoch, trainLoss, validationLoss, validation, improved, action, seconds }: Epoch<unknown>,
): string {
  const what = action === "reduce"
    ? "; no better: back to the best weights, at a lower rate"
    : action === "stop"
    ? "; no better: done"
    : improved
    ? "; best so far"
    : "";
  return `epoch ${epoch}: loss ${trainLoss.toFixed(3)}, validation loss ${
    validationLoss.toFixed(3)
  }, ${task.summary(validation)}; ${formatDuration(seconds)}${what}`;
}

const interrupt = new AbortController();

self.onmessage = async ({ data }: MessageEvent<TrainJob | number>) => {
  if (typeof data === "number") return interrupt.abort(data);
  const code = await exitCodeOf(async () => {
    try {
      return await train(data, interrupt.signal);
    } catch (error) {
      if (!data.resume) await removeRun(data.run);
      throw error;
    }
  }, data.debug);
  self.postMessage(code);
};
