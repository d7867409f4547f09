/**
 * A sample of next-location data: a person's visits of the last days and the place visited next.
 *
 * @module
 */
import { describe } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { jsonFields, parseJson } from "./json.ts";

/**
 * One history of visits and its target, with the keys of the reference's files. The arrays have one
 * element a visit, oldest first, and are never changed.
 */
export interface Sample {
  /** Place ids: 1 is a place that training has not seen, known places start at 2. */
  readonly X: Int32Array;
  /** Ids of the person, from 0. */
  readonly user_X: Int32Array;
  /** Days of the week on which the visits began: 0 is Monday, 6 Sunday. */
  readonly weekday_X: Int32Array;
  /** Minutes after midnight at which the visits began: 0 to 1439. */
  readonly start_min_X: Int32Array;
  /** Durations in minutes: 0 to 2879. */
  readonly dur_X: Float64Array;
  /** Whole days from each visit to the target. */
  readonly diff: Int32Array;
  /** Id of the place visited next; absent in samples to predict. */
  readonly Y?: number;
}

/** Whether every sample must have its target `Y`. */
export type Targets = "required" | "optional";

/** Keys whose arrays have an element a visit, with the whole or real numbers that are allowed. */
const SERIES = [
  { key: "X", low: 1, high: 2 ** 31 - 1, note: "0 is padding, 1 an unseen place" },
  { key: "user_X", low: 0, high: 2 ** 31 - 1, note: "" },
  { key: "weekday_X", low: 0, high: 6, note: "0 is Monday" },
  { key: "start_min_X", low: 0, high: 1439, note: "minutes after midnight" },
  { key: "dur_X", low: 0, high: 2879, note: "minutes; cap longer stays at 2879" },
  { key: "diff", low: 0, high: 2 ** 31 - 1, note: "days before the target" },
] as const;

function isSeries(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || value instanceof Float64Array || value instanceof Int32Array;
}

function fault(
  value: unknown,
  low: number,
  high: number,
  whole: boolean,
  note: string,
): string | undefined {
  const because = note === "" ? "" : ` (${note})`;
  const range = high === 2 ** 31 - 1 ? `from ${low}` : `${low} to ${high}`;
  if (typeof value !== "number") return `is ${describe(value)}, not a number`;
  if (!Number.isFinite(value)) return `is ${value}: it must be a finite number, ${range}${because}`;
  if (whole && !Number.isInteger(value)) return `is ${value}: it must be a whole number`;
  // Real durations are cut to whole minutes later, so 2879.9 still counts as 2879.
  if (value < low || Math.floor(value) > high) return `is ${value}: allowed is ${range}${because}`;
}

/**
 * Makes a sample of what a file holds, after checking all of it.
 *
 * @param read Gives what the file holds under a key, `undefined` where nothing.
 * @param where Put before the message of an error: `train.jsonl: line 12`.
 * @param targets Whether `Y` must be there; default `required`.
 * @throws {InputError} If a key is missing, an array is empty or of another length than `X`, or a
 * value is no number, not finite, not whole or out of range; the message names key and position.
 */
export function makeSample(
  read: (key: string) => unknown,
  where: string,
  targets: Targets = "required",
): Sample {
  const fail = (problem: string): never => {
    throw new InputError(`${where}: ${problem}`);
  };
  const arrays: Record<string, Int32Array | Float64Array> = {};
  let steps = 0;
  for (const { key, low, high, note } of SERIES) {
    const values = read(key);
    if (values === undefined) return fail(`${key} is missing`);
    if (!isSeries(values)) {
      return fail(`${key} is ${describe(values)}: it must be a list of numbers`);
    }
    if (key === "X") {
      steps = values.length;
      if (steps === 0) fail("X is empty: a sample needs at least 1 visit");
    } else if (values.length !== steps) {
      fail(`${key} has ${values.length} values and X has ${steps}: they must be equally many`);
    }
    const whole = key !== "dur_X";
    const array = whole ? new Int32Array(steps) : new Float64Array(steps);
    for (let i = 0; i < steps; i++) {
      const problem = fault(values[i], low, high, whole, note);
      if (problem !== undefined) fail(`${key}[${i}] ${problem}`);
      array[i] = values[i] as number;
    }
    arrays[key] = array;
  }
  const Y = read("Y");
  const sample = arrays as unknown as Sample;
  if (Y === undefined || Y === null) {
    if (targets === "required") fail("Y, the place visited next, is missing");
    return Object.freeze(sample);
  }
  const problem = fault(Y, 1, 2 ** 31 - 1, true, "0 is padding, 1 an unseen place");
  if (problem !== undefined) fail(`Y ${problem}`);
  return Object.freeze({ ...sample, Y: Y as number });
}

/** Sizes of the tables that samples must fit, and the file they come from. */
export interface SampleLimits {
  /** Named in messages. */
  readonly file: string;
  /** Number of place ids, 0 and 1 included: ids run to one less. */
  readonly totalLocNum: number;
  /** Number of user ids, 0 included: ids run to one less. */
  readonly totalUserNum: number;
}

/**
 * Checks that every id has a row in the model's tables.
 *
 * @throws {InputError} If a place id in `X` or `Y` or a user id is past the tables; the message names
 * file, sample, key and value, and the size that the table needs for all of the samples.
 */
export function checkSamples(samples: readonly Sample[], limits: SampleLimits): void {
  const { file, totalLocNum, totalUserNum } = limits;
  const largest = (pick: (sample: Sample) => Int32Array, start = 0): number =>
    samples.reduce((most, s) => pick(s).reduce((m, id) => Math.max(m, id), most), start);
  const fail = (i: number, what: string, id: number, option: string, has: number, most: number) => {
    const remedy = what.startsWith("user") ? "" : ", or give unknown places the id 1";
    throw new InputError(
      `${file}: sample ${i} (from 0): ${what} is ${id}, but dataset_info.${option} is ${has}, so ` +
        `ids run to ${has - 1}: train with ${option} ${most + 1} or more${remedy}`,
    );
  };
  samples.forEach((sample, i) => {
    const place = sample.X.findIndex((id) => id >= totalLocNum);
    const user = sample.user_X.findIndex((id) => id >= totalUserNum);
    if (place >= 0 || (sample.Y ?? 0) >= totalLocNum) {
      const most = largest((s) => s.X, samples.reduce((m, s) => Math.max(m, s.Y ?? 0), 0));
      const [what, id] = place >= 0 ? [`X[${place}]`, sample.X[place]] : ["Y", sample.Y ?? 0];
      fail(i, what, id, "total_loc_num", totalLocNum, most);
    }
    if (user >= 0) {
      const most = largest((s) => s.user_X);
      fail(i, `user_X[${user}]`, sample.user_X[user], "total_user_num", totalUserNum, most);
    }
  });
}

/** A sample as one line of JSON, without the line break. {@link parseSample} reads it back. */
export function formatSample(sample: Sample): string {
  return JSON.stringify(
    sample,
    (_, value) => ArrayBuffer.isView(value) ? [...value as Int32Array] : value,
  );
}

/**
 * Reads a sample from one line of JSON. Keys that samples do not have are ignored.
 *
 * @param where Put before the message of an error: `train.jsonl: line 12`.
 * @param targets Whether `Y` must be there; default `required`.
 * @throws {InputError} If the line is no JSON object or its content is not as in {@link makeSample}.
 */
export function parseSample(line: string, where: string, targets?: Targets): Sample {
  const read = jsonFields(parseJson(line, where), where, "the keys of a sample");
  return makeSample(read, where, targets);
}
