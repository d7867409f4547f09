import { printable } from "../core/describe.ts";
import { meanLoss } from "./mean_loss.ts";
import { formatTable } from "./table.ts";

/** The classes that a model chose for a batch of samples, and the right ones. */
export interface ClassifiedBatch {
  /** The true class of each sample, from 0. */
  readonly targets: ArrayLike<number>;
  /** The class chosen for each. */
  readonly predictions: ArrayLike<number>;
  /** The mean loss of the batch, where it was computed. */
  readonly loss?: number;
}

/** Scores of a classification, in percent but for `count`, `loss` and `confusion`. */
export interface ClassificationScores {
  /** Number of samples. */
  readonly count: number;
  /** Mean loss of a sample; absent where a batch has none. */
  readonly loss?: number;
  /** Samples whose class was chosen; NaN when there is no sample. */
  readonly accuracy: number;
  /** F1 averaged over the classes that are a target or were chosen. */
  readonly macroF1: number;
  /** F1 averaged over classes by how often each is the target. */
  readonly weightedF1: number;
  /** How often a class (row) was taken for another (column): [C,C]. */
  readonly confusion: readonly (readonly number[])[];
}

/**
 * Scores of a classification over all batches of a split. F1 is `f1_score` of scikit-learn with
 * `zero_division=0`.
 *
 * @param classes Number of classes C.
 * @throws {TypeError} If a batch's arrays differ in length.
 * @throws {RangeError} If a class is not from 0 to C - 1.
 *
 * @example
 * ```ts
 * import { classificationScores } from "@gatewise/lstm";
 *
 * const batch = { targets: [0, 0, 1, 2], predictions: [0, 1, 1, 2] };
 * const { accuracy, confusion } = classificationScores([batch], 3);
 * console.log(accuracy, confusion); // 75 [ [ 1, 1, 0 ], [ 0, 1, 0 ], [ 0, 0, 1 ] ]
 * ```
 */
export function classificationScores(
  batches: readonly ClassifiedBatch[],
  classes: number,
): ClassificationScores {
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (const { targets, predictions } of batches) {
    if (predictions.length !== targets.length) {
      throw new TypeError(
        `Cannot score ${predictions.length} predictions of ${targets.length} targets: they are one each`,
      );
    }
    for (let n = 0; n < targets.length; n++) {
      const row = confusion[targets[n]];
      if (row?.[predictions[n]] === undefined) {
        throw new RangeError(
          `Cannot score class ${predictions[n]} where ${targets[n]} is right: classes are 0 to ${
            classes - 1
          }`,
        );
      }
      row[predictions[n]]++;
    }
  }
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const support = confusion.map(sum);
  const chosen = confusion.map((_, c) => sum(confusion.map((row) => row[c])));
  const count = sum(support);
  const f1 = confusion.map((row, c) => 2 * row[c] / (support[c] + chosen[c]));
  const met = f1.filter((value) => !Number.isNaN(value));
  return {
    count,
    ...meanLoss(batches.map(({ targets, loss }) => ({ count: targets.length, loss }))),
    accuracy: 100 * sum(confusion.map((row, c) => row[c])) / count,
    macroF1: 100 * sum(met) / met.length,
    weightedF1: 100 * sum(support.map((n, c) => n === 0 ? 0 : n * f1[c])) / count,
    confusion,
  };
}

/**
 * A confusion matrix as a text table, rows the true classes and columns the chosen ones. Ends without a
 * line break.
 *
 * @param names Of the classes.
 */
export function formatConfusion(
  confusion: readonly (readonly number[])[],
  names: readonly string[],
): string {
  const shown = names.map((name) => printable(name, 24));
  return formatTable([
    ["true \\ chosen", ...shown],
    ...confusion.map((row, c) => [shown[c], ...row.map(String)]),
  ]);
}
