import { InputError } from "../core/errors.ts";
import { openDevice } from "../gpu/device.ts";
import { nextLocation } from "../models/next_location.ts";
import { type Config, withOverrides } from "../train/config.ts";
import { loadData, type Samples } from "../train/data.ts";
import { evaluate, evaluator } from "../train/evaluate.ts";
import { bothScores, upload } from "../train/fit.ts";
import { loadWeights } from "../train/weights.ts";
import type { Command, Options } from "./options.ts";
import { print, runCommand, startProgress } from "./output.ts";
import { formatResults, resultsWithFloors, scoreFloors } from "./results.ts";
import { weightsOptions, weightsSource } from "./weights_source.ts";

/** What `deno task evaluate` takes. */
export const command = {
  name: "deno task evaluate",
  meaning: "Scores a trained model on samples with targets.",
  options: {
    ...weightsOptions,
    data: {
      type: "text",
      value: "PREFIX|DIR",
      meaning: "sample files; default those of the configuration",
    },
    split: {
      type: "text",
      choices: ["train", "validation", "test"],
      default: "test",
      meaning: "which samples",
    },
    quiet: { type: "flag", short: "q", meaning: "no progress" },
    json: { type: "flag", meaning: "print the scores as JSON" },
  },
  examples: ["deno task evaluate --run runs/simulated_2026-01-31_12-00-00 --split validation"],
} as const satisfies Command;

async function main(options: Options<typeof command>): Promise<void> {
  const source = await weightsSource(options);
  const split = options.split as "train" | "validation" | "test";
  const configured = withOverrides(source.config, { data: options.data });
  const { config, samples } = await loadData(configured, [split]);
  const model = nextLocation(config);
  const weights = await loadWeights(source.weights, model);
  using device = await openDevice();
  using evaluation = evaluator(device, model);
  const total = Math.ceil(samples[split].length / config.batchSize);
  const progress = startProgress({ label: split, total, quiet: options.quiet });
  const answers = await evaluate(evaluation, model, upload(device, weights), samples[split], {
    batchSize: config.batchSize,
    onBatch: (done) => progress.update(done),
  });
  progress.end();
  const scores = bothScores(answers);
  const train = await trainingSamples(configured);
  const beside = train === undefined ? [] : scoreFloors(train, samples[split]);
  print(
    options.json
      ? JSON.stringify(resultsWithFloors(scores, beside), null, 2)
      : formatResults(split, scores, beside),
  );
}

/** The samples that floors count in. Scores are worth having without floors. */
async function trainingSamples(config: Config): Promise<Samples["train"] | undefined> {
  try {
    return (await loadData(config, ["train"])).samples.train;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(`without the scores of guessing: ${error.message}`);
  }
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
