/**
 * Where commands that use a trained model find it: a run directory, or weights and a configuration.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import type { Task } from "../tasks/task.ts";
import { taskOf } from "../tasks/tasks.ts";
import { type CommonConfig, readConfig } from "../train/config.ts";
import { fileOf, openRun } from "../train/run_directory.ts";
import { UsageError } from "./options.ts";

/** A trained model's files. */
export interface WeightsSource {
  readonly config: CommonConfig;
  readonly task: Task;
  /** Path of the weights. */
  readonly weights: string;
}

/** The options that name a trained model. */
export const weightsOptions = {
  run: { type: "text", value: "DIR", meaning: "run directory of deno task train" },
  weights: { type: "text", value: "FILE", meaning: "weights (.safetensors), with --config" },
  config: { type: "text", value: "FILE", meaning: "YAML configuration, with --weights" },
} as const;

/**
 * Finds the model that the options name.
 *
 * @throws {UsageError} If they name none or two.
 * @throws {InputError} If a file is missing or damaged, or the configuration has no sizes.
 */
export async function weightsSource(
  options: {
    readonly run: string | undefined;
    readonly weights: string | undefined;
    readonly config: string | undefined;
  },
): Promise<WeightsSource> {
  const { run, weights, config } = options;
  const byRun = run !== undefined && weights === undefined && config === undefined;
  const byFiles = run === undefined && weights !== undefined && config !== undefined;
  if (byRun) {
    const opened = await openRun(run);
    const path = fileOf(opened, "weights");
    if (!await isFile(path)) {
      throw new InputError(`${path}: there are no weights yet: no epoch of the run has ended`);
    }
    return sized(opened.config, fileOf(opened, "config"), path);
  }
  if (byFiles) return sized(await readConfig<CommonConfig>(config), config, weights);
  throw new UsageError("give either --run DIR, or --weights FILE and --config FILE");
}

async function isFile(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isFile ?? false;
}

function sized(config: CommonConfig, file: string, weights: string): WeightsSource {
  const task = taskOf(config);
  const open = task.openSizes(config);
  if (open.length > 0) {
    throw new InputError(`${file}: set ${open.join(" and ")} to the weights' sizes`);
  }
  return { config, task, weights };
}
