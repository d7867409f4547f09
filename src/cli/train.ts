import denoConfig from "../../deno.json" with { type: "json" };
import { InputError } from "../core/errors.ts";
import { randomKey } from "../core/random.ts";
import { mostVisited } from "../data/floors.ts";
import { type Device, openDevice } from "../gpu/device.ts";
import { formatScoreTable, testResults } from "../metrics/scores.ts";
import { type Initial, nextLocation } from "../models/next_location.ts";
import type { Checkpoint } from "../train/checkpoint.ts";
import {
  dataPath,
  defaultConfig,
  differences,
  formatDefaults,
  readConfig,
  withOverrides,
} from "../train/config.ts";
import { fingerprint, loadData, type Samples, type SizedConfig } from "../train/data.ts";
import {
  type BothScores,
  bothScores,
  checkBatchSize,
  type Epoch,
  fit,
  type FitResult,
  optimizerOf,
} from "../train/fit.ts";
import {
  appendMetrics,
  createRun,
  cutMetrics,
  fileOf,
  loadCheckpoint,
  lockRun,
  openRun,
  type Origin,
  removeRun,
  type RunDirectory,
  saveCheckpoint,
  writeConfig,
  writeRunJson,
} from "../train/run_directory.ts";
import { saveWeights } from "../train/weights.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { formatDuration, print, type Progress, runCommand, startProgress } from "./output.ts";

/** What `deno task train` takes. */
export const command = {
  name: "deno task train",
  meaning:
    "Trains the next-location model and tests it. Without --config and --data it trains on\n" +
    "simulated people. Everything about the run is written to a directory of its own.",
  options: {
    config: { type: "text", value: "FILE", meaning: "YAML configuration; default: see --defaults" },
    data: {
      type: "text",
      value: "PREFIX|DIR",
      meaning: "sample files <prefix>_train, _validation, _test (.pk, .jsonl, .jsonl.gz)",
    },
    out: { type: "text", value: "DIR", meaning: "run directory; default a new one in runs/" },
    resume: { type: "text", value: "DIR", meaning: "go on with the run in that directory" },
    seed: { type: "whole", min: 0, meaning: "seed of everything random" },
    epochs: { type: "whole", min: 1, meaning: "epochs at most" },
    "on-nan": {
      type: "text",
      choices: ["stop", "rewind"],
      meaning: "a loss that is not finite ends training, or goes back with half the rate",
    },
    quiet: { type: "flag", short: "q", meaning: "no progress" },
    json: { type: "flag", meaning: "print the test results as JSON" },
    defaults: { type: "flag", meaning: "print every configuration key with its default, and exit" },
  },
  examples: [
    "deno task train",
    "deno task train --config geolife.yaml --data data/geolife_eps20_prev7 --seed 1",
    "deno task train --resume runs/geolife_2026-11-22_20-21-48",
  ],
} as const satisfies Command;

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

/** A run to train, from its beginning or from a checkpoint. */
interface Job {
  readonly run: RunDirectory;
  readonly config: SizedConfig;
  readonly samples: Samples;
  readonly origin: Origin;
  readonly lock: Disposable;
  readonly from?: Checkpoint;
}

const SPLITS = ["train", "validation", "test"] as const;

async function startRun(options: Options<typeof command>, device: Device): Promise<Job> {
  const { config: file, seed, epochs, data, out, "on-nan": onNan } = options;
  const base = file === undefined ? defaultConfig : await readConfig(file);
  const { config, samples } = await loadData(
    withOverrides(base, { seed, epochs, data, onNan }),
    SPLITS,
  );
  checkBatchSize(config, samples);
  const environment = environmentOf(device);
  const run = await createRun(config, { out, environment });
  const lock = await lockRun(run);
  const origin = { config, data: fingerprint(samples), environment: labelOf(environment) };
  return { run, config, samples, origin, lock };
}

async function resumeRun(
  path: string,
  options: Options<typeof command>,
  device: Device,
): Promise<Job> {
  const given = (["config", "out", "seed"] as const).find((name) => options[name] !== undefined);
  if (given !== undefined) {
    throw new UsageError(`--${given} cannot be given with --resume: the run has its own`);
  }
  const { epochs, data, "on-nan": onNan } = options;
  const opened = await openRun(path);
  const lock = await lockRun(opened);
  const stored = await loadCheckpoint(opened, (reason) => console.error(`not used: ${reason}`));
  const { config, samples } = await loadData(
    withOverrides(opened.config, { epochs, data, onNan }),
    SPLITS,
  );
  const run = { path: opened.path, config };
  const environment = labelOf(environmentOf(device));
  const origin = { config, data: fingerprint(samples), environment };
  const [changed] = differences(config, stored.origin.config);
  if (changed !== undefined) {
    throw new InputError(
      `${fileOf(run, "config")}: ${changed.path} is ${changed.ours}, but the checkpoint was made ` +
        `with ${changed.theirs}: set it back, or train anew with --config`,
    );
  }
  if (origin.data !== stored.origin.data) {
    throw new InputError(
      `${dataPath(config) ?? "simulated data"}: the samples are not those that ${path} was ` +
        "trained on: give them with --data, or train anew",
    );
  }
  if (environment !== stored.origin.environment) {
    console.error(
      `the checkpoint was made with ${stored.origin.environment}; here is ${environment}: ` +
        "the results will not be the same to the last bit",
    );
  }
  const weights = nextLocation(config).init(randomKey(config.seed));
  const from = stored.fit(weights, optimizerOf(config).init(weights.params));
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
    const model = nextLocation(config);
    await saveWeights(fileOf(run, "weights"), model, from.best, from.progress.bestStep);
  }
  return { run, config, samples, origin, lock, from };
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** Ctrl-C and its like: the first ends training after the running step, the second at once. */
function onInterrupt(interrupt: (code: number) => void): Disposable {
  const codes = Deno.build.os === "windows" ? { SIGINT: 130 } : { SIGINT: 130, SIGTERM: 143 };
  let before = false;
  const listeners = Object.entries(codes).map(([name, code]) => {
    const listener = (): void => {
      if (before) Deno.exit(code);
      before = true;
      interrupt(code);
    };
    return [name as Deno.Signal, listener] as const;
  });
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  return {
    [Symbol.dispose](): void {
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    },
  };
}

