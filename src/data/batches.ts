import { type Key, permutation } from "../core/random.ts";

/** Options of {@link batches}. */
export interface BatchOptions {
  /** Samples in a batch, at least 1. */
  readonly batchSize: number;
  /** Shuffles: the same key gives the same order. Without one the order is kept. */
  readonly key?: Key;
  /** Whether a last batch of fewer samples is left out; default it is given. */
  readonly dropLast?: boolean;
}

/**
 * Cuts samples into batches: each sample is in one of them, once.
 *
 * @throws {RangeError} If `batchSize` is no whole number of at least 1.
 *
 * @example
 * ```ts
 * import { batches, randomKey } from "@gatewise/lstm";
 *
 * const numbers = [0, 1, 2, 3, 4];
 * console.log([...batches(numbers, { batchSize: 2 })]); // [[0, 1], [2, 3], [4]]
 * const key = randomKey(42);
 * console.log([...batches(numbers, { batchSize: 2, key, dropLast: true })].length); // 2
 * ```
 */
export function* batches<T>(
  samples: readonly T[],
  { batchSize, key, dropLast = false }: BatchOptions,
): Generator<readonly T[], void, undefined> {
  if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
    throw new RangeError(`Cannot make batches of ${batchSize} samples: give a whole number from 1`);
  }
  const shuffled = key === undefined
    ? samples
    : Array.from(permutation(key, samples.length), (i) => samples[i]);
  const end = dropLast ? samples.length - samples.length % batchSize : samples.length;
  for (let i = 0; i < end; i += batchSize) yield shuffled.slice(i, Math.min(i + batchSize, end));
}
