import { dirname } from "node:path";
import { allowMoreThreads } from "../gpu/device.ts";
import { taskOf } from "../tasks/tasks.ts";
import {
  type CommonConfig,
  dataPath,
  defaultsOf,
  formatDefaults,
  readConfig,
  withOverrides,
} from "../train/config.ts";
import { claimRun, openRun, type RunDirectory } from "../train/run_directory.ts";
import { modelNamed, modelOption } from "./model_option.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { print, runCommand } from "./output.ts";
import type { TrainJob } from "./train_worker.ts";

/** What `deno task train` takes. */
export const command = {
  name: "deno task train",
  meaning:
    "Trains a model and tests it. Without --config and --data it trains on generated data.\n" +
    "Everything about the run is written to a directory of its own.",
  options: {
    model: modelOption,
    config: { type: "text", value: "FILE", meaning: "YAML configuration; default: see --defaults" },
    data: {
      type: "text",
      value: "PREFIX|DIR|FILE",
      meaning: "sample files <prefix>_train, _validation, _test; or one file",
    },
    set: {
      type: "text",
      value: "KEY=VALUE",
      many: true,
      meaning: "a configuration key, as section.key=value; may be repeated",
    },
    out: { type: "text", value: "DIR", meaning: "run directory; default a new one in runs/" },
    resume: { type: "text", value: "DIR", meaning: "go on with the run in that directory" },
    seed: { type: "whole", min: 0, meaning: "seed of everything random" },
    epochs: { type: "whole", min: 1, meaning: "epochs at most" },
    "on-nan": {
      type: "text",
      choices: ["stop", "rewind"],
      meaning: "a loss that is not finite ends training, or goes back with half the rate",
    },
    quiet: { type: "flag", short: "q", meaning: "no progress" },
    json: { type: "flag", meaning: "print the test results as JSON" },
    defaults: { type: "flag", meaning: "print every configuration key with its default, and exit" },
  },
  examples: [
    "deno task train",
    "deno task train --config geolife.yaml --data data/geolife_eps20_prev7 --seed 1",
    "deno task train --set model.lstm_hidden_size=128 --set training.batch_size=32",
    "deno task train --resume runs/geolife_2026-11-22_20-21-48",
  ],
} as const satisfies Command;

/**
 * The run to train. Here, with all permissions of the command, only configurations are read; samples,
 * weights and checkpoints are left to the worker.
 */
async function openJob(options: Options<typeof command>): Promise<RunDirectory> {
  const { model, config: file, seed, epochs, data, out, resume, set, "on-nan": onNan } = options;
  if (resume === undefined) {
    const base = file === undefined
      ? defaultsOf(modelNamed(model ?? "next_location"))
      : await readConfig<CommonConfig>(file, model && modelNamed(model).name);
    const config = withOverrides(base, { seed, epochs, data, onNan, set });
    return { path: await claimRun(config, { out }), config };
  }
  const given = set.length > 0
    ? "set"
    : (["model", "config", "out", "seed"] as const).find((name) => options[name] !== undefined);
  if (given !== undefined) {
    throw new UsageError(`--${given} cannot be given with --resume: the run has its own`);
  }
  const { path, config } = await openRun(resume);
  return { path, config: withOverrides(config, { epochs, data, onNan }) };
}

/** Training reads the samples and its run directory, writes that directory, and does no more. */
async function permissionsOf(
  { path, config }: RunDirectory,
): Promise<Deno.PermissionOptionsObject> {
  const data = dataPath(config);
  const folder = data === undefined ? taskOf(config).generatedFrom : await folderOf(data);
  const none = { env: false, ffi: false, import: false, net: false, run: false, sys: false };
  return {
    ...none,
    read: [path, ...folder === undefined ? [] : [folder]],
    write: [path],
  };
}

/** Where the sample files are that a prefix or a directory names. */
async function folderOf(data: string): Promise<string> {
  const info = await Deno.stat(data).catch(() => undefined);
  return info?.isDirectory ? data : dirname(data);
}

/** Ctrl-C and its like: the first is told, the second ends the process at once. */
function onInterrupt(interrupt: (code: number) => void): Disposable {
  const codes = Deno.build.os === "windows" ? { SIGINT: 130 } : { SIGINT: 130, SIGTERM: 143 };
  let before = false;
  const listeners = Object.entries(codes).map(([name, code]) => {
    const listener = (): void => {
      if (before) Deno.exit(code);
      before = true;
      interrupt(code);
    };
    return [name as Deno.Signal, listener] as const;
  });
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  return {
    [Symbol.dispose](): void {
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    },
  };
}

/**
 * Trains in a worker that may do no more than training needs. The worker stays until the process ends:
 * where one that used Mesa's driver is ended just before, the process at times crashes.
 *
 * @param module The worker's, which a test replaces.
 * @returns What the worker answers: the exit code.
 */
export async function trainApart(
  job: TrainJob,
  module: URL = new URL("./train_worker.ts", import.meta.url),
): Promise<number> {
  // The worker may not.
  allowMoreThreads();
  const worker = new Worker(module, {
    type: "module",
    deno: { permissions: await permissionsOf(job.run) },
  });
  using _signals = onInterrupt((code) => {
    worker.postMessage(code);
    console.error("finishing the step and saving; once more stops at once");
  });
  return await new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(event.error ?? new Error(event.message));
    };
    worker.postMessage(job);
  });
}

async function main(options: Options<typeof command>): Promise<number> {
  if (options.defaults) {
    print(formatDefaults(modelNamed(options.model ?? "next_location")).trimEnd());
    return 0;
  }
  const run = await openJob(options);
  const { quiet, json, debug, resume } = options;
  return await trainApart({ run, resume: resume !== undefined, quiet, json, debug });
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
