import denoConfig from "../../deno.json" with { type: "json" };
import { mostVisited } from "../data/floors.ts";
import { type Device, openDevice } from "../gpu/device.ts";
import { formatScoreTable, testResults } from "../metrics/scores.ts";
import { type Initial, nextLocation } from "../models/next_location.ts";
import {
  type Config,
  defaultConfig,
  formatDefaults,
  readConfig,
  withOverrides,
} from "../train/config.ts";
import { loadData } from "../train/data.ts";
import { type BothScores, bothScores, checkBatchSize, type Epoch, fit } from "../train/fit.ts";
import {
  appendMetrics,
  createRun,
  fileOf,
  removeRun,
  writeRunJson,
} from "../train/run_directory.ts";
import { saveWeights } from "../train/weights.ts";
import type { Command, Options } from "./options.ts";
import { formatDuration, print, type Progress, runCommand, startProgress } from "./output.ts";

const command = {
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
    seed: { type: "whole", min: 0, meaning: "seed of everything random" },
    epochs: { type: "whole", min: 1, meaning: "epochs at most" },
    quiet: { type: "flag", short: "q", meaning: "no progress" },
    json: { type: "flag", meaning: "print the test results as JSON" },
    defaults: { type: "flag", meaning: "print every configuration key with its default, and exit" },
  },
  examples: [
    "deno task train",
    "deno task train --config geolife.yaml --data data/geolife_eps20_prev7 --seed 1",
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

async function configOf(options: Options<typeof command>): Promise<Config> {
  const { config, seed, epochs, data } = options;
  const base = config === undefined ? defaultConfig : await readConfig(config);
  return withOverrides(base, { seed, epochs, data });
}

async function main(options: Options<typeof command>): Promise<void> {
  if (options.defaults) return print(formatDefaults().trimEnd());
  const { config, samples } = await loadData(await configOf(options), [
    "train",
    "validation",
    "test",
  ]);
  checkBatchSize(config, samples);
  using device = await openDevice();
  const run = await createRun(config, { out: options.out, environment: environmentOf(device) });
  const model = nextLocation(config);
  const { quiet } = options;
  let progress: Progress | undefined;
  let recorded = false;
  const note = (text: string): void => {
    if (!quiet) console.error(text);
  };
  const started = performance.now();
  note(
    `${samples.train.length} training, ${samples.validation.length} validation and ` +
      `${samples.test.length} test samples; ${config.totalLocNum} locations, ` +
      `${config.totalUserNum} users`,
  );
  note(`on ${device.adapter.name}; writing to ${run.path}`);
  note("preparing the kernels: the first steps take longer, most of all on a new machine");
  const result = await fit(device, config, samples, {
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
      progress?.end();
      note(formatEpoch(epoch));
    },
    onBest: (weights: Initial, step) => saveWeights(fileOf(run, "weights"), model, weights, step),
  }).catch(async (error) => {
    if (!recorded) await removeRun(run);
    throw error;
  });
  progress?.end();
  const seconds = (performance.now() - started) / 1000;
  const floor = bothScores([mostVisited(samples.train, samples.test)]);
  const test = testResults(result.test.all, result.test.known);
  await writeRunJson(run, "results", {
    ...test,
    best_epoch: result.bestEpoch,
    epochs: result.epochs.length,
    seconds,
    floors: { most_visited: testResults(floor.all, floor.known) },
  });
  if (options.json) return print(JSON.stringify(test, null, 2));
  print(formatTest(result.test, floor));
  print(
    `\nBest after epoch ${result.bestEpoch} of ${result.epochs.length}; ${
      formatDuration(seconds)
    } in all. Weights and scores are in ${run.path}`,
  );
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
