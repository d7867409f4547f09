/**
 * The data of a run.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { Place } from "../data/places.ts";
import { findPlaces, readPlaces } from "../data/read_places.ts";
import type { Split } from "../data/read_samples.ts";
import type { Sample } from "../data/samples.ts";
import { simulate } from "../data/simulate.ts";
import type { Config, SizedConfig } from "../tasks/next_location.ts";
import type { Splits, TaskData } from "../tasks/task.ts";
import { taskOf } from "../tasks/tasks.ts";
import { type CommonConfig, dataPath } from "./keys.ts";

export type { SizedConfig };

/** Samples of the next-location model by split. */
export type Samples<S extends Split = Split> = Splits<readonly Sample[], S>;

/** Data of the next-location model that fit a configuration. */
export type RunData<S extends Split = Split> = TaskData<SizedConfig, readonly Sample[], S>;

/**
 * Reads the splits that a configuration names, or makes generated ones, and checks every sample
 * against the configuration. Sizes that it leaves open are taken from the data.
 *
 * @throws {InputError} If a file is missing or damaged, or a sample does not fit.
 */
export function loadData<S extends Split>(
  config: Config,
  splits: readonly S[],
): Promise<RunData<S>>;
/** The same for the model of any configuration. */
export function loadData<S extends Split>(
  config: CommonConfig,
  splits: readonly S[],
): Promise<TaskData<CommonConfig, unknown, S>>;
export function loadData<S extends Split>(
  config: CommonConfig,
  splits: readonly S[],
): Promise<TaskData<CommonConfig, unknown, S>> {
  return taskOf(config).load(config, splits);
}

/**
 * Where the places of next-location data are: the simulated ones, or those of the file
 * `<prefix>_places.csv` beside the samples. None where there is no such file, or the data are gone.
 *
 * @throws {InputError} If the file is damaged.
 */
export async function loadPlaces(config: CommonConfig): Promise<readonly Place[]> {
  const path = dataPath(config);
  if (path === undefined) return simulate().places;
  const found = await findPlaces(path).catch(() => undefined);
  return found === undefined ? [] : await readPlaces(found);
}

/** SHA-256 of all that the data hold, split by split: the same data give the same text. */
export function fingerprint(config: CommonConfig, { train, validation, test }: Splits): string {
  const hash = createHash("sha256");
  for (const part of [train, validation, test]) {
    const elements = taskOf(config).elements(part);
    hash.update(`${elements.length} elements;`);
    for (const element of elements) {
      for (const [name, value] of Object.entries(element)) {
        if (!ArrayBuffer.isView(value)) hash.update(`${name}: ${JSON.stringify(value)};`);
        else {
          const { buffer, byteOffset, byteLength } = value;
          hash.update(`${name}: ${byteLength} bytes;`);
          hash.update(new Uint8Array(buffer, byteOffset, byteLength));
        }
      }
    }
  }
  return hash.digest("hex");
}
