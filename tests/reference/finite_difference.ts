/**
 * The gradient of a scalar function by central differences: `(f(x + h) - f(x - h)) / 2h`, one
 * element at a time. With h = 1e-5 and values near 1 its error is near 1e-10.
 */
export function finiteDifference(
  f: (x: Float64Array) => number,
  x: Float64Array,
  h = 1e-5,
): Float64Array {
  return x.map((_, i) => {
    const moved = (by: number): number => f(x.map((value, j) => j === i ? value + by : value));
    return (moved(h) - moved(-h)) / (2 * h);
  });
}

/** `sum a_i b_i`: turns outputs into a scalar whose cotangent of `a` is `b`. */
export function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}
