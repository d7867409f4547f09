import { DeviceError, InputError } from "../core/errors.ts";
import { type Command, formatHelp, type Options, parseOptions, UsageError } from "./options.ts";

/** Where progress is written: standard error, or a stand-in. */
export interface ProgressStream {
  /** Whether one line can be rewritten in place. */
  readonly terminal: boolean;
  /** Width of a line in characters, undefined if unknown. */
  readonly columns: () => number | undefined;
  /** Writes text as it is. */
  readonly write: (text: string) => void;
}

/** How progress is shown. */
export interface ProgressOptions {
  /** Steps in all. */
  readonly total: number;
  /** What is going on: `epoch 3`. */
  readonly label: string;
  /** Show nothing at all. */
  readonly quiet?: boolean;
  /** Where to write; default standard error. */
  readonly stream?: ProgressStream;
  /** The time in milliseconds; default `performance.now`. */
  readonly now?: () => number;
}

/** Progress of a number of steps, on the screen. */
export interface Progress {
  /** Shows that `done` steps are done, and the loss if given. Cheap: draws only now and then. */
  readonly update: (done: number, loss?: number) => void;
  /** Writes a line of its own that stays. */
  readonly note: (text: string) => void;
  /** Removes the progress line. Nothing is shown after it. */
  readonly end: () => void;
}

/** What a line of progress says. */
export interface ProgressStatus {
  /** What is going on. */
  readonly label: string;
  /** Steps done. */
  readonly done: number;
  /** Steps in all. */
  readonly total: number;
  /** Steps a second of late, once known. */
  readonly rate?: number;
  /** The loss, if known. */
  readonly loss?: number;
}

const TERMINAL_INTERVAL = 100;
const PLAIN_INTERVAL = 10_000;
/** The rate is that of so many milliseconds. */
const RATE_WINDOW = 10_000;
/** Steps that say nothing about the rate: while they run, kernels are compiled. */
const SLOW_STEPS = 2;
const CLEAR_LINE = "\r\x1b[K";

/**
 * Progress on standard error: on a terminal one line that is rewritten, otherwise a line every ten
 * seconds, and none when `quiet`. Own code, since `ProgressBar` of `@std/cli` shows neither loss nor
 * plain lines.
 */
export function startProgress(options: ProgressOptions): Progress {
  const { total, label, quiet = false, stream = standardError, now = () => performance.now() } =
    options;
  const interval = stream.terminal ? TERMINAL_INTERVAL : PLAIN_INTERVAL;
  let drawn = now();
  let line = "";
  /** When how much was done: at the start of the window and since. */
  let marks: readonly { readonly time: number; readonly done: number }[] = [];
  const write = (text: string): void => {
    if (!quiet) stream.write(text);
  };
  const draw = (status: ProgressStatus): void => {
    if (stream.terminal) {
      line = formatProgress(status, stream.columns());
      write(CLEAR_LINE + line);
    } else {
      write(`${formatProgress(status, Infinity)}\n`);
    }
  };
  if (stream.terminal) draw({ label, done: 0, total });
  return {
    update(done, loss): void {
      const time = now();
      if (done === SLOW_STEPS) marks = [{ time, done }];
      if (time - drawn < interval && !(stream.terminal && done === total)) return;
      drawn = time;
      if (done > SLOW_STEPS) {
        const start = marks.findLastIndex((mark) => time - mark.time >= RATE_WINDOW);
        marks = [...marks.slice(Math.max(0, start)), { time, done }];
      }
      const [first] = marks;
      const rate = first && time > first.time
        ? 1000 * (done - first.done) / (time - first.time)
        : undefined;
      draw({ label, done, total, loss, rate });
    },
    note(text): void {
      write(stream.terminal ? `${CLEAR_LINE}${text}\n${line}` : `${text}\n`);
    },
    end(): void {
      if (stream.terminal && line !== "") write(CLEAR_LINE);
      line = "";
    },
  };
}

/**
 * A line of progress: `epoch 3 [####----] 50% 116/232 8.0 steps/s loss 4.812 0:14 left`. On a line of
 * `columns` characters (80 if unknown) the bar takes what room there is; without a limit there is
 * none.
 */
