/** A parameter with its moments after `step` steps. */
export interface AdamState {
  readonly p: Float64Array;
  readonly m: Float64Array;
  readonly v: Float64Array;
  readonly step: number;
}

/** Settings of {@linkcode adamStep}. */
export interface AdamSettings {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  /** L2 decay: this times the parameter is added to the gradient. */
  readonly weightDecay: number;
}

/** The state before the first step. */
export function adamInit(p: Float64Array): AdamState {
  return { p, m: new Float64Array(p.length), v: new Float64Array(p.length), step: 0 };
}

/** One step of Adam (Kingma, Ba 2014) in float64, as PyTorch's `torch.optim.Adam` does it. */
export function adamStep(state: AdamState, grad: Float64Array, settings: AdamSettings): AdamState {
  const { lr, beta1, beta2, eps, weightDecay } = settings;
  const step = state.step + 1;
  const g = grad.map((value, i) => value + weightDecay * state.p[i]);
  const m = state.m.map((value, i) => beta1 * value + (1 - beta1) * g[i]);
  const v = state.v.map((value, i) => beta2 * value + (1 - beta2) * g[i] ** 2);
  const p = state.p.map((value, i) => {
    const mean = m[i] / (1 - beta1 ** step), square = v[i] / (1 - beta2 ** step);
    return value - lr * mean / (Math.sqrt(square) + eps);
  });
  return { p, m, v, step };
}
