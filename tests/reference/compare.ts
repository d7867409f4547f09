/** How far numbers are from what they should be. */

/**
 * `max|actual - expected| / max|expected|`; 0 for no elements, the plain difference where
 * everything expected is 0, NaN as soon as one side has a NaN that the other has not.
 */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) {
    throw new RangeError(`Cannot compare ${actual.length} with ${expected.length} numbers`);
  }
  let error = 0, scale = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i], e = expected[i];
    if (Object.is(a, e)) {
      if (Number.isFinite(e)) scale = Math.max(scale, Math.abs(e));
      continue;
    }
    // Math.max passes NaN on.
    error = Math.max(error, Math.abs(a - e));
    scale = Math.max(scale, Math.abs(e));
  }
  return error === 0 ? 0 : scale === 0 ? error : error / scale;
}

/**
 * Asserts that the relative error is at most `tolerance`.
 *
 * @param what Named in the error.
 * @param floor Counts as the size of `expected` where that is smaller: for values that are zero but
 * for rounding.
 * @throws {Error} If it is not, or is NaN.
 */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
  floor = 0,
): void {
  let error = relativeError(actual, expected);
  const size = maxAbs(expected);
  if (size > 0 && size < floor) error *= size / floor;
  else if (size === 0 && floor > 0) error /= floor;
  if (error <= tolerance) return;
  let worst = 0, difference = -1;
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(actual[i] - expected[i]);
    if (Number.isNaN(d) || d > difference) [worst, difference] = [i, d];
    if (Number.isNaN(d)) break;
  }
  throw new Error(
    `${what}: relative error ${error.toExponential(2)} is over ${tolerance}; worst at ${worst}: ` +
      `${actual[worst]} instead of ${expected[worst]}`,
  );
}

/** The largest absolute value; 0 for none. */
export function maxAbs(values: ArrayLike<number>): number {
  let max = 0;
  for (let i = 0; i < values.length; i++) max = Math.max(max, Math.abs(values[i]));
  return max;
}
