/**
 * What a run directory tells, whatever its model.
 *
 * @module
 */
import { basename, resolve } from "node:path";
import { describe } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { readWholeFile } from "../core/whole_file.ts";
import type { CommonConfig } from "../train/config.ts";
import { fileOf, openRun, type RunDirectory, runFiles } from "../train/run_directory.ts";
import { readSafetensors } from "../train/safetensors.ts";

/** Scores by name: whichever the model has, the loss among them. */
export type NamedScores = Readonly<Record<string, number>>;

/** An epoch as `metrics.jsonl` has it. */
export interface EpochRecord {
  /** From 1. */
  readonly epoch: number;
  /** Steps made so far. */
  readonly step: number;
  /** Rate of the epoch's last step. */
  readonly learningRate: number;
  /** Over the epoch's batches as they were trained on. */
  readonly train: NamedScores;
  /** After the epoch. */
  readonly validation: NamedScores;
  /** Whether the validation loss was the best so far. */
  readonly improved: boolean;
  /** What early stopping decided. */
  readonly action: string;
  /** Seconds that it took. */
  readonly seconds: number;
}

/** The learning rate at a step. */
export interface RateRecord {
  /** Steps made. */
  readonly step: number;
  /** The rate. */
  readonly learningRate: number;
}

/** A parameter of a model. */
export interface Parameter {
  /** PyTorch's name. */
  readonly name: string;
  /** Its sizes. */
  readonly shape: readonly number[];
  /** How many numbers it holds. */
  readonly count: number;
}

/** A finished training run. */
export interface Run {
  /** Its directory. */
  readonly directory: RunDirectory;
  /** The directory's name. */
  readonly name: string;
  /** Its configuration. */
  readonly config: CommonConfig;
  /** Its epochs, at least one. */
  readonly epochs: readonly EpochRecord[];
  /** The rate within epochs too. */
  readonly rates: readonly RateRecord[];
  /** Steps at which training went back after a loss that was not finite. */
  readonly rewinds: readonly number[];
  /** Its `test_results.json`. */
  readonly results: Readonly<Record<string, unknown>>;
  /** Its `environment.json`. */
  readonly environment: Readonly<Record<string, unknown>>;
  /** The best weights' parameters, without statistics. */
  readonly parameters: readonly Parameter[];
}

/** What `environment.json` says of something, such as the `adapter`. */
export function recorded({ environment }: Run, what: string): string {
  return String(environment[what] ?? `${what} not recorded`);
}

/** Larger files than these are no files of a run. */
const MAX_BYTES = 512 * 2 ** 20;

/** Names of tensors that training does not change by gradients. */
const statistic = /\.(running_mean|running_var|num_batches_tracked)$/;

/**
 * Reads the directory of a run that has ended.
 *
 * @throws {InputError} If it is no run directory, training has not ended, or a file is damaged.
 */
export async function readRun(path: string): Promise<Run> {
  const directory = await openRun(path);
  const resumption = `go on with it: deno task train --resume ${path}`;
  const text = await readText(
    fileOf(directory, "results"),
    `${path}: has no ${runFiles.results}: its training has not ended; ${resumption}`,
  );
  const results = parseObject(text, fileOf(directory, "results"));
  const environment = parseObject(
    await readText(fileOf(directory, "environment")),
    fileOf(directory, "environment"),
  );
  const metrics = readMetrics(
    await readText(fileOf(directory, "metrics")),
    fileOf(directory, "metrics"),
  );
  const { tensors } = await readSafetensors(fileOf(directory, "weights"));
  const parameters = [...tensors].filter(([name]) => !statistic.test(name)).map((
    [name, { shape }],
  ) => ({ name, shape, count: shape.reduce((product, size) => product * size, 1) }));
  return {
    directory,
    name: basename(resolve(path)),
    config: directory.config,
    results,
    environment,
    parameters,
    ...metrics,
  };
}

