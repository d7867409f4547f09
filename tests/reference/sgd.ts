/** A parameter with its velocity; none before the first step. */
export interface SgdState {
  readonly p: Float64Array;
  readonly momentum?: Float64Array;
}

/** Settings of {@linkcode sgdStep}. */
export interface SgdSettings {
  readonly lr: number;
  readonly momentum: number;
  /** L2 decay: this times the parameter is added to the gradient. */
  readonly weightDecay: number;
}

/**
 * One step of SGD with Nesterov momentum in float64, as PyTorch's `torch.optim.SGD` does it: the
 * velocity starts as the first gradient.
 */
export function sgdStep(state: SgdState, grad: Float64Array, settings: SgdSettings): SgdState {
  const { lr, momentum: mu, weightDecay } = settings;
  const g = grad.map((value, i) => value + weightDecay * state.p[i]);
  const momentum = state.momentum?.map((value, i) => mu * value + g[i]) ?? g;
  const p = state.p.map((value, i) => value - lr * (g[i] + mu * momentum[i]));
  return { p, momentum };
}