async function main(options: Options<typeof command>): Promise<number> {
  if (options.defaults) {
    print(formatDefaults().trimEnd());
    return 0;
  }
  using device = await openDevice();
  const job = options.resume === undefined
    ? await startRun(options, device)
    : await resumeRun(options.resume, options, device);
  const { run, config, samples, origin, from } = job;
  using _lock = job.lock;
  const model = nextLocation(config);
  const { quiet } = options;
  let progress: Progress | undefined;
  let recorded = from !== undefined;
  let good = from?.progress.step;
  let metricsBytes = 0;
  const note = (text: string): void => {
    progress?.end();
    if (!quiet) console.error(text);
  };
  const abort = new AbortController();
  let interrupted: number | undefined;
  using _signals = onInterrupt((code) => {
    interrupted = code;
    abort.abort();
    note("finishing the step and saving; once more stops at once");
  });
  note(
    `${samples.train.length} training, ${samples.validation.length} validation and ` +
      `${samples.test.length} test samples; ${config.totalLocNum} locations, ` +
      `${config.totalUserNum} users`,
  );
  note(
    `on ${device.adapter.name}; ` +
      (from === undefined ? `writing to ${run.path}` : `${run.path} goes on from step ${good}`),
  );
  note("preparing the kernels: the first steps take longer, most of all on a new machine");
  const resumption = `deno task train --resume ${run.path}`;
  let result: FitResult;
  try {
    result = await fit(device, config, samples, {
      onPass(label, total) {
        progress?.end();
        progress = startProgress({ label, total, quiet });
      },
      onBatch: (done, loss) => progress?.update(done, loss),
      onInterval({ epoch, step, learningRate, train }) {
        appendMetrics(run, { kind: "interval", epoch, step, learningRate, train });
        recorded = true;
      },
      onEpoch(epoch) {
        appendMetrics(run, { kind: "epoch", ...epoch });
        note(formatEpoch(epoch));
      },
      async onCheckpoint(checkpoint) {
        ({ metricsBytes } = await saveCheckpoint(run, checkpoint, origin));
        good = checkpoint.progress.step;
        recorded = true;
      },
      onRewind({ step, loss, to, rateFactor }) {
        Deno.truncateSync(fileOf(run, "metrics"), metricsBytes);
        appendMetrics(run, { kind: "rewind", step, loss: String(loss), to, rateFactor });
        note(
          `the loss of step ${step} was ${loss ?? "finite, its parameters not"}: back to step ` +
            `${to}, with ${rateFactor} times the learning rate`,
        );
      },
      onBest: (weights: Initial, step) => saveWeights(fileOf(run, "weights"), model, weights, step),
    }, { from, signal: abort.signal });
  } catch (error) {
    progress?.end();
    if (interrupted !== undefined && error === abort.signal.reason) {
      console.error(`stopped after step ${good}; go on with: ${resumption}`);
      return interrupted;
    }
    if (!recorded) await removeRun(run);
    if (recorded && good !== undefined && error instanceof Error) {
      error.message += `; go on from step ${good} with ${resumption}`;
    }
    throw error;
  }
  progress?.end();
  const floor = bothScores([mostVisited(samples.train, samples.test)]);
  const test = testResults(result.test.all, result.test.known);
  await writeRunJson(run, "results", {
    ...test,
    best_epoch: result.bestEpoch,
    epochs: result.epochs.length,
    seconds: result.seconds,
    floors: { most_visited: testResults(floor.all, floor.known) },
  });
  if (options.json) {
    print(JSON.stringify(test, null, 2));
    return 0;
  }
  print(formatTest(result.test, floor));
  print(
    `\nBest after epoch ${result.bestEpoch} of ${result.epochs.length}; ${
      formatDuration(result.seconds)
    } in all. Weights and scores are in ${run.path}`,
  );
  return 0;
}

function formatEpoch({ epoch, train, validation, improved, action, seconds }: Epoch): string {
  const what = action === "reduce"
    ? "; no better: back to the best weights, at a lower rate"
    : action === "stop"
    ? "; no better: done"
    : improved
    ? "; best so far"
    : "";
  return `epoch ${epoch}: loss ${train.all.loss!.toFixed(3)}, validation loss ${
    validation.all.loss!.toFixed(3)
  }, acc@1 ${validation.all.acc1.toFixed(2)}, acc@10 ${validation.all.acc10.toFixed(2)}; ${
    formatDuration(seconds)
  }${what}`;
}

/** The test's scores beside those of guessing without a model. */
function formatTest(test: BothScores, floor: BothScores): string {
  const guess = "always the user's most visited place";
  return formatScoreTable([
    { name: "test, this model", scores: test.all },
    { name: `test, ${guess}`, scores: floor.all },
    { name: "known places, this model", scores: test.known },
    { name: `known places, ${guess}`, scores: floor.known },
  ]);
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