async function readText(path: string, missing?: string): Promise<string> {
  let bytes: Uint8Array | undefined;
  try {
    bytes = await readWholeFile(path, MAX_BYTES);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new InputError(missing ?? `${path}: there is no such file; put it back`);
    }
    throw new InputError(`${path}: cannot be read: ${(error as Error).message.split("\n")[0]}`);
  }
  if (bytes === undefined) throw new InputError(`${path}: is larger than 512 MiB`);
  return new TextDecoder().decode(bytes);
}

function parseObject(text: string, where: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InputError(
      `${where}: is damaged, no JSON (cut off?): put the whole file back, or train anew`,
      { cause: error },
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InputError(`${where}: is damaged: ${describe(value)} is no JSON object`);
  }
  return value as Record<string, unknown>;
}

function readMetrics(text: string, file: string): Pick<Run, "epochs" | "rates" | "rewinds"> {
  const epochs: EpochRecord[] = [];
  const rates: RateRecord[] = [];
  const rewinds: number[] = [];
  text.split("\n").forEach((line, i) => {
    if (line.trim() === "") return;
    const where = `${file}: line ${i + 1}`;
    const record = parseObject(line, where);
    const number = (key: string): number => numberIn(record, key, where);
    const scores = (key: string): NamedScores =>
      namedScores(record[key], record[`${key}Loss`], `${where}: ${key}`);
    if (record.kind === "rewind") {
      rewinds.push(number("step"));
    } else if (record.kind === "interval") {
      rates.push({ step: number("step"), learningRate: number("learningRate") });
    } else if (record.kind === "epoch") {
      const epoch = number("epoch");
      if (epoch !== epochs.length + 1) {
        throw new InputError(
          `${where}: is damaged: epoch ${epoch} where ${epochs.length + 1} belongs`,
        );
      }
      const before = epochs.at(-1)?.step ?? 0;
      if (number("step") <= before) {
        throw new InputError(
          `${where}: is damaged: it ends at step ${record.step}, the epoch before at ${before}`,
        );
      }
      epochs.push({
        epoch,
        step: number("step"),
        learningRate: number("learningRate"),
        train: scores("train"),
        validation: scores("validation"),
        improved: record.improved === true,
        action: String(record.action),
        seconds: number("seconds"),
      });
    } else {
      throw new InputError(
        `${where}: is damaged: kind is ${describe(record.kind)}, not interval, epoch or rewind`,
      );
    }
  });
  if (epochs.length === 0) {
    throw new InputError(`${file}: tells of no epoch: put the whole file back, or train anew`);
  }
  return { epochs, rates, rewinds };
}

function numberIn(record: Readonly<Record<string, unknown>>, key: string, where: string): number {
  const value = record[key];
  // Of none of them there are fewer than none; JSON may hold 1e999.
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0) {
    throw new InputError(`${where}: is damaged: ${key} is ${describe(value)}, not a number from 0`);
  }
  return value;
}

/**
 * Scores that are numbers, over all targets where there are others beside them. JSON has no NaN and
 * says null. Runs of earlier releases have the loss among the scores.
 */
function namedScores(value: unknown, loss: unknown, where: string): NamedScores {
  const both = (value ?? {}) as Readonly<Record<string, unknown>>;
  const all = both.all ?? both;
  if (typeof value !== "object" || typeof all !== "object" || all === null) {
    throw new InputError(`${where} is damaged: ${describe(value)} holds no scores`);
  }
  const scores = Object.entries({ ...all, ...(loss === undefined ? {} : { loss }) })
    .map((
      [name, score],
    ) => [name, score === null || Math.abs(Number(score)) === Infinity ? NaN : score])
    .filter(([, score]) => typeof score === "number");
  const named = Object.fromEntries(scores);
  if (!("loss" in named)) throw new InputError(`${where} is damaged: there is no loss`);
  return named;
}
