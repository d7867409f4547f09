/** `y = max(x, 0)` in float64. */
export function relu(x: Float64Array): Float64Array {
  return x.map((value) => value > 0 ? value : 0);
}

/** `dx = dy` where x > 0, else 0: also at 0, as in PyTorch. */
export function reluBackward(x: Float64Array, dy: Float64Array): Float64Array {
  return dy.map((value, i) => x[i] > 0 ? value : 0);
}
