/**
 * One person's recent visits, from a table as people keep it, as a sample to predict the next place of.
 *
 * @module
 */
import { describe, printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { distance, type Place } from "./places.ts";
import { readPosition } from "./read_places.ts";
import type { Sample } from "./samples.ts";
import { columnIn, readTable } from "./table.ts";

/** A visit of a history. */
export interface HistoryVisit {
  /** Line in the file. */
  readonly line: number;
  /** Id of the place; 1 if it is none of the known ones. */
  readonly place: number;
  /** Minutes since 1970 at which it began, on the clock that the file is written by. */
  readonly start: number;
  /** Minutes that it took. */
  readonly minutes: number;
}

/** What a history is read with. */
export interface HistoryOptions {
  /** Known places; positions are matched with them. */
  readonly places?: readonly Place[];
  /** Number of place ids of the model, 0 and 1 included. */
  readonly totalLocNum: number;
  /** Metres from a known place within which a position is that place. */
  readonly radius: number;
}

const MINUTE = 60_000;
const DAY = 1440;
/** What the model is told at most, and what a file may say at most. */
const MAX_MINUTES = 2879;
const MAX_VISIT = 365 * DAY;
const TIME = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?$/;

/**
 * Reads visits from CSV. Columns, in any order: `start`; `end` or `minutes` (a visit without lasts
 * until the next one begins, the last one 0 minutes); and `place`, the id, or `latitude` and
 * `longitude`. Times are ISO 8601 and are taken as the clock on the wall shows them, whatever their
 * zone, since the model knows hours of the day.
 *
 * @returns The visits by start, repeated ones left out.
 * @throws {InputError} If the file or a value cannot be read; the message names file and line.
 */
export async function readHistory(
  path: string,
  { places = [], totalLocNum, radius }: HistoryOptions,
): Promise<readonly HistoryVisit[]> {
  const table = await readTable(path);
  const has = (name: string): boolean => table.columns.includes(name);
  columnIn(table, "start");
  const byPosition = has("latitude") && has("longitude");
  if (!has("place") && !byPosition) {
    throw new InputError(
      `${path}: line 1: has neither a column place nor latitude and longitude: it has ${
        printable(table.columns.join(", "), 200)
      }`,
    );
  }
  if (!has("place") && places.length === 0) {
    throw new InputError(
      `${path}: positions need the model's places: give them with --places FILE, or a column place`,
    );
  }
  const visits = table.rows.map(({ line, values }) => {
    const where = `${path}: line ${line}`;
    const start = minutesOf(values.start, "start", where);
    const place = values.place
      ? placeId(values.place, totalLocNum, where)
      : byPosition
      ? nearest(places, readPosition(values, where), radius)
      : noPlace(where);
    const minutes = durationOf(values, start, where);
    return { line, place, start, minutes };
  }).sort((a, b) => a.start - b.start);
  return visits.flatMap((visit, i) => {
    const next = visits[i + 1];
    if (next !== undefined && next.start === visit.start) {
      if (next.place === visit.place) return [];
      throw new InputError(
        `${path}: lines ${visit.line} and ${next.line} are visits to two places at one time: ` +
          "remove one",
      );
    }
    // Until the next visit begins, where nothing else says how long.
    const minutes = visit.minutes ?? (next === undefined ? 0 : next.start - visit.start);
    return [{ ...visit, minutes }];
  });
}

function noPlace(where: string): never {
  throw new InputError(`${where}: there is no place: give its id, or latitude and longitude`);
}

function placeId(text: string, totalLocNum: number, where: string): number {
  const id = Number(text);
  if (!Number.isSafeInteger(id) || id < 1) {
    throw new InputError(`${where}: place is ${describe(text)}: it must be an id, from 1`);
  }
  if (id >= totalLocNum) {
    throw new InputError(
      `${where}: place is ${id}, but the model knows ids up to ${totalLocNum - 1}: give 1 for a ` +
        "place that it does not know",
    );
  }
  return id;
}

function nearest(
  places: readonly Place[],
  { latitude, longitude }: Pick<Place, "latitude" | "longitude">,
  radius: number,
): number {
  let [best, least] = [1, radius];
  for (const place of places) {
    const metres = distance(latitude, longitude, place.latitude, place.longitude);
    if (metres <= least) [best, least] = [place.id, metres];
  }
  return best;
}

function minutesOf(text: string, name: string, where: string): number {
  const [, day, clock] = TIME.exec(text) ?? [];
  const time = Date.parse(`${day}T${clock}:00Z`);
  // Date takes 31 February for a day in March.
  if (Number.isNaN(time) || !new Date(time).toISOString().startsWith(`${day}T${clock}`)) {
    throw new InputError(
      `${where}: ${name} is ${describe(text)}: write it as 2024-05-31T17:45, on the local clock`,
    );
  }
  return time / MINUTE;
}

function durationOf(
  { end, minutes }: Readonly<Record<string, string>>,
  start: number,
  where: string,
): number | undefined {
  if (minutes) {
    const value = Number(minutes);
    if (!(value >= 0 && value <= MAX_VISIT)) {
      throw new InputError(
        `${where}: minutes is ${
          describe(minutes)
        }: it must be a number from 0 to ${MAX_VISIT}, a year`,
      );
    }
    return value;
  }
  if (!end) return undefined;
  const value = minutesOf(end, "end", where) - start;
  if (value < 0) {
    throw new InputError(
      `${where}: ends at ${end}, before its start (did a clock run backwards?): correct it, or ` +
        "leave the end out",
    );
  }
  return value;
}

/** Which visits make a history, as in the samples that the model was trained on. */
export interface HistoryRules {
  /** Days of history before the day of the next visit. */
  readonly days: number;
  /** Visits that there must be. */
  readonly minVisits: number;
  /** Minutes since 1970 of the next visit, on the local clock; default the end of the last one. */
  readonly at?: number;
}

/** A history as a sample, and what is known of it. */
export interface History {
  /** Without a target; the person is 0. */
  readonly sample: Sample;
  /** Minutes since 1970 for which the next place is predicted, on the local clock. */
  readonly at: number;
  /** Visits that were left out for being too long ago. */
  readonly older: number;
}

/** Local time in minutes since 1970, as `2024-05-31T17:45`. */
export function formatLocalTime(minutes: number): string {
  return new Date(minutes * MINUTE).toISOString().slice(0, 16);
}

/**
 * The time that a text tells on the local clock, in minutes since 1970.
 *
 * @throws {InputError} If it tells none.
 */
export function parseLocalTime(text: string, name: string): number {
  return minutesOf(text, "the time", name);
}

/**
 * Makes a sample of a person's visits.
 *
 * @throws {InputError} If too few visits are recent enough, or one begins after the next visit.
 */
export function historySample(
  visits: readonly HistoryVisit[],
  path: string,
  { days, minVisits, at: given }: HistoryRules,
): History {
  const last = visits.at(-1);
  if (last === undefined) throw new InputError(`${path}: holds no visit, only names of columns`);
  const at = given ?? last.start + last.minutes;
  if (last.start > at) {
    throw new InputError(
      `${path}: line ${last.line}: begins at ${formatLocalTime(last.start)}, after --at ${
        formatLocalTime(at)
      }: leave out what comes later`,
    );
  }
  const dayOf = (minutes: number): number => Math.floor(minutes / DAY);
  const recent = visits.filter(({ start }) => dayOf(at) - dayOf(start) <= days);
  if (recent.length < minVisits) {
    throw new InputError(
      `${path}: ${recent.length} of ${visits.length} visits are within ${days} days before ${
        formatLocalTime(at)
      }, but the model was trained on ${minVisits} or more: give more visits, or an earlier --at`,
    );
  }
  const series = (of: (visit: HistoryVisit) => number): Int32Array => Int32Array.from(recent, of);
  const sample = {
    X: series(({ place }) => place),
    user_X: new Int32Array(recent.length),
    // 1 January 1970 was a Thursday.
    weekday_X: series(({ start }) => ((dayOf(start) + 3) % 7 + 7) % 7),
    start_min_X: series(({ start }) => start - dayOf(start) * DAY),
    dur_X: Float64Array.from(recent, ({ minutes }) => Math.min(minutes, MAX_MINUTES)),
    diff: series(({ start }) => dayOf(at) - dayOf(start)),
  };
  return { sample, at, older: visits.length - recent.length };
}
