/**
 * Bad input from outside the program: a file, a configuration, a command line, a machine without an
 * adapter. The message is one line that says what is wrong, where, and how to fix it; commands print
 * it after `error: ` and exit with a non-zero code, without a stack trace.
 *
 * Mistakes in calling the library's functions are `TypeError` (kind, shape) or `RangeError` (value).
 */
export class InputError extends Error {
  /** Tells it from other errors. */
  override readonly name = "InputError";
}
