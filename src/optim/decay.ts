import type { Tree } from "../core/tree.ts";
import { sgdStep } from "../ops/sgd.ts";
import { unravel } from "../ops/view.ts";
import { checkSetting, type NoState, rateOf, slabsOf, type Transform } from "./optimizer.ts";

/**
 * Adds `rate` times the parameters to their gradients: L2 decay.
 *
 * @throws {RangeError} If the rate is negative or not finite.
 */
export function addDecayedWeights(rate: number): Transform<NoState> {
  checkSetting("weightDecay", rate, 0);
  return Object.freeze({
    init: (): NoState => ({}),
    update<P extends Tree>(grads: P, state: NoState, params: P): readonly [P, NoState] {
      const slabs = slabsOf(grads, params);
      // A step of the gradients along the parameters, with rate -rate.
      const decayed = sgdStep(slabs.params, { params: slabs.grads }, rateOf(-rate));
      return [unravel(decayed.params, params), state];
    },
  });
}
