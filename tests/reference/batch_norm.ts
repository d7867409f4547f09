import type { NormGradients } from "./layer_norm.ts";

/** Mean and variance of each column: what normalizes in evaluation. */
export interface RunningStatistics {
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

/** Mean and biased variance of each column of x [N,H]. */
function statistics(x: Float64Array, H: number): RunningStatistics {
  const N = x.length / H;
  const mean = new Float64Array(H), variance = new Float64Array(H);
  x.forEach((value, k) => mean[k % H] += value / N);
  x.forEach((value, k) => variance[k % H] += (value - mean[k % H]) ** 2 / N);
  return { mean, variance };
}

/**
 * `y = gamma (x - mean) / sqrt(var + eps) + beta` in float64 over the columns of x [N,H] (Ioffe,
 * Szegedy 2015): with the batch's mean and biased variance, or the `running` ones if given.
 */
export function batchNorm(
  x: Float64Array,
  gamma: Float64Array,
  beta: Float64Array,
  running?: RunningStatistics,
  eps = 1e-5,
): Float64Array {
  const H = gamma.length;
  const { mean, variance } = running ?? statistics(x, H);
  return x.map((value, k) => {
    const h = k % H;
    return gamma[h] * (value - mean[h]) / Math.sqrt(variance[h] + eps) + beta[h];
  });
}

/** `running <- (1 - momentum) running + momentum batch`, with the batch's unbiased variance. */
export function updateRunning(
  running: RunningStatistics,
  x: Float64Array,
  momentum = 0.1,
): RunningStatistics {
  const H = running.mean.length, N = x.length / H;
  const batch = statistics(x, H);
  const blend = (old: Float64Array, now: Float64Array, scale: number): Float64Array =>
    old.map((value, h) => (1 - momentum) * value + momentum * now[h] * scale);
  return {
    mean: blend(running.mean, batch.mean, 1),
    variance: blend(running.variance, batch.variance, N / (N - 1)),
  };
}

/** The gradients of x, gamma and beta, given dy [N,H]; for evaluation give `running`. */
export function batchNormBackward(
  x: Float64Array,
  gamma: Float64Array,
  dy: Float64Array,
  running?: RunningStatistics,
  eps = 1e-5,
): NormGradients {
  const H = gamma.length, N = x.length / H;
  const { mean, variance } = running ?? statistics(x, H);
  const scale = variance.map((value) => 1 / Math.sqrt(value + eps));
  const normal = x.map((value, k) => (value - mean[k % H]) * scale[k % H]);
  const dgamma = new Float64Array(H), dbeta = new Float64Array(H);
  dy.forEach((value, k) => {
    dbeta[k % H] += value;
    dgamma[k % H] += value * normal[k];
  });
  const dx = dy.map((value, k) => {
    const h = k % H;
    const through = running ? value : value - dbeta[h] / N - normal[k] * dgamma[h] / N;
    return gamma[h] * scale[h] * through;
  });
  return { dx, dgamma, dbeta };
}
