import { distance } from "../data/places.ts";
import { type Center, center } from "./center.ts";
import type { Rules } from "./rules.ts";

/** A person's stay, or a check-in, which ends when it starts. */
export interface Stay {
  /** Number of the person, from 0. */
  readonly user: number;
  /** Start in milliseconds since 1970 (UTC). */
  readonly start: number;
  /** End in milliseconds since 1970 (UTC). */
  readonly end: number;
  /** Degrees north. */
  readonly lat: number;
  /** Degrees east. */
  readonly lon: number;
  /** Number of the place, from 0, where the data name places. */
  readonly place?: number;
  /** Minutes that local time is ahead of UTC, where the data say so. */
  readonly offset?: number;
}

/** What is known of a person before stays are looked at. */
export interface Track {
  /** Number of the person, from 0. */
  readonly user: number;
  /** First time in milliseconds since 1970. */
  readonly first: number;
  /** Last time in milliseconds since 1970. */
  readonly last: number;
}

/** Finds the stays in fixes that come one by one, sorted by user, then by time. */
export interface StayDetector {
  /**
   * Takes the next fix.
   *
   * @param row Its place in the file, by which fixes out of order are counted.
   */
  readonly add: (user: number, time: number, lat: number, lon: number, row: number) => void;
  /** Ends the last user's track. Call it once, after all fixes. */
  readonly end: () => DetectedStays;
}

/** What a {@link StayDetector} found. */
export interface DetectedStays {
  /** By user, then by start. */
  readonly stays: readonly Stay[];
  /** One a user. */
  readonly tracks: readonly Track[];
  /** Fixes that repeat another of the same user, time and position; they were left out. */
  readonly duplicates: number;
  /** Fixes that stood in the file after later ones of the same user. */
  readonly unordered: number;
}

const MINUTE = 60_000;

/**
 * The sliding algorithm of trackintel's `generate_staypoints`, after Li et al., "Mining user similarity
 * based on location history" (2008). A stay starts at a fix and lasts until the first one at
 * `stayMeters` or farther, which ends it, and counts if that takes `stayMinutes`; it lies in the middle
 * of the different positions before that fix. Time is linear in the fixes, and no more of them are
 * kept than the different positions of one stay.
 */
export function stayDetector(rules: Rules): StayDetector {
  const stays: Stay[] = [];
  const tracks: Track[] = [];
  let [duplicates, unordered] = [0, 0];
  let user = -1;
  let [first, last, lastRow] = [0, 0, 0];
  let start = { time: 0, lat: 0, lon: 0 };
  let [middle, positions]: [Center, Set<string>] = [center(), new Set()];
  let now = new Set<string>();

  const restart = (time: number, lat: number, lon: number): void => {
    start = { time, lat, lon };
    [middle, positions] = [center(), new Set()];
  };
  const close = (end: number): void => {
    if (end - start.time < rules.stayMinutes * MINUTE) return;
    stays.push({ user, start: start.time, end, ...middle.middle() });
  };
  const endTrack = (): void => {
    if (user < 0) return;
    if (rules.includeLast) close(last);
    tracks.push({ user, first, last });
  };
  return {
    add(nextUser, time, lat, lon, row): void {
      const position = `${lat} ${lon}`;
      if (nextUser !== user) {
        endTrack();
        user = nextUser;
        first = time;
        now = new Set();
        restart(time, lat, lon);
      } else {
        if (time !== last) now = new Set();
        if (now.has(position)) {
          duplicates++;
          return;
        }
        if (row < lastRow) unordered++;
        if (time - last > rules.gapMinutes * MINUTE) {
          restart(time, lat, lon);
        } else if (distance(start.lat, start.lon, lat, lon) >= rules.stayMeters) {
          close(time);
          restart(time, lat, lon);
        }
      }
      now.add(position);
      if (!positions.has(position)) {
        positions.add(position);
        middle.add(lat, lon);
      }
      [last, lastRow] = [time, row];
    },
    end(): DetectedStays {
      endTrack();
      return { stays, tracks, duplicates, unordered };
    },
  };
}

/** Whether a person is tracked for long enough. */
export function isTrackedLongEnough({ first, last }: Track, rules: Rules): boolean {
  const days = Math.floor((last - first) / (24 * 60 * MINUTE));
  return (rules.minDays === 0 || days > rules.minDays) && days >= 7 * rules.minWeeks;
}

/**
 * Makes one of consecutive stays at one place with at most `mergeMinutes` between them, as trackintel's
 * `merge_staypoints` does without triplegs: the first one's start, the last one's end.
 *
 * @param stays By user, then by start, each with its place.
 */
export function mergeStays(stays: readonly Stay[], { mergeMinutes }: Rules): readonly Stay[] {
  const merged: Stay[] = [];
  for (const stay of stays) {
    const before = merged.at(-1);
    if (
      before !== undefined && before.user === stay.user && before.place === stay.place &&
      stay.start - before.end <= mergeMinutes * MINUTE
    ) {
      merged[merged.length - 1] = { ...before, end: stay.end };
    } else {
      merged.push(stay);
    }
  }
  return merged;
}
