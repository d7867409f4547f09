import { batches } from "../data/batches.ts";
import { readSamples } from "../data/read_samples.ts";
import { checkSamples, type Sample } from "../data/samples.ts";
import { openDevice } from "../gpu/device.ts";
import { type Initial, nextLocation } from "../models/next_location.ts";
import type { SizedConfig } from "../train/data.ts";
import { predictor } from "../train/evaluate.ts";
import { upload } from "../train/fit.ts";
import { loadWeights } from "../train/weights.ts";
import { dispose, read } from "../plan/device_tensor.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { print, runCommand } from "./output.ts";
import { predictHistory } from "./predict_history.ts";
import { weightsOptions, weightsSource } from "./weights_source.ts";

/** What `deno task predict` takes. */
export const command = {
  name: "deno task predict",
  meaning:
    "The most probable next locations of samples, which need no target Y; or with --history of one\n" +
    "person, whose recent visits are in a CSV file with the columns start, end or minutes, and place\n" +
    "(its id) or latitude and longitude. Times are those of the local clock: 2024-05-31T17:45.",
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
  const source = await weightsSource(options);
  const { totalLocNum, totalUserNum } = source.config;
  const weights = await loadWeights(source.weights, nextLocation(source.config));
  if (history !== undefined) {
    const predict = (samples: readonly Sample[]) =>
      probabilitiesOf(source.config, weights, samples);
    return await predictHistory({ ...options, history }, source.config, predict);
  }
  if (input === "-" && Deno.stdin.isTerminal()) {
    console.error("reading samples, a JSON object a line, from the keyboard; Ctrl-D ends them");
  }
  const samples = await readSamples(input, { targets: "optional" });
  const file = input === "-" ? "standard input" : input;
  checkSamples(samples, { file, totalLocNum, totalUserNum });
  let number = 0;
  for await (const probabilities of probabilitiesOf(source.config, weights, samples)) {
    const best = topOf(probabilities, options.top);
    print(options.json ? asJson(number, best) : asText(number, best));
    number++;
  }
}

/** The probabilities of all locations, for one sample after the other. */
async function* probabilitiesOf(
  config: SizedConfig,
  weights: Initial,
  samples: readonly Sample[],
): AsyncGenerator<Float32Array> {
  const model = nextLocation(config);
  using device = await openDevice();
  using prediction = predictor(device, model);
  const onDevice = upload(device, weights);
  for (const part of batches(samples, { batchSize: config.batchSize })) {
    const result = prediction(onDevice, model.batch(part));
    const { data, shape: [rows, V] } = await read(result);
    dispose(result);
    for (let b = 0; b < rows; b++) yield data.subarray(b * V, (b + 1) * V) as Float32Array;
  }
}

interface Choice {
  readonly location: number;
  readonly probability: number;
}

/** The `count` most probable locations; padding (0) is no place. */
function topOf(probabilities: ArrayLike<number>, count: number): readonly Choice[] {
  return Array.from(probabilities, (probability, location) => ({ location, probability }))
    .slice(1)
    .sort((a, b) => b.probability - a.probability || a.location - b.location)
    .slice(0, count);
}

function asJson(sample: number, next: readonly Choice[]): string {
  return JSON.stringify({ sample, next });
}

function asText(sample: number, next: readonly Choice[]): string {
  const parts = next.map(({ location, probability }) =>
    `${location === 1 ? "an unknown place" : location} ${(100 * probability).toFixed(1)}%`
  );
  return `sample ${sample}: ${parts.join(", ")}`;
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
