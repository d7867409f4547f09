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

/** What a GPU did: it went away, it has no memory left, or it could not run a command. */
export type DeviceFailure = "lost" | "memory" | "command";

/**
 * The GPU failed. The message is one line that says which adapter, what happened and what to do.
 * Nothing can be computed on that device any more: every later call says the same.
 *
 * @example
 * ```ts
 * import { add, DeviceError, openDevice, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * try {
 *   console.log(await read(run(device, add)(tensor([1]), tensor([2]))));
 * } catch (error) {
 *   if (!(error instanceof DeviceError)) throw error;
 *   console.error(error.kind, error.message);
 * }
 * ```
 */
export class DeviceError extends Error {
  /** Tells it from other errors. */
  override readonly name = "DeviceError";
  /** What happened. */
  readonly kind: DeviceFailure;

  /** An error of that kind. */
  constructor(kind: DeviceFailure, message: string) {
    super(message);
    this.kind = kind;
  }
}
