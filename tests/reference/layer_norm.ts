/**
 * `y[n] = gamma (x[n] - mean) / sqrt(var + eps) + beta` in float64, mean and biased variance over
 * each row of x [N,H] (Ba, Kiros, Hinton 2016).
 */
export function layerNorm(
  x: Float64Array,
  gamma: Float64Array,
  beta: Float64Array,
  eps = 1e-5,
): Float64Array {
  const H = gamma.length;
  const { normal } = normalize(x, H, eps);
  return normal.map((value, k) => gamma[k % H] * value + beta[k % H]);
}

function normalize(
  x: Float64Array,
  H: number,
  eps: number,
): { normal: Float64Array; scale: Float64Array } {
  const N = x.length / H;
  const normal = new Float64Array(x.length), scale = new Float64Array(N);
  for (let n = 0; n < N; n++) {
    const row = x.subarray(n * H, (n + 1) * H);
    const mean = row.reduce((sum, value) => sum + value, 0) / H;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / H;
    scale[n] = 1 / Math.sqrt(variance + eps);
    for (let h = 0; h < H; h++) normal[n * H + h] = (row[h] - mean) * scale[n];
  }
  return { normal, scale };
}

/** Gradients of a normalization. */
export interface NormGradients {
  readonly dx: Float64Array;
  readonly dgamma: Float64Array;
  readonly dbeta: Float64Array;
}

/** The gradients of x, gamma and beta, given dy [N,H]. */
export function layerNormBackward(
  x: Float64Array,
  gamma: Float64Array,
  dy: Float64Array,
  eps = 1e-5,
): NormGradients {
  const H = gamma.length, N = x.length / H;
  const { normal, scale } = normalize(x, H, eps);
  const dx = new Float64Array(x.length);
  const dgamma = new Float64Array(H), dbeta = new Float64Array(H);
  for (let n = 0; n < N; n++) {
    let sum = 0, product = 0;
    for (let h = 0; h < H; h++) {
      const k = n * H + h;
      dbeta[h] += dy[k];
      dgamma[h] += dy[k] * normal[k];
      sum += dy[k] * gamma[h];
      product += dy[k] * gamma[h] * normal[k];
    }
    for (let h = 0; h < H; h++) {
      const k = n * H + h;
      dx[k] = scale[n] * (dy[k] * gamma[h] - sum / H - normal[k] * product / H);
    }
  }
  return { dx, dgamma, dbeta };
}
