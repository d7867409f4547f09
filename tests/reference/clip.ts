/** Result of {@linkcode clipByGlobalNorm}. */
export interface Clipped {
  /** Norm of all gradients together before clipping. */
  readonly norm: number;
  readonly grads: Float64Array[];
}

/**
 * Scales gradients in float64 so that their common norm is at most `maxNorm`. The factor is
 * `min(1, maxNorm / (norm + 1e-6))`, as PyTorch's `clip_grad_norm_` has it.
 */
export function clipByGlobalNorm(grads: readonly Float64Array[], maxNorm: number): Clipped {
  let sum = 0;
  for (const grad of grads) for (const value of grad) sum += value * value;
  const norm = Math.sqrt(sum);
  const factor = Math.min(1, maxNorm / (norm + 1e-6));
  return { norm, grads: grads.map((grad) => grad.map((value) => value * factor)) };
}