export function formatProgress(status: ProgressStatus, columns: number | undefined = 80): string {
  const { label, done, total, rate, loss } = status;
  const part = total > 0 ? Math.min(1, done / total) : 1;
  const facts = [
    `${Math.floor(100 * part)}%`,
    `${done}/${total}`,
    ...(rate === undefined ? [] : [`${rate.toFixed(rate < 10 ? 2 : 0)} steps/s`]),
    ...(loss === undefined ? [] : [`loss ${loss.toFixed(3)}`]),
    ...(rate === undefined || done >= total
      ? []
      : [`${formatDuration((total - done) / rate)} left`]),
  ].join(" ");
  const plain = `${label} ${facts}`;
  if (columns === Infinity) return plain;
  // The last column stays free: terminals wrap when it is written.
  const room = columns - 1;
  const width = Math.min(30, room - plain.length - 3);
  if (width < 8) return plain.slice(0, Math.max(0, room));
  const filled = Math.floor(part * width);
  return `${label} [${"#".repeat(filled)}${"-".repeat(width - filled)}] ${facts}`;
}

/** A time span as `m:ss` or `h:mm:ss`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (n: number): string => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  const end = two(whole % 60);
  return minutes < 60
    ? `${minutes}:${end}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${end}`;
}

const standardError: ProgressStream = {
  get terminal(): boolean {
    return Deno.stderr.isTerminal();
  },
  columns(): number | undefined {
    try {
      return Deno.consoleSize().columns || undefined;
    } catch {
      return undefined; // Neither stream is a terminal.
    }
  },
  write(text: string): void {
    try {
      writeAll(Deno.stderr, text);
    } catch {
      // Progress is never worth ending a run for.
    }
  },
};

/**
 * Writes text and a line break to standard output: results go here, everything else to standard
 * error.
 *
 * @throws {Deno.errors.BrokenPipe} If nobody reads any more; {@linkcode runCommand} ends quietly.
 */
export function print(text: string): void {
  write(`${text}\n`);
}

/** Writes text as it is to standard output; throws as {@linkcode print} does. */
export function write(text: string): void {
  writeAll(Deno.stdout, text);
}

function writeAll(stream: { writeSync(data: Uint8Array): number }, text: string): void {
  let rest = new TextEncoder().encode(text);
  while (rest.length > 0) rest = rest.subarray(stream.writeSync(rest));
}

/**
 * Runs a command: parses its options, answers `--help`, and turns what it throws into one line on
 * standard error. A command's file ends with
 * `if (import.meta.main) Deno.exit(await runCommand(command, main));`.
 *
 * @param main The command itself, given its options; a number that it returns is the exit code.
 * @returns The exit code: 0, 1 after an error, 2 if the command line does not fit.
 */
export async function runCommand<const C extends Command>(
  command: C,
  main: (options: Options<C>) => void | number | Promise<void | number>,
  args: readonly string[] = Deno.args,
): Promise<number> {
  return await exitCodeOf(async () => {
    const options = parseOptions(args, command);
    if (!options.help) return await main(options) ?? 0;
    print(formatHelp(command).trimEnd());
    return 0;
  }, args.includes("--debug"));
}

/**
 * Runs a part of a command, and turns what it throws into one line on standard error.
 *
 * @returns Its exit code: what it gives, 1 after an error, 2 if the command line does not fit.
 */
export async function exitCodeOf(part: () => Promise<number>, debug: boolean): Promise<number> {
  try {
    return await part();
  } catch (error) {
    // Whoever reads the output has read enough, as in `... | head`.
    if (error instanceof Deno.errors.BrokenPipe) return 0;
    if (standardError.terminal) standardError.write(CLEAR_LINE);
    standardError.write(`error: ${describeError(error, debug)}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}

/**
 * An error as the line that a command prints. Errors of the program itself say how to see their
 * stack, or show it with `debug`.
 */
export function describeError(error: unknown, debug = false): string {
  if (!(error instanceof Error)) return oneLine(String(error));
  if (debug) return error.stack ?? error.message;
  const message = oneLine(error.message);
  const own = [InputError, DeviceError, UsageError].some((kind) => error instanceof kind);
  if (own || isSystemError(error)) return message;
  return `unexpected ${error.name}: ${message}; --debug shows where it comes from`;
}

function oneLine(text: string): string {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "").join(" ");
}

/** Whether the operating system or a permission refused something: the message says what. */
function isSystemError(error: Error): boolean {
  return Object.values(Deno.errors).some((kind) => error instanceof kind) ||
    /\(os error \d+\)/.test(error.message);
}
