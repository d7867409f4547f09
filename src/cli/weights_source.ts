/**
 * Where commands that use a trained model find it: a run directory, or weights and a configuration.
 *
 * @module
 */
import type { Config } from "../train/config.ts";
import { readConfig } from "../train/config.ts";
import { fileOf, openRun } from "../train/run_directory.ts";
import { UsageError } from "./options.ts";

/** A trained model's files. */
export interface WeightsSource {
  readonly config: Config;
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
 * @throws {InputError} If a file is missing or damaged.
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
    return { config: opened.config, weights: fileOf(opened, "weights") };
  }
  if (byFiles) return { config: await readConfig(config), weights };
  throw new UsageError("give either --run DIR, or --weights FILE and --config FILE");
}
