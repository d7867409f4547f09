import { openDevice } from "../gpu/device.ts";
import { randomKey } from "../core/random.ts";
import { taskOf } from "../tasks/tasks.ts";
import { type CommonConfig, defaultsOf, readConfig, withOverrides } from "../train/config.ts";
import { loadData } from "../train/data.ts";
import { fileOf, openRun } from "../train/run_directory.ts";
import { formatStages, traceForward } from "../train/trace.ts";
import { loadWeights } from "../train/weights.ts";
import { modelNamed, modelOption } from "./model_option.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { print, runCommand } from "./output.ts";

/** What `deno task trace` takes. */
export const command = {
  name: "deno task trace",
  meaning:
    "A model's forward pass on one batch, stage by stage: name, shape, range and first values. Of a\n" +
    "trained run; or of a model or a configuration with its initial weights.",
  options: {
    run: { type: "text", value: "DIR", meaning: "run directory of deno task train" },
    model: modelOption,
    config: { type: "text", value: "FILE", meaning: "YAML configuration" },
    data: {
      type: "text",
      value: "PREFIX|DIR|FILE",
      meaning: "data; default those of the configuration",
    },
    split: {
      type: "text",
      choices: ["train", "validation", "test"],
      default: "test",
      meaning: "whose first batch",
    },
    batch: { type: "whole", min: 1, max: 1024, meaning: "samples in the batch" },
    values: {
      type: "whole",
      min: 1,
      max: 1000,
      default: 4,
      meaning: "values to show of each stage",
    },
    json: { type: "flag", meaning: "print JSON" },
  },
  examples: [
    "deno task trace --run runs/simulated_2026-01-31_12-00-00 --batch 2",
    "deno task trace --model sequence-classifier",
  ],
} as const satisfies Command;

async function main(options: Options<typeof command>): Promise<void> {
  const { run, model: name, config: file, data, split, batch: batchSize, values } = options;
  if ([run, name, file].filter((given) => given !== undefined).length !== 1) {
    throw new UsageError("give one of --run DIR, --model NAME and --config FILE");
  }
  const opened = run === undefined ? undefined : await openRun(run);
  const base: CommonConfig = opened !== undefined
    ? opened.config
    : name !== undefined
    ? defaultsOf(modelNamed(name))
    : await readConfig<CommonConfig>(file!);
  const configured = withOverrides(base, { data });
  const splits = taskOf(base).openSizes(base).length > 0
    ? ["train", "validation", "test"] as const
    : [split];
  const loaded = await loadData(configured, splits);
  const config = { ...loaded.config, batchSize: batchSize ?? loaded.config.batchSize };
  const task = taskOf(config), model = task.model(config);
  const weights = opened === undefined
    ? model.init(randomKey(config.seed))
    : await loadWeights(fileOf(opened, "weights"), model);
  const batch = task.batches(config, loaded.samples[split]).next().value!;
  using device = await openDevice();
  const list = await traceForward(device, model, weights, batch, { values });
  print(options.json ? JSON.stringify(list, null, 2) : formatStages(list));
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
