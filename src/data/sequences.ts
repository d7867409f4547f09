/**
 * Sequences of feature vectors, each with the class or the numbers to predict of it.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { pack, packed, packValues } from "../core/packing.ts";
import { foldIn, type Key, permutation } from "../core/random.ts";
import { type HostTensor, tensor } from "../core/tensor.ts";
import type { Split } from "./read_samples.ts";

/** One sequence. Its arrays are never changed. */
export interface SequenceSample {
  /** Feature vectors, step after step: [steps,width], row-major. */
  readonly values: Float32Array;
  /** Time steps, at least 1. */
  readonly steps: number;
  /** Index of its class. */
  readonly label?: number;
  /** Numbers to predict. */
  readonly target?: Float32Array;
  /** What its file calls it. */
  readonly id?: string;
}

/** What sequences are made of: stored with a model, since other sequences must be the same. */
export interface SequenceSchema {
  /** Names of the features, in their order. */
  readonly features: readonly string[];
  /** Names of the classes, in the order of their indices; absent if there are none to predict. */
  readonly classes?: readonly string[];
  /** Names of the numbers to predict; absent if there are none. */
  readonly targets?: readonly string[];
}

/** Sequences of one form. */
export interface SequenceData extends SequenceSchema {
  /** The sequences. */
  readonly samples: readonly SequenceSample[];
  /** Width F of a feature vector. */
  readonly width: number;
}

/** Mean and standard deviation of each column of rows. */
export interface Standardization {
  /** [F]. */
  readonly mean: HostTensor;
  /** [F]; 1 where all values are equal. */
  readonly std: HostTensor;
}

/**
 * Learns the mean and the (population) standard deviation of every column. Learn them from the
 * training split only.
 *
 * @param rows Arrays of rows of `width` numbers, such as the `values` or `target`s of samples.
 * @throws {RangeError} If there are no rows.
 *
 * @example
 * ```ts
 * import { learnStandardization, standardize } from "@gatewise/lstm";
 *
 * const values = Float32Array.of(1, 5, 3, 5);
 * const learned = learnStandardization([values], 2);
 * console.log(learned.mean.data, learned.std.data); // [ 2, 5 ] [ 1, 1 ]
 * console.log(standardize(values, learned)); // [ -1, 0, 1, 0 ]
 * ```
 */
export function learnStandardization(
  rows: readonly Float32Array[],
  width: number,
): Standardization {
  const count = rows.reduce((sum, values) => sum + values.length / width, 0);
  if (count === 0) throw new RangeError("Cannot learn a standardization: there are no rows");
  const sums = new Float64Array(width), squares = new Float64Array(width);
  for (const values of rows) for (let i = 0; i < values.length; i++) sums[i % width] += values[i];
  const mean = sums.map((sum) => sum / count);
  // Two passes, since values may lie far from 0 and near to each other.
  const low = new Float64Array(width).fill(Infinity),
    high = new Float64Array(width).fill(-Infinity);
  for (const values of rows) {
    for (let i = 0; i < values.length; i++) {
      const f = i % width, value = values[i];
      squares[f] += (value - mean[f]) ** 2;
      low[f] = Math.min(low[f], value);
      high[f] = Math.max(high[f], value);
    }
  }
  const std = squares.map((sum, f) => low[f] === high[f] ? 1 : Math.sqrt(sum / count));
  return { mean: tensor(Float32Array.from(mean)), std: tensor(Float32Array.from(std)) };
}

/** Rows of which every column's mean was subtracted and which were divided by its deviation. */
export function standardize(rows: Float32Array, { mean, std }: Standardization): Float32Array {
  const width = mean.data.length;
  return rows.map((value, i) => (value - mean.data[i % width]) / std.data[i % width]);
}

/** The rows that {@linkcode standardize} was given: answers in the units of the data. */
export function unstandardize(rows: Float32Array, { mean, std }: Standardization): Float32Array {
  const width = mean.data.length;
  return rows.map((value, i) => value * std.data[i % width] + mean.data[i % width]);
}

/** Shares of a data set. */
export interface SplitShares {
  /** Default 0.2. */
  readonly validation?: number;
  /** Default 0.2. */
  readonly test?: number;
}

/**
 * Splits sequences at random into training, validation and test. Every class has its share in each
 * part, and a sequence is in one part only; sequences that overlap in time belong into files split
 * beforehand. The same key and data give the same parts.
 *
 * @throws {InputError} If a part would be empty.
 *
 * @example
 * ```ts
 * import { randomKey, type SequenceSample, splitSequences } from "@gatewise/lstm";
 *
 * const samples = Array.from({ length: 60 }, (_, i): SequenceSample => ({
 *   values: Float32Array.of(i, 2 * i),
 *   steps: 2,
 *   label: i % 3,
 * }));
 * const data = { samples, features: ["x"], width: 1, classes: ["low", "middle", "high"] };
 * const { train, test } = splitSequences(data, randomKey(1));
 * console.log(train.samples.length, test.samples.length); // 36 12
 * ```
 */
export function splitSequences(
  data: SequenceData,
  key: Key,
  { validation = 0.2, test = 0.2 }: SplitShares = {},
): Readonly<Record<Split, SequenceData>> {
  const parts: Record<Split, number[]> = { train: [], validation: [], test: [] };
  const strata = Map.groupBy(data.samples.keys(), (i) => data.samples[i].label ?? -1);
  for (const [label, members] of strata) {
    const order = permutation(foldIn(key, label + 1), members.length);
    const forTest = Math.round(test * members.length);
    const forValidation = Math.round((test + validation) * members.length);
    order.forEach((i, position) => {
      const part = position < forTest ? "test" : position < forValidation ? "validation" : "train";
      parts[part].push(members[i]);
    });
  }
  const of = (split: Split): SequenceData => {
    if (parts[split].length === 0) {
      throw new InputError(
        `${data.samples.length} sequences are too few to split: none is left for ${split}; ` +
          "give files for training, validation and test",
      );
    }
    return { ...data, samples: parts[split].sort((a, b) => a - b).map((i) => data.samples[i]) };
  };
  return { train: of("train"), validation: of("validation"), test: of("test") };
}

/**
 * Sequences as models take them: packed rows, [N,F].
 *
 * @param width F.
 * @throws {RangeError} If there is no sequence.
 * @throws {TypeError} If a sequence does not have `steps` rows of that width.
 */
export function packSequences(samples: readonly SequenceSample[], width: number): HostTensor {
  for (const { values, steps } of samples) {
    if (values.length === steps * width) continue;
    throw new TypeError(
      `Cannot pack a sequence of ${values.length} numbers in ${steps} steps: ${width} a step are needed`,
    );
  }
  const packing = pack(samples.map(({ steps }) => steps));
  // Where each packed row comes from: a sequence and a step.
  const sequences = packValues(packing, (b) => b), times = packValues(packing, (_, t) => t);
  const rows = new Float32Array(sequences.length * width);
  sequences.forEach((b, row) => {
    const from = times[row] * width;
    rows.set(samples[b].values.subarray(from, from + width), row * width);
  });
  return packed(packing, rows, [width]);
}
