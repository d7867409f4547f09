import type { SequenceSample } from "../data/sequences.ts";

/**
 * How much a model's answers depend on each feature: the mean absolute change of its outputs when the
 * feature is 0 in every step of every sequence. Of standardized features 0 is the mean.
 *
 * @param samples At least one sequence.
 * @param width Features F of a step.
 * @param answer The model's outputs for sequences, as many numbers at each call.
 * @returns F numbers from 0, in the unit of the outputs.
 * @throws {RangeError} If there is no sequence.
 *
 * @example
 * ```ts
 * import { featureImportance, type SequenceSample } from "@gatewise/lstm";
 *
 * // A "model" that adds up three times the first feature and once the second.
 * const answer = (samples: readonly SequenceSample[]) =>
 *   Promise.resolve(samples.map(({ values }) =>
 *     values.reduce((sum, value, i) => sum + (i % 2 === 0 ? 3 * value : value), 0)));
 * const samples = [{ values: Float32Array.of(1, -1, 1, 5), steps: 2 }];
 * console.log(await featureImportance(samples, 2, answer)); // Float64Array [ 6, 4 ]
 * ```
 */
export async function featureImportance(
  samples: readonly SequenceSample[],
  width: number,
  answer: (samples: readonly SequenceSample[]) => Promise<ArrayLike<number>>,
): Promise<Float64Array> {
  if (samples.length === 0) {
    throw new RangeError("Cannot tell what features matter: there is no sequence");
  }
  const whole = await answer(samples);
  const importance = new Float64Array(width);
  for (let f = 0; f < width; f++) {
    const without = await answer(samples.map((sample) => ({
      ...sample,
      values: sample.values.map((value, i) => i % width === f ? 0 : value),
    })));
    for (let i = 0; i < whole.length; i++) {
      importance[f] += Math.abs(without[i] - whole[i]) / whole.length;
    }
  }
  return importance;
}
