/** Loss and gradient of {@linkcode crossEntropy}. */
export interface CrossEntropy {
  readonly loss: number;
  /** Gradient of the loss, [N,V]. */
  readonly dlogits: Float64Array;
}

/**
 * Mean of `-log softmax(row)[target]` in float64 over the rows of logits [N,V] whose target is not
 * `ignoreIndex`. With nothing left the loss is NaN and the gradient 0, as in PyTorch.
 */
export function crossEntropy(
  logits: Float64Array,
  target: ArrayLike<number>,
  ignoreIndex = -1,
): CrossEntropy {
  const N = target.length, V = logits.length / N;
  let counted = 0;
  for (let n = 0; n < N; n++) if (target[n] !== ignoreIndex) counted++;
  let total = 0;
  const dlogits = new Float64Array(logits.length);
  for (let n = 0; n < N; n++) {
    if (target[n] === ignoreIndex) continue;
    const row = logits.subarray(n * V, (n + 1) * V);
    const max = row.reduce((a, b) => Math.max(a, b));
    const sum = row.reduce((s, value) => s + Math.exp(value - max), 0);
    total += Math.log(sum) + (max - row[target[n]]);
    for (let v = 0; v < V; v++) {
      const probability = Math.exp(row[v] - max) / sum;
      dlogits[n * V + v] = (probability - (v === target[n] ? 1 : 0)) / counted;
    }
  }
  return { loss: total / counted, dlogits };
}
