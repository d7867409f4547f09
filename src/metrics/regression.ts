import { meanLoss } from "./mean_loss.ts";

/** Values that a model predicted for a batch of samples, and the right ones. */
export interface RegressedBatch {
  /** The true values, [B,K], row-major. */
  readonly targets: ArrayLike<number>;
  /** The predicted values, [B,K], row-major. */
  readonly predictions: ArrayLike<number>;
  /** The mean loss of the batch, where it was computed. */
  readonly loss?: number;
}

/** Scores of a regression, averaged over the K values; NaN when there is no sample. */
export interface RegressionScores {
  /** Number of samples. */
  readonly count: number;
  /** Mean loss of a sample; absent where a batch has none. */
  readonly loss?: number;
  /** Mean squared error. */
  readonly mse: number;
  /** Mean absolute error. */
  readonly mae: number;
  /**
   * Coefficient of determination: 1 less the squared error over that of always predicting the mean of
   * the targets. Where a target never changes, 1 if it was met and else 0.
   */
  readonly r2: number;
}

/**
 * Scores of a regression over all batches of a split, as scikit-learn's `mean_squared_error`,
 * `mean_absolute_error` and `r2_score` have them by default.
 *
 * @param width Values K of a sample.
 * @throws {TypeError} If a batch's arrays differ in length or are no rows of K.
 *
 * @example
 * ```ts
 * import { regressionScores } from "@gatewise/lstm";
 *
 * const { mse, mae, r2 } = regressionScores([{ targets: [1, 2, 6], predictions: [2, 2, 4] }], 1);
 * console.log(mse, mae, r2); // 1.666 1 0.642
 * ```
 */
export function regressionScores(
  batches: readonly RegressedBatch[],
  width: number,
): RegressionScores {
  let values = 0;
  const means = new Float64Array(width);
  for (const { targets, predictions } of batches) {
    if (predictions.length !== targets.length || targets.length % width !== 0) {
      throw new TypeError(
        `Cannot score ${predictions.length} values of ${targets.length}: give rows of ${width}`,
      );
    }
    values += targets.length;
    for (let i = 0; i < targets.length; i++) means[i % width] += targets[i];
  }
  const count = values / width;
  means.forEach((sum, k) => means[k] = sum / count);
  let absolute = 0;
  const squares = new Float64Array(width), spread = new Float64Array(width);
  for (const { targets, predictions } of batches) {
    for (let i = 0; i < targets.length; i++) {
      const k = i % width, error = predictions[i] - targets[i];
      absolute += Math.abs(error);
      squares[k] += error ** 2;
      spread[k] += (targets[i] - means[k]) ** 2;
    }
  }
  const r2 = Array.from(
    squares,
    (error, k) => spread[k] > 0 ? 1 - error / spread[k] : error === 0 ? 1 : error > 0 ? 0 : NaN,
  );
  return {
    count,
    ...meanLoss(batches.map(({ targets, loss }) => ({ count: targets.length / width, loss }))),
    mse: squares.reduce((a, b) => a + b, 0) / values,
    mae: absolute / values,
    r2: count === 0 ? NaN : r2.reduce((a, b) => a + b, 0) / width,
  };
}
