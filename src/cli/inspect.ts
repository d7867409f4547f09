import { formatShape, type Shape, sizeOf } from "../core/tensor.ts";
import { flatten } from "../core/tree.ts";
import { taskOf } from "../tasks/tasks.ts";
import { type CommonConfig, defaultsOf, readConfig } from "../train/config.ts";
import { loadData } from "../train/data.ts";
import { openRun } from "../train/run_directory.ts";
import { readSafetensors } from "../train/safetensors.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { modelNamed, modelOption } from "./model_option.ts";
import { print, runCommand } from "./output.ts";

/** What `deno task inspect` takes. */
export const command = {
  name: "deno task inspect",
  meaning:
    "Every parameter with its shape and count, and the total: of a configuration, of a run, of a\n" +
    "model with its defaults, or of a weights file.",
  options: {
    config: { type: "text", value: "FILE", meaning: "YAML configuration" },
    run: { type: "text", value: "DIR", meaning: "run directory" },
    weights: { type: "text", value: "FILE", meaning: "weights (.safetensors)" },
    model: modelOption,
    json: { type: "flag", meaning: "print JSON" },
  },
  examples: ["deno task inspect --config geolife.yaml"],
} as const satisfies Command;

interface Parameter {
  readonly name: string;
  readonly shape: Shape;
  readonly count: number;
}

/** Names of tensors that are statistics, not parameters: training does not change them by gradients. */
const statistic = /\.(running_mean|running_var|num_batches_tracked)$/;

async function parametersOf(options: Options<typeof command>): Promise<readonly Parameter[]> {
  const { config, run, weights, model } = options;
  if ([config, run, weights, model].filter((given) => given !== undefined).length !== 1) {
    throw new UsageError("give one of --config FILE, --run DIR, --model NAME and --weights FILE");
  }
  if (weights !== undefined) {
    const { tensors } = await readSafetensors(weights);
    return [...tensors].filter(([name]) => !statistic.test(name)).map(([name, { shape }]) => ({
      name,
      shape,
      count: sizeOf(shape),
    }));
  }
  const read: CommonConfig = model !== undefined
    ? defaultsOf(modelNamed(model))
    : config !== undefined
    ? await readConfig<CommonConfig>(config)
    : (await openRun(run!)).config;
  const task = taskOf(read);
  // Sizes that the configuration leaves open are those of its data.
  const sized = task.openSizes(read).length === 0
    ? read
    : (await loadData(read, ["train", "validation", "test"])).config;
  const { names, shapes } = task.model(sized);
  return flatten(shapes().params).map(({ path, leaf: { shape } }) => ({
    name: names.get(path)!,
    shape,
    count: sizeOf(shape),
  }));
}

async function main(options: Options<typeof command>): Promise<void> {
  const parameters = await parametersOf(options);
  const total = parameters.reduce((sum, { count }) => sum + count, 0);
  if (options.json) return print(JSON.stringify({ parameters, total }, null, 2));
  const rows = [
    ...parameters.map(({ name, shape, count }) => [name, formatShape(shape), grouped(count)]),
    ["total", "", grouped(total)],
  ];
  const widths = [0, 1, 2].map((i) => Math.max(...rows.map((row) => row[i].length)));
  for (const [name, shape, count] of rows) {
    print(`${name.padEnd(widths[0])}  ${shape.padEnd(widths[1])}  ${count.padStart(widths[2])}`);
  }
}

function grouped(count: number): string {
  return count.toLocaleString("en-US");
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
