/** A convolution along time over one sequence, zeros before and after it, in float64. */

/** Sizes of a convolution: input and output channels, and taps. */
export interface Conv1dSizes {
  readonly I: number;
  readonly O: number;
  readonly k: number;
}

function visit(
  T: number,
  { I, O, k }: Conv1dSizes,
  each: (y: number, weight: number, x: number) => void,
): void {
  for (let t = 0; t < T; t++) {
    for (let o = 0; o < O; o++) {
      for (let j = 0; j < k; j++) {
        const from = t + j - Math.floor(k / 2);
        if (from < 0 || from >= T) continue;
        for (let i = 0; i < I; i++) each(t * O + o, (o * I + i) * k + j, from * I + i);
      }
    }
  }
}

/** y [T,O] of x [T,I], weight [O,I,k] and bias [O]. */
export function conv1d(
  x: Float64Array,
  weight: Float64Array,
  bias: Float64Array,
  sizes: Conv1dSizes,
): Float64Array {
  const T = x.length / sizes.I;
  const y = new Float64Array(T * sizes.O).map((_, i) => bias[i % sizes.O]);
  visit(T, sizes, (to, w, from) => y[to] += weight[w] * x[from]);
  return y;
}

/** Gradients of `dot(y, dy)`. */
export function conv1dBackward(
  x: Float64Array,
  weight: Float64Array,
  dy: Float64Array,
  sizes: Conv1dSizes,
): { dx: Float64Array; dweight: Float64Array; dbias: Float64Array } {
  const dx = new Float64Array(x.length), dweight = new Float64Array(weight.length);
  const dbias = new Float64Array(sizes.O);
  visit(x.length / sizes.I, sizes, (to, w, from) => {
    dx[from] += weight[w] * dy[to];
    dweight[w] += x[from] * dy[to];
  });
  dy.forEach((value, i) => dbias[i % sizes.O] += value);
  return { dx, dweight, dbias };
}
