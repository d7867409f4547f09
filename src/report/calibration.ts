/** Answers whose first choice has a probability within a range. */
export interface CalibrationBin {
  /** Its range of probabilities: above `from`, up to `to`. */
  readonly from: number;
  /** See `from`. */
  readonly to: number;
  /** How many answers. */
  readonly count: number;
  /** Mean probability of their first choice. */
  readonly confidence: number;
  /** The share of them that are right. */
  readonly accuracy: number;
}

/** How far probabilities are what they say. */
export interface Calibration {
  /** Ranges with at least one answer. */
  readonly bins: readonly CalibrationBin[];
  /** Expected calibration error: the mean gap between confidence and accuracy, by answers. */
  readonly error: number;
  /** Mean confidence minus accuracy: positive where the model is too sure. */
  readonly excess: number;
}

/**
 * Compares the probability of first choices with how often they are right, in bins of equal width:
 * the expected calibration error of Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural
 * networks" (ICML 2017).
 *
 * @param confidence Probability of each first choice, 0 to 1.
 * @param right Whether it was right.
 */
export function calibration(
  confidence: ArrayLike<number>,
  right: readonly boolean[],
  bins = 10,
): Calibration {
  const sums = Array.from({ length: bins }, () => ({ count: 0, confidence: 0, right: 0 }));
  right.forEach((is, i) => {
    const bin = sums[Math.min(bins - 1, Math.max(0, Math.ceil(confidence[i] * bins) - 1))];
    bin.count++;
    bin.confidence += confidence[i];
    bin.right += Number(is);
  });
  const gap = (of: (gap: number) => number): number =>
    sums.reduce((sum, bin) => sum + of(bin.confidence - bin.right), 0) / right.length;
  return {
    bins: sums.map((sum, i) => ({
      from: i / bins,
      to: (i + 1) / bins,
      count: sum.count,
      confidence: sum.confidence / sum.count,
      accuracy: sum.right / sum.count,
    })).filter(({ count }) => count > 0),
    error: gap(Math.abs),
    excess: gap((value) => value),
  };
}
