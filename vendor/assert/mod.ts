/**
 * `@std/assert` for machines that cannot reach JSR: the same signatures over `node:assert` (the
 * differences it prints) and lodash's `isEqual`, which like `@std/assert` holds 0 equal to -0 and
 * NaN to NaN, in typed arrays too.
 *
 * @module
 */
// deno-lint-ignore-file no-explicit-any -- as in @std/assert, `any` stands for any arguments
import { AssertionError as NodeAssertionError } from "node:assert";
import { inspect } from "node:util";
// @ts-types="@types/lodash/isEqual"
import isEqual from "lodash/isEqual";

/** What a failed assertion throws. */
export class AssertionError extends Error {
  /** An error with that message. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

/** Values that are false in a condition. */
export type Falsy = false | 0 | 0n | "" | null | undefined;

/** Anything with elements by index. */
export type ArrayLikeArg<T> = ArrayLike<T> & object;

/** Any class, abstract or not. */
export type AnyConstructor = abstract new (...args: any[]) => any;

function failure(problem: string, msg?: string): AssertionError {
  return new AssertionError(msg ? `${problem.replace(/[.:]$/, "")}: ${msg}` : problem);
}

function difference(actual: unknown, expected: unknown): string {
  const operator = "deepStrictEqual";
  return new NodeAssertionError({ actual, expected, operator }).message.replace(/^.*\n/, "");
}

/** Whether two values are deeply equal. */
export function equal(a: unknown, b: unknown): boolean {
  return isEqual(a, b);
}

/** Throws unless `expr` is true in a condition. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Throws if `expr` is true in a condition. */
export function assertFalse(expr: unknown, msg = ""): asserts expr is Falsy {
  if (expr) throw new AssertionError(msg);
}

/** Throws unless the values are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) return;
  throw new AssertionError(
    `Values are not equal${msg ? `: ${msg}` : "."}\n\n${difference(actual, expected)}`,
  );
}

/** Throws if the values are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) return;
  throw failure(`Expected actual: ${inspect(actual)} not to be: ${inspect(expected)}.`, msg);
}

/** Throws unless the values are the same (`Object.is`). */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (Object.is(actual, expected)) return;
  throw new AssertionError(
    `Values are not strictly equal${msg ? `: ${msg}` : "."}\n\n${difference(actual, expected)}`,
  );
}

/** Throws if the values are the same (`Object.is`). */
export function assertNotStrictEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!Object.is(actual, expected)) return;
  throw failure(`Expected "actual" to not be strictly equal to: ${inspect(actual)}`, msg);
}

/**
 * Throws unless two numbers differ by at most `tolerance`, which is 1e-7 of `expected` if left
 * out.
 */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  const delta = Math.abs(expected - actual);
  tolerance ??= Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7;
  if (delta <= tolerance) return;
  throw failure(
    `Expected actual: "${actual}" to be close to "${expected}": delta "${delta}" is greater than "${tolerance}".`,
    msg,
  );
}

/** Throws if the value is null or undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual != null) return;
  throw failure(`Expected actual: "${actual}" to not be null or undefined.`, msg);
}

/** Throws unless `actual` > `expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (actual > expected) return;
  throw failure(`Expect ${inspect(actual)} > ${inspect(expected)}`, msg);
}

/** Throws unless `actual` >= `expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (actual >= expected) return;
  throw failure(`Expect ${inspect(actual)} >= ${inspect(expected)}`, msg);
}

/** Throws unless `actual` < `expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (actual < expected) return;
  throw failure(`Expect ${inspect(actual)} < ${inspect(expected)}`, msg);
}

/** Throws unless `actual` <= `expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (actual <= expected) return;
  throw failure(`Expect ${inspect(actual)} <= ${inspect(expected)}`, msg);
}

/** Throws unless every element of `expected` is among those of `actual`. */
export function assertArrayIncludes<T>(
  actual: ArrayLikeArg<T>,
  expected: ArrayLikeArg<T>,
  msg?: string,
): void {
  const all = Array.from(actual);
  const missing = Array.from(expected).filter((item) => !all.some((other) => equal(item, other)));
  if (missing.length === 0) return;
  throw failure(
    `Expected actual: ${inspect(actual)} to include: ${inspect(expected)}, missing: ${
      inspect(missing)
    }.`,
    msg,
  );
}

