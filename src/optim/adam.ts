import { type Tensor, tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import { type Traced, traced } from "../graph/graph.ts";
import { type AdamSlabs, adamStep, type AdamStepSettings } from "../ops/adam.ts";
import { globalNorm } from "../ops/global_norm.ts";
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

/** How Adam averages gradients. */
export interface ScaleByAdamOptions {
  /** Decay of the mean of gradients; default 0.9. */
  readonly beta1?: number;
  /** Decay of the mean of squared gradients; default 0.999. */
  readonly beta2?: number;
  /** Added to the root of the mean square; default 1e-8. */
  readonly eps?: number;
}

/** Settings of `adam`. */
export interface AdamOptions extends ScaleByAdamOptions {
  /** L2 decay: this times the parameter is added to the gradient, after clipping; default 0. */
  readonly weightDecay?: number;
  /** Gradients are scaled down to have at most this global norm; default no clipping. */
  readonly maxNorm?: number;
}

/** What Adam remembers. */
export interface AdamState {
  /** Steps made: `u32`, []. */
  readonly count: Tensor;
  /** Mean of gradients: all parameters in one slab, [S] (see `ravel`). */
  readonly m: Tensor;
  /** Mean of squared gradients, like `m`. */
  readonly v: Tensor;
}

function settingsOf(options: AdamOptions): AdamStepSettings {
  const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0, maxNorm = 1 } = options;
  checkSetting("beta1", beta1, 0, 1);
  checkSetting("beta2", beta2, 0, 1);
  // Where all gradients were zero a step is 0 / eps, so eps must not be zero in float32.
  checkSetting("eps", eps, 2 ** -126);
  checkSetting("weightDecay", weightDecay, 0);
  checkMaxNorm(maxNorm);
  return { beta1, beta2, eps, weightDecay, maxNorm };
}

function init(params: Tree): AdamState {
  return {
    count: tensor(new Uint32Array(1), []),
    m: zeroSlab(params),
    v: zeroSlab(params),
  };
}

function slabsWith(params: Traced, { count, m, v }: AdamState): AdamSlabs {
  return {
    params,
    count: traced(count, "step"),
    m: stateSlab("m", m, params),
    v: stateSlab("v", v, params),
  };
}

/**
 * Adam (Kingma, Ba, "Adam: a method for stochastic optimization", 2014) as PyTorch's
 * `torch.optim.Adam` has it, after `clip_grad_norm_` if `maxNorm` is given. One step takes two small
 * dispatches and one over all parameters, clipping two more.
 *
 * A gradient from about 5.8e20 on, if it is not clipped, makes the mean square infinite and the
 * parameter NaN at the next step; in PyTorch such a parameter never moves again.
 *
 * @throws {RangeError} If a setting is out of its range.
 *
 * @example
 * ```ts
 * import { adam, compile, openDevice, put, read, type Tensor, tensor } from "@gatewise/lstm";
 *
 * interface Params {
 *   readonly w: Tensor;
 * }
 * const optimizer = adam({ maxNorm: 1 });
 * const init = (params: Params) => ({ params, optimizer: optimizer.init(params) });
 * type State = ReturnType<typeof init>;
 *
 * using device = await openDevice();
 * const step = compile(device, (state: State, grads: Params, rate: number): State => {
 *   const [params, next] = optimizer.step(grads, state.optimizer, state.params, rate);
 *   return { params, optimizer: next };
 * }, { donate: [0] });
 * let state = put(device, init({ w: tensor([1, 2]) }));
 * state = step(state, { w: tensor([3, -4]) }, 0.25);
 * console.log((await read(state.params)).w.data); // Float32Array [ 0.75, 2.25 ]
 * ```
 */
export function adam(options: AdamOptions = {}): Optimizer<AdamState> {
  const settings = settingsOf(options);
  return Object.freeze({
    init,
    step<P extends Tree>(
      grads: P,
      state: AdamState,
      params: P,
      learningRate: Tensor | number,
    ): readonly [P, AdamState] {
      const slabs = slabsOf(grads, params);
      const norm = options.maxNorm === undefined ? undefined : globalNorm(grads);
      const { params: moved, count, m, v } = adamStep(
        slabs.grads,
        slabsWith(slabs.params, state),
        rateOf(learningRate),
        settings,
        norm,
      );
      return [unravel(moved, params), { count, m, v }];
    },
  });
}

/**
 * Replaces gradients by Adam's direction: their running mean by the root of their running mean
 * square, both corrected for their start from zero.
 *
 * @throws {RangeError} If a setting is out of its range.
 */
export function scaleByAdam(options: ScaleByAdamOptions = {}): Transform<AdamState> {
  const { beta1, beta2, eps } = options;
  const settings = settingsOf({ beta1, beta2, eps });
  return Object.freeze({
    init,
    update<P extends Tree>(grads: P, state: AdamState, params: P): readonly [P, AdamState] {
      const slabs = slabsOf(grads, params);
      // The direction is a step from zero with rate -1.
      const { params: direction, count, m, v } = adamStep(
        slabs.grads,
        slabsWith(traced(zeroSlab(params), "step"), state),
        rateOf(-1),
        settings,
      );
      return [unravel(direction, params), { count, m, v }];
    },
  });
}
