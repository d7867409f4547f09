import { openDevice } from "../gpu/device.ts";
import { tasks } from "../tasks/tasks.ts";
import { loadWeights } from "../train/weights.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { runCommand, write } from "./output.ts";
import { weightsOptions, weightsSource } from "./weights_source.ts";

/** What `deno task generate` takes. */
export const command = {
  name: "deno task generate",
  meaning: "Text by a trained model, character by character as it comes.",
  options: {
    ...weightsOptions,
    prompt: { type: "text", meaning: "what the text begins with; default a new line" },
    length: { type: "whole", min: 1, default: 500, meaning: "characters to add" },
    temperature: {
      type: "number",
      min: 0,
      default: 0.8,
      meaning: "below 1 likelier characters, above 1 more surprising ones, 0 the likeliest",
    },
    "top-k": {
      type: "whole",
      min: 1,
      meaning: "draw only from so many of the likeliest characters",
    },
    seed: { type: "whole", min: 0, default: 42, meaning: "the same seed gives the same text" },
  },
  examples: ['deno task generate --run runs/text_2026-01-31_12-00-00 --prompt "The "'],
} as const satisfies Command;

async function main(options: Options<typeof command>): Promise<void> {
  const { prompt = "\n", length, temperature, "top-k": topK, seed } = options;
  const { task, config, weights: file } = await weightsSource(options);
  if (task.generate === undefined) {
    const able = tasks.filter(({ generate }) => generate !== undefined).map(({ name }) => name);
    throw new UsageError(`${task.name} generates nothing; ${able.join(" and ")} does`);
  }
  const weights = await loadWeights(file, task.model(config));
  using device = await openDevice();
  const pieces = task.generate(device, config, weights, {
    ...{ prompt, length, temperature, topK, seed },
  });
  // With the first piece, since a prompt may be refused.
  let before = options.prompt ?? "";
  for await (const piece of pieces) {
    write(before + piece);
    before = "";
  }
  write("\n");
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
