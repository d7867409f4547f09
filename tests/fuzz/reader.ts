/**
 * One reader of input from outside, tried with many inputs.
 *
 * @module
 */
import fc from "fast-check";
import { cpuUsage } from "node:process";
import { UsageError } from "../../src/cli/options.ts";
import { InputError } from "../../src/core/errors.ts";

/** A reader with the inputs that it is tried with. */
export interface Reader<T = unknown> {
  /** Kind of bad input, as the table names it. */
  readonly name: string;
  /** Makes inputs. */
  readonly input: fc.Arbitrary<T>;
  /** Reads an input, and throws something other than a refusal if the value breaks its type's rules. */
  readonly read: (input: T) => unknown;
  /** What the message of a refusal must name: the file. */
  readonly names?: string;
  /** Needs permissions that tests lack: tried only in a process of its own. */
  readonly apart?: boolean;
}

/** A reader of any inputs: what makes them and what reads them fit. */
export function reader<T>(parts: Reader<T>): Reader {
  return parts as unknown as Reader;
}

/** How often a reader was tried, and what came of it. */
export interface Outcome {
  readonly cases: number;
  readonly accepted: number;
  readonly refused: number;
  /** Errors other than one-line refusals, each with its smallest input found. */
  readonly crashes: readonly string[];
  /** Inputs that took longer than allowed. */
  readonly hangs: readonly string[];
}

/** How a reader is tried. */
export interface TryOptions {
  readonly cases: number;
  readonly seed: number;
  /** An input that takes more of the processor's time, in milliseconds, is a hang. */
  readonly limit?: number;
  /** Called after each input. */
  readonly onCase?: () => void;
}

/** How long a message may be. */
const MAX_MESSAGE = 600;
/** How much of an input is shown; its seed and path give all of it. */
const MAX_SHOWN = 1000;
/** Inputs between two fresh seeds: a crash ends such a chunk, and the next goes on. */
const CHUNK = 500;

class Hang extends Error {}

/** What is wrong with a refusal's message, if anything. */
function messageFault(message: string, names = ""): string | undefined {
  if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(message)) return "its message is not one printable line";
  if (message.length > MAX_MESSAGE) return `its message has ${message.length} characters`;
  if (!message.includes(names)) return `its message does not name ${names}`;
  return message.trim() === "" ? "its message is empty" : undefined;
}

/** Tries a reader with `cases` inputs. The same seed gives the same inputs. */
export async function tryReader(
  { input, read, names }: Reader,
  { cases, seed, limit = 2000, onCase }: TryOptions,
): Promise<Outcome> {
  let done = 0;
  let accepted = 0;
  const crashes: string[] = [];
  const hangs: string[] = [];
  /** Reads an input; gives whether it was accepted and how long it took. */
  const tried = async (value: unknown): Promise<{ fits: boolean; milliseconds: number }> => {
    const started = cpuUsage();
    let fits = true;
    try {
      await read(value);
    } catch (error) {
      if (!(error instanceof InputError || error instanceof UsageError)) throw error;
      const fault = messageFault(error.message, error instanceof InputError ? names : undefined);
      if (fault !== undefined) throw new Error(`refused, but ${fault}: ${error.message}`);
      fits = false;
    }
    const { user, system } = cpuUsage(started);
    return { fits, milliseconds: (user + system) / 1000 };
  };
  const property = fc.asyncProperty(input, async (value) => {
    done++;
    onCase?.();
    const { fits, milliseconds } = await tried(value);
    // Tried twice, since garbage of others may have been collected meanwhile.
    if (milliseconds > limit) {
      const again = (await tried(value)).milliseconds;
      if (again > limit) throw new Hang(`took ${Math.round(again)} ms`);
    }
    if (fits) accepted++;
  });
  for (let chunk = 0; chunk * CHUNK < cases; chunk++) {
    const details = await fc.check(property, {
      seed: seed + chunk,
      numRuns: Math.min(CHUNK, cases - chunk * CHUNK),
      interruptAfterTimeLimit: 60_000,
    });
    if (!details.failed) continue;
    const { errorInstance: error, counterexample, counterexamplePath } = details;
    const shown = fc.stringify(counterexample).slice(0, MAX_SHOWN);
    const text = `${error} on ${shown} (seed ${seed + chunk}, path ${counterexamplePath})`;
    (error instanceof Hang ? hangs : crashes).push(text);
  }
  const refused = done - accepted - crashes.length - hangs.length;
  return { cases: done, accepted, refused, crashes, hangs };
}
