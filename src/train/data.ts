/**
 * The data of a run and the model that fits them.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { InputError } from "../core/errors.ts";
import { findSplits, readSamples, type Split } from "../data/read_samples.ts";
import { checkSamples, type Sample } from "../data/samples.ts";
import { simulate } from "../data/simulate.ts";
import type { NextLocationConfig } from "../models/next_location.ts";
import { type Config, dataPath } from "./config.ts";

/** A configuration whose sizes are known. */
export type SizedConfig = Config & Pick<NextLocationConfig, "totalLocNum" | "totalUserNum">;

/** Samples by split. */
export type Samples<S extends Split = Split> = Readonly<Record<S, readonly Sample[]>>;

/** Data that fit a configuration. */
export interface RunData<S extends Split = Split> {
  /** With the sizes of the data where it left them open. */
  readonly config: SizedConfig;
  /** The splits that were asked for. */
  readonly samples: Samples<S>;
}

function largest(
  samples: readonly Sample[][] | readonly (readonly Sample[])[],
  ids: (s: Sample) => Iterable<number>,
): number {
  let most = 0;
  for (const part of samples) {
    for (const sample of part) for (const id of ids(sample)) if (id > most) most = id;
  }
  return most;
}

/**
 * Reads the splits that a configuration names, or makes the simulated ones, and checks every sample
 * against the configuration. Sizes that it leaves open are taken from the data.
 *
 * @throws {InputError} If a file is missing or damaged, or a sample does not fit.
 */
export async function loadData<S extends Split>(
  config: Config,
  splits: readonly S[],
): Promise<RunData<S>> {
  const path = dataPath(config);
  const samples: Partial<Record<S, readonly Sample[]>> = {};
  let files: Partial<Record<S, string>> = {};
  let { totalLocNum, totalUserNum } = config;
  if (path === undefined) {
    const made = simulate();
    for (const split of splits) samples[split] = made[split];
    totalLocNum ??= made.totalLocNum;
    totalUserNum ??= made.totalUserNum;
  } else {
    files = await findSplits(path, splits);
    for (const split of splits) samples[split] = await readSamples(files[split]!);
    const parts = Object.values(samples) as (readonly Sample[])[];
    totalLocNum ??= 1 + Math.max(1, largest(parts, ({ X, Y }) => Y === undefined ? X : [...X, Y]));
    totalUserNum ??= 1 + largest(parts, ({ user_X }) => user_X);
  }
  for (const split of splits) {
    const file = files[split] ?? `simulated ${split} data`;
    if (samples[split]!.length === 0) throw new InputError(`${file}: there is no sample in it`);
    checkSamples(samples[split]!, { file, totalLocNum, totalUserNum });
  }
  return { config: { ...config, totalLocNum, totalUserNum }, samples: samples as Samples<S> };
}

/** SHA-256 of all that the samples hold, split by split: the same samples give the same text. */
export function fingerprint({ train, validation, test }: Samples): string {
  const hash = createHash("sha256");
  for (const part of [train, validation, test]) {
    hash.update(`${part.length} samples;`);
    for (const { X, user_X, weekday_X, start_min_X, dur_X, diff, Y } of part) {
      hash.update(`${X.length} visits to ${Y};`);
      for (
        const { buffer, byteOffset, byteLength } of [
          X,
          user_X,
          weekday_X,
          start_min_X,
          dur_X,
          diff,
        ]
      ) hash.update(new Uint8Array(buffer, byteOffset, byteLength));
    }
  }
  return hash.digest("hex");
}
