import type { Tree } from "../core/tree.ts";
import { traced } from "../graph/graph.ts";
import { globalNorm } from "../ops/global_norm.ts";
import { sgdStep } from "../ops/sgd.ts";
import { unravel } from "../ops/view.ts";
import {
  checkSetting,
  type NoState,
  rateOf,
  slabsOf,
  type Transform,
  zeroSlab,
} from "./optimizer.ts";

/**
 * Checks a norm to clip to.
 *
 * @throws {RangeError} If it is not a positive number.
 */
export function checkMaxNorm(maxNorm: number): void {
  checkSetting("maxNorm", maxNorm, 2 ** -126);
}

/**
 * Scales gradients so that their global norm is at most `maxNorm`: by
 * `min(1, maxNorm / (norm + 1e-6))`, as PyTorch's `clip_grad_norm_`: one NaN makes all of them NaN, an
 * infinite one makes the finite ones 0. Norms from 1.8e19 up, which PyTorch takes for infinite, clip
 * as others do.
 *
 * @throws {RangeError} If `maxNorm` is not a positive number.
 */
export function clipByGlobalNorm(maxNorm: number): Transform<NoState> {
  checkMaxNorm(maxNorm);
  return Object.freeze({
    init: (): NoState => ({}),
    update<P extends Tree>(grads: P, state: NoState, params: P): readonly [P, NoState] {
      const slabs = slabsOf(grads, params);
      // The clipped gradient is a step from zero with rate -1.
      const zero = traced(zeroSlab(params), "step");
      const clipped = sgdStep(
        slabs.grads,
        { params: zero },
        rateOf(-1),
        { maxNorm },
        globalNorm(grads),
      );
      return [unravel(clipped.params, params), state];
    },
  });
}
