/**
 * Where early stopping stands: plain data, so a checkpoint can hold it as JSON.
 */
export interface StoppingState {
  /** The lowest validation loss so far; `null` before the first. */
  readonly best: number | null;
  /** Epochs since the best loss or the last reduction. */
  readonly waited: number;
  /** How often the rate was reduced. */
  readonly reductions: number;
}

/** When to reduce the rate and when to stop. */
export interface StoppingOptions {
  /** Epochs without improvement that trigger; default 3. */
  readonly patience?: number;
  /** By how much a loss must be below the best to improve on it; default 0.001. */
  readonly delta?: number;
  /** How many triggers reduce the rate before the next one stops; default 2. */
  readonly maxReductions?: number;
}

/** What an epoch's validation loss leads to. */
export interface StoppingDecision {
  /** The state to go on with. */
  readonly state: StoppingState;
  /** The loss is the new best: keep these weights. */
  readonly improved: boolean;
  /**
   * `reduce`: load the best weights, multiply the current rate by the reduction factor, and hold it
   * there instead of following the schedule. `stop`: training is over.
   */
  readonly action: "continue" | "reduce" | "stop";
}

/** The state before the first epoch. */
export const initialStopping: StoppingState = { best: null, waited: 0, reductions: 0 };

/**
 * Early stopping after an epoch: a loss below `best - delta` is the new best; `patience` epochs
 * without one trigger a reduction of the rate, and the trigger after `maxReductions` reductions ends
 * training. A loss that is not a number never improves; a trigger before any best loss stops.
 *
 * @param state The state after the epoch before.
 * @param validationLoss The mean over batches of this epoch's validation loss.
 * @throws {RangeError} If an option is out of range.
 *
 * @example
 * ```ts
 * import { initialStopping, observe } from "@gatewise/lstm";
 *
 * const first = observe(initialStopping, 5.11);
 * const second = observe(first.state, 5.12);
 * console.log(first.improved, second.improved, second.action); // true false "continue"
 * ```
 */
export function observe(
  state: StoppingState,
  validationLoss: number,
  options: StoppingOptions = {},
): StoppingDecision {
  const { patience = 3, delta = 0.001, maxReductions = 2 } = options;
  if (!Number.isSafeInteger(patience) || patience < 1) {
    throw new RangeError(
      `Cannot stop early with patience ${patience}: it is a whole number from 1`,
    );
  }
  if (!(delta >= 0)) {
    throw new RangeError(`Cannot stop early with delta ${delta}: it is a number from 0`);
  }
  const limit = state.best === null ? Infinity : state.best - delta;
  if (validationLoss < limit) {
    const improved = { best: validationLoss, waited: 0, reductions: state.reductions };
    return { state: improved, improved: true, action: "continue" };
  }
  const waited = state.waited + 1;
  if (waited < patience) {
    return { state: { ...state, waited }, improved: false, action: "continue" };
  }
  if (state.best === null || state.reductions >= maxReductions) {
    return { state: { ...state, waited }, improved: false, action: "stop" };
  }
  const reduced = { ...state, waited: 0, reductions: state.reductions + 1 };
  return { state: reduced, improved: false, action: "reduce" };
}
