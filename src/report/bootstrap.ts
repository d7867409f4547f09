import { foldIn, randomKey, uniform } from "../core/random.ts";

/** The middle 95% of what resampling gives. */
export interface Interval {
  /** 2.5% lie below. */
  readonly low: number;
  /** 2.5% lie above. */
  readonly high: number;
}

/** How often resampling is done. */
const REPLICATES = 1000;

/**
 * Confidence intervals by the percentile bootstrap over clusters (Efron 1979; Davison and Hinkley
 * 1997, 3.8): whole clusters are drawn with replacement, since what is within one hangs together.
 * The seed is fixed: the same clusters and statistics give the same intervals.
 *
 * @param clusters Number of clusters.
 * @param statistics Of how often each cluster was drawn, [clusters] -> numbers.
 * @returns The interval of each statistic; values that are no number are left out.
 */
export function bootstrap(
  clusters: number,
  statistics: (drawn: Float64Array) => readonly number[],
): readonly Interval[] {
  const drawn = new Float64Array(clusters);
  const values: number[][] = [];
  for (let replicate = 0; replicate < REPLICATES; replicate++) {
    drawn.fill(0);
    const draws = uniform(foldIn(randomKey(0), replicate), clusters);
    for (const draw of draws) drawn[Math.floor(draw * clusters)]++;
    statistics(drawn).forEach((value, i) => {
      values[i] ??= [];
      if (Number.isFinite(value)) values[i].push(value);
    });
  }
  return values.map((sample) => {
    sample.sort((a, b) => a - b);
    return { low: quantile(sample, 0.025), high: quantile(sample, 0.975) };
  });
}

/** A quantile of sorted numbers, between two of them where it falls there. */
export function quantile(sorted: readonly number[], q: number): number {
  const at = q * (sorted.length - 1), below = Math.floor(at);
  const low = sorted[below], high = sorted[Math.min(below + 1, sorted.length - 1)];
  return low + (high - low) * (at - below);
}

/**
 * The interval of a share by Wilson's score (Wilson 1927), for small groups.
 *
 * @param hits Out of `count`, at least 1.
 */
export function wilson(hits: number, count: number): Interval {
  const z = 1.959964, share = hits / count, w = z * z / count;
  const middle = (share + w / 2) / (1 + w);
  const half = z / (1 + w) * Math.sqrt(share * (1 - share) / count + w / count / 4);
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}