/** Throws unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  throw failure(`Expected actual: "${actual}" to contain: "${expected}".`, msg);
}

/** Throws unless `actual` matches. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (expected.test(actual)) return;
  throw failure(`Expected actual: "${actual}" to match: "${expected}".`, msg);
}

/** Throws if `actual` matches. */
export function assertNotMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) return;
  throw failure(`Expected actual: "${actual}" to not match: "${expected}".`, msg);
}

/** Throws unless `actual` is an instance of the class. */
export function assertInstanceOf<T extends AnyConstructor>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (actual instanceof expectedType) return;
  throw failure(
    `Expected object to be an instance of "${expectedType.name}" but was ${inspect(actual)}.`,
    msg,
  );
}

/** Throws if `actual` is an instance of the class. */
export function assertNotInstanceOf<A, T>(
  actual: A,
  unexpectedType: abstract new (...args: any[]) => T,
  msg?: string,
): asserts actual is Exclude<A, T> {
  if (!(actual instanceof unexpectedType)) return;
  throw failure(`Expected object to not be an instance of "${unexpectedType.name}".`, msg);
}

/** Throws unless `error` is an Error, of that class, with that text in (or matched by) its message. */
export function assertIsError<E extends Error = Error>(
  error: unknown,
  ErrorClass?: abstract new (...args: any[]) => E,
  msgMatches?: string | RegExp,
  msg?: string,
): asserts error is E {
  if (!(error instanceof Error)) {
    throw failure(`Expected "error" to be an Error object, but it is ${inspect(error)}.`, msg);
  }
  if (ErrorClass && !(error instanceof ErrorClass)) {
    throw failure(
      `Expected error to be instance of "${ErrorClass.name}", but was "${error.constructor.name}" (${error.message}).`,
      msg,
    );
  }
  const matches = typeof msgMatches === "string"
    ? error.message.includes(msgMatches)
    : msgMatches?.test(error.message) ?? true;
  if (!matches) {
    throw failure(
      `Expected error message to include ${inspect(msgMatches)}, but got ${
        inspect(error.message)
      }.`,
      msg,
    );
  }
}

/** What was thrown, if it satisfies the arguments that `assertThrows` and `assertRejects` share. */
function checkThrown(error: unknown, rest: readonly unknown[]): unknown {
  if (typeof rest[0] !== "function") return error;
  if (!(error instanceof Error)) {
    throw failure("A non-Error object was thrown or rejected.", rest[2] as string);
  }
  assertIsError(error, rest[0] as any, rest[1] as string, rest[2] as string);
  return error;
}

function messageOf(rest: readonly unknown[]): string | undefined {
  return (typeof rest[0] === "function" ? rest[2] : rest[0]) as string | undefined;
}

/** Throws unless `fn` throws; gives what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Throws unless `fn` throws an error of that class with that text in its message; gives the error. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: abstract new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows(fn: () => unknown, ...rest: readonly unknown[]): unknown {
  try {
    fn();
  } catch (error) {
    return checkThrown(error, rest);
  }
  throw failure("Expected function to throw.", messageOf(rest));
}

/** Throws unless `fn` gives a promise that rejects; gives the reason. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** Throws unless `fn` gives a promise that rejects with such an error; gives the error. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: abstract new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  ...rest: readonly unknown[]
): Promise<unknown> {
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch {
    throw failure("Function throws when expected to reject.", messageOf(rest));
  }
  try {
    await promise;
  } catch (error) {
    return checkThrown(error, rest);
  }
  throw failure("Expected function to reject.", messageOf(rest));
}

/** Throws. */
export function fail(msg?: string): never {
  throw failure("Failed assertion.", msg);
}

/** Throws: the code is not written. */
export function unimplemented(msg?: string): never {
  throw failure("Unimplemented.", msg);
}

/** Throws: the code should never run. */
export function unreachable(msg?: string): never {
  throw failure("Unreachable.", msg);
}
