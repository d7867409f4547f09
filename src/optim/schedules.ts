/** The learning rate of update number `step`, counted from 0. A pure function. */
export type Schedule = (step: number) => number;

/** What a linear warm-up and decay needs: a rate and two numbers of updates. */
export interface LinearWarmupDecayOptions {
  /** The rate at the end of the warm-up, the highest. */
  readonly peak: number;
  /** Updates from 0 to the peak; 0 starts at the peak. */
  readonly warmupSteps: number;
  /** Updates after which the rate is 0, the warm-up included. */
  readonly totalSteps: number;
}

/**
 * The same rate for every update.
 *
 * @throws {RangeError} If the rate is negative or not finite.
 *
 * @example
 * ```ts
 * import { constant } from "@gatewise/lstm";
 *
 * console.log(constant(1e-3)(500)); // 0.001
 * ```
 */
export function constant(rate: number): Schedule {
  checkRate("rate", rate);
  return () => rate;
}

/**
 * A rate that rises linearly from 0 to `peak` over `warmupSteps` updates, falls linearly to 0 at
 * update `totalSteps` and stays there: `get_linear_schedule_with_warmup` of Hugging Face's
 * transformers. Update 0 has rate 0 when there is a warm-up.
 *
 * @throws {RangeError} If the peak is negative or a number of updates is not a whole number from 0.
 *
 * @example
 * ```ts
 * import { linearWarmupDecay } from "@gatewise/lstm";
 *
 * const rate = linearWarmupDecay({ peak: 1e-3, warmupSteps: 464, totalSteps: 11600 });
 * console.log(rate(0), rate(232), rate(464), rate(11600)); // 0 0.0005 0.001 0
 * ```
 */
export function linearWarmupDecay(options: LinearWarmupDecayOptions): Schedule {
  const { peak, warmupSteps, totalSteps } = options;
  checkRate("peak", peak);
  checkCount("warmupSteps", warmupSteps);
  checkCount("totalSteps", totalSteps);
  return (step) =>
    step < warmupSteps
      ? peak * (step / warmupSteps)
      : peak * Math.max(0, (totalSteps - step) / Math.max(1, totalSteps - warmupSteps));
}

function checkRate(name: string, value: number): void {
  if (!Number.isFinite(value) || value < 0) {
    throw new RangeError(`Cannot make a schedule with ${name} ${value}: it is a number from 0`);
  }
}

function checkCount(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(
      `Cannot make a schedule with ${name} ${value}: it is a whole number from 0`,
    );
  }
}
