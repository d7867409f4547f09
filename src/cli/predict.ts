import { batches } from "../data/batches.ts";
import { readSamples } from "../data/read_samples.ts";
import { checkSamples } from "../data/samples.ts";
import { openDevice } from "../gpu/device.ts";
import { nextLocation } from "../models/next_location.ts";
import { predictor } from "../train/evaluate.ts";
import { upload } from "../train/fit.ts";
import { loadWeights } from "../train/weights.ts";
import { dispose, read } from "../plan/device_tensor.ts";
import type { Command, Options } from "./options.ts";
import { print, runCommand } from "./output.ts";
import { weightsOptions, weightsSource } from "./weights_source.ts";

/** What `deno task predict` takes. */
export const command = {
  name: "deno task predict",
  meaning: "The most probable next locations of samples, which need no target Y.",
  options: {
    ...weightsOptions,
    input: {
      type: "text",
      value: "FILE|-",
      default: "-",
      meaning: "samples (.jsonl, .jsonl.gz, .pk), or JSON lines from standard input",
    },
    top: { type: "whole", min: 1, default: 5, meaning: "how many locations" },
    json: { type: "flag", meaning: "print a JSON object a line" },
  },
  examples: [
    "deno task predict --run runs/simulated_2026-01-31_12-00-00 --input samples.jsonl --top 3",
  ],
} as const satisfies Command;

async function main(options: Options<typeof command>): Promise<void> {
  const source = await weightsSource(options);
  const { totalLocNum, totalUserNum, batchSize } = source.config;
  const model = nextLocation(source.config);
  const weights = await loadWeights(source.weights, model);
  if (options.input === "-" && Deno.stdin.isTerminal()) {
    console.error("reading samples, a JSON object a line, from the keyboard; Ctrl-D ends them");
  }
  const samples = await readSamples(options.input, { targets: "optional" });
  const file = options.input === "-" ? "standard input" : options.input;
  checkSamples(samples, { file, totalLocNum, totalUserNum });
  using device = await openDevice();
  using prediction = predictor(device, model);
  const onDevice = upload(device, weights);
  let number = 0;
  for (const part of batches(samples, { batchSize })) {
    const result = prediction(onDevice, model.batch(part));
    const { data, shape: [rows, V] } = await read(result);
    dispose(result);
    for (let b = 0; b < rows; b++) {
      const best = topOf(data.subarray(b * V, (b + 1) * V), options.top);
      print(options.json ? asJson(number, best) : asText(number, best));
      number++;
    }
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
