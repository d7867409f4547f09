import type { Tree } from "../core/tree.ts";
import type { Sample } from "../data/samples.ts";
import { openDevice } from "../gpu/device.ts";
import type { SizedConfig } from "../train/data.ts";
import { predictions } from "../train/evaluate.ts";
import { loadWeights } from "../train/weights.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { print, runCommand } from "./output.ts";
import { predictHistory } from "./predict_history.ts";
import { weightsOptions, weightsSource } from "./weights_source.ts";

/** What `deno task predict` takes. */
export const command = {
  name: "deno task predict",
  meaning:
    "Predictions for samples, which need no targets: classes or places with probabilities, or values.\n" +
    "With --history the next places of one person, whose recent visits are in a CSV file with the\n" +
    "columns start, end or minutes, and place (its id) or latitude and longitude. Times are those of\n" +
    "the local clock: 2024-05-31T17:45.",
  options: {
    ...weightsOptions,
    input: {
      type: "text",
      value: "FILE|-",
      default: "-",
      meaning: "samples (.jsonl, .jsonl.gz, .pk), or JSON lines from standard input",
    },
    history: {
      type: "text",
      value: "FILE",
      meaning: "one person's visits (.csv) instead of samples",
    },
    at: {
      type: "text",
      value: "TIME",
      meaning: "of the next visit; default the end of the last one",
    },
    user: {
      type: "whole",
      min: 0,
      meaning: "the person's id; default one whom training did not have",
    },
    places: {
      type: "text",
      value: "FILE",
      meaning: "places (.csv); default those beside the data",
    },
    radius: {
      type: "number",
      min: 0,
      default: 100,
      meaning: "metres from a place within which a position is that place",
    },
    top: { type: "whole", min: 1, default: 5, meaning: "how many locations" },
    json: { type: "flag", meaning: "print a JSON object a line" },
  },
  examples: [
    "deno task predict --run runs/simulated_2026-01-31_12-00-00 --input samples.jsonl --top 3",
    "deno task predict --run runs/geolife_2026-01-31_12-00-00 --history my-visits.csv",
  ],
} as const satisfies Command;

async function main(options: Options<typeof command>): Promise<void> {
  const { input, history } = options;
  const stray = (["at", "user", "places"] as const).find((name) => options[name] !== undefined);
  if (history === undefined && stray !== undefined) {
    throw new UsageError(`--${stray} goes with --history FILE`);
  }
  const { task, config, weights: file } = await weightsSource(options);
  const model = task.model(config);
  const weights = await loadWeights(file, model);
  const rows = async function* (batches: Iterable<Tree>): AsyncGenerator<Float32Array> {
    using device = await openDevice();
    yield* predictions(device, model, weights, batches);
  };
  if (history !== undefined) {
    if (task.name !== "next_location") {
      throw new UsageError(`--history is for next_location, and the model is ${task.name}`);
    }
    const predict = (samples: readonly Sample[]) => rows(task.batches(config, samples));
    return await predictHistory({ ...options, history }, config as SizedConfig, predict);
  }
  if (input === "-" && Deno.stdin.isTerminal()) {
    console.error("reading samples, a JSON object a line, from the keyboard; Ctrl-D ends them");
  }
  const { batches, names } = await task.readInput(config, input);
  let number = 0;
  for await (const row of rows(batches)) {
    const { text, json } = task.describePrediction(config, names[number++], row, options.top);
    print(options.json ? JSON.stringify(json) : text);
  }
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
