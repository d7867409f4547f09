/** `y[n,o] = bias[o] + sum_i x[n,i] weight[o,i]` in float64; x [N,I], weight [O,I], bias [O]. */
export function linear(
  x: Float64Array,
  weight: Float64Array,
  bias: Float64Array,
  N: number,
): Float64Array {
  const O = bias.length, I = weight.length / O;
  const y = new Float64Array(N * O);
  for (let n = 0; n < N; n++) {
    for (let o = 0; o < O; o++) {
      let sum = bias[o];
      for (let i = 0; i < I; i++) sum += x[n * I + i] * weight[o * I + i];
      y[n * O + o] = sum;
    }
  }
  return y;
}

/** Gradients of {@linkcode linear}. */
export interface LinearGradients {
  readonly dx: Float64Array;
  readonly dweight: Float64Array;
  readonly dbias: Float64Array;
}

/** The gradients of x, weight and bias, given dy [N,O]. */
export function linearBackward(
  x: Float64Array,
  weight: Float64Array,
  dy: Float64Array,
  N: number,
): LinearGradients {
  const O = dy.length / N, I = weight.length / O;
  const dx = new Float64Array(N * I);
  const dweight = new Float64Array(O * I);
  const dbias = new Float64Array(O);
  for (let n = 0; n < N; n++) {
    for (let o = 0; o < O; o++) {
      const d = dy[n * O + o];
      dbias[o] += d;
      for (let i = 0; i < I; i++) {
        dx[n * I + i] += d * weight[o * I + i];
        dweight[o * I + i] += d * x[n * I + i];
      }
    }
  }
  return { dx, dweight, dbias };
}
