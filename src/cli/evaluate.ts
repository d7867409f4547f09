import { printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { openDevice } from "../gpu/device.ts";
import { formatTable } from "../metrics/table.ts";
import { type CommonConfig, withOverrides } from "../train/config.ts";
import { loadData } from "../train/data.ts";
import { evaluate, evaluator, predictions } from "../train/evaluate.ts";
import { upload } from "../train/fit.ts";
import { loadWeights } from "../train/weights.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { print, runCommand, startProgress } from "./output.ts";
import { weightsOptions, weightsSource } from "./weights_source.ts";

/** What `deno task evaluate` takes. */
export const command = {
  name: "deno task evaluate",
  meaning: "Scores a trained model on data with targets.",
  options: {
    ...weightsOptions,
    data: {
      type: "text",
      value: "PREFIX|DIR|FILE",
      meaning: "data; default those of the configuration",
    },
    split: {
      type: "text",
      choices: ["train", "validation", "test"],
      default: "test",
      meaning: "which samples",
    },
    importance: {
      type: "flag",
      meaning: "also how much predictions change when a feature is 0 throughout",
    },
    quiet: { type: "flag", short: "q", meaning: "no progress" },
    json: { type: "flag", meaning: "print the scores as JSON" },
  },
  examples: ["deno task evaluate --run runs/simulated_2026-01-31_12-00-00 --split validation"],
} as const satisfies Command;

async function main(options: Options<typeof command>): Promise<void> {
  const { task, ...source } = await weightsSource(options);
  const { split } = options;
  if (options.importance && task.importance === undefined) {
    throw new UsageError(`--importance is for models of features, and the model is ${task.name}`);
  }
  const configured = withOverrides(source.config, { data: options.data });
  const { config, samples } = await loadData(configured, [split]);
  const model = task.model(config);
  const weights = await loadWeights(source.weights, model);
  using device = await openDevice();
  using evaluation = evaluator(device, model);
  const total = task.batchCount(config, samples[split], false);
  const progress = startProgress({ label: split, total, quiet: options.quiet });
  const answers = await evaluate(
    evaluation,
    upload(device, weights),
    task.batches(config, samples[split]),
    { onBatch: (done) => progress.update(done) },
  );
  progress.end();
  const scores = task.score(config, answers);
  const train = await trainingData(configured);
  const beside = train === undefined ? [] : task.baselines(config, train, samples[split]);
  const importance = options.importance
    ? await task.importance!(config, samples[split], async (data) => {
      const rows = predictions(device, model, weights, task.batches(config, data));
      return (await Array.fromAsync(rows, (row) => Array.from(row))).flat();
    })
    : undefined;
  if (options.json) {
    return print(JSON.stringify({ ...task.results(scores, beside), importance }, null, 2));
  }
  print(task.format(config, split, scores, beside));
  if (importance !== undefined) {
    print(`\n${
      formatTable([
        ["feature, 0 throughout", "mean change of the predictions"],
        ...importance.map(({ feature, change }) => [printable(feature, 60), change.toFixed(4)]),
      ])
    }`);
  }
}

/** The data that baselines count in. Scores are worth having without them. */
async function trainingData(config: CommonConfig): Promise<unknown> {
  try {
    return (await loadData(config, ["train"])).samples.train;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(`without the scores of guessing: ${error.message}`);
  }
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
