import type { Tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import { traced } from "../graph/graph.ts";
import { globalNorm } from "../ops/global_norm.ts";
import { sgdStep } from "../ops/sgd.ts";
import { unravel } from "../ops/view.ts";
import { checkMaxNorm } from "./clip.ts";
import {
  checkSetting,
  type Optimizer,
  rateOf,
  slabsOf,
  stateSlab,
  type Transform,
  zeroSlab,
} from "./optimizer.ts";

/** Settings of `sgd`. */
export interface SgdOptions {
  /** Decay of the velocity; default 0, no velocity. */
  readonly momentum?: number;
  /** Nesterov's form of momentum; default false. */
  readonly nesterov?: boolean;
  /** L2 decay: this times the parameter is added to the gradient, after clipping; default 0. */
  readonly weightDecay?: number;
  /** Gradients are scaled down to have at most this global norm; default no clipping. */
  readonly maxNorm?: number;
}

/** What momentum remembers. */
export interface TraceState {
  /** The velocity: all parameters in one slab, [S] (see `ravel`). */
  readonly momentum: Tensor;
}

/** What `sgd` remembers: nothing without momentum. */
export type SgdState = Partial<TraceState>;

/**
 * Stochastic gradient descent as PyTorch's `torch.optim.SGD` has it (no dampening), after
 * `clip_grad_norm_` if `maxNorm` is given. One step takes one dispatch, clipping two more.
 *
 * @throws {RangeError} If a setting is out of its range, or `nesterov` is without momentum.
 *
 * @example
 * ```ts
 * import { sgd } from "@gatewise/lstm";
 *
 * const optimizer = sgd({ momentum: 0.98, nesterov: true, weightDecay: 1e-6, maxNorm: 1 });
 * ```
 */
export function sgd(options: SgdOptions = {}): Optimizer<SgdState> {
  const { momentum = 0, nesterov = false, weightDecay = 0, maxNorm = 1 } = options;
  checkSetting("momentum", momentum, 0, 1);
  checkSetting("weightDecay", weightDecay, 0);
  checkMaxNorm(maxNorm);
  if (nesterov && momentum === 0) {
    throw new RangeError("Cannot make an optimizer with Nesterov momentum 0: give a momentum");
  }
  const settings = { momentum, nesterov, weightDecay, maxNorm };
  return Object.freeze({
    init: (params: Tree): SgdState => momentum === 0 ? {} : { momentum: zeroSlab(params) },
    step<P extends Tree>(
      grads: P,
      state: SgdState,
      params: P,
      learningRate: Tensor | number,
    ): readonly [P, SgdState] {
      const slabs = slabsOf(grads, params);
      const norm = options.maxNorm === undefined ? undefined : globalNorm(grads);
      const from = momentum === 0 ? { params: slabs.params } : {
        params: slabs.params,
        momentum: stateSlab("momentum", state.momentum ?? missing(), slabs.params),
      };
      const { params: moved, ...next } = sgdStep(
        slabs.grads,
        from,
        rateOf(learningRate),
        settings,
        norm,
      );
      return [unravel(moved, params), next];
    },
  });
}

function missing(): never {
  throw new TypeError("Cannot step: the state has no momentum; make it with this optimizer's init");
}

/**
 * Replaces gradients by their velocity `b = decay b + g`, or by `g + decay b` with `nesterov`.
 *
 * @param decay From 0 to below 1.
 * @throws {RangeError} If the decay is out of its range.
 */
export function trace(
  decay: number,
  options: { readonly nesterov?: boolean } = {},
): Transform<TraceState> {
  checkSetting("momentum", decay, 0, 1);
  const { nesterov = false } = options;
  return Object.freeze({
    init: (params: Tree): TraceState => ({ momentum: zeroSlab(params) }),
    update<P extends Tree>(grads: P, state: TraceState, params: P): readonly [P, TraceState] {
      const slabs = slabsOf(grads, params);
      // The velocity is a step from zero with rate -1.
      const { params: direction, momentum } = sgdStep(
        slabs.grads,
        {
          params: traced(zeroSlab(params), "step"),
          momentum: stateSlab("momentum", state.momentum, slabs.params),
        },
        rateOf(-1),
        { momentum: decay, nesterov },
      );
      return [unravel(direction, params), { momentum: momentum! }];
    },
  });
}
