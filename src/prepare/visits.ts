import type { Sample } from "../data/samples.ts";
import type { Split } from "../data/read_samples.ts";
import type { Rules } from "./rules.ts";
import type { Stay } from "./stays.ts";

/** A visit in a person's local time. */
export interface Visit {
  /** Number of the person: their order is that of the ids. */
  readonly user: number;
  /** Number of the place: their order is that of the ids. */
  readonly place: number;
  /** Whole days since the day of the person's first visit. */
  readonly day: number;
  /** Minutes after midnight. */
  readonly minute: number;
  /** 0 is Monday. */
  readonly weekday: number;
  /** Whole minutes. */
  readonly duration: number;
  /** Local time of the start, `2009-01-31T12:05`, where known. */
  readonly start?: string;
  /** Whether it may be a target; default yes. */
  readonly target?: boolean;
}

/** In milliseconds. */
const MINUTE = 60_000;
/** In minutes. */
const DAY = 24 * 60;

/**
 * Local times of stays.
 *
 * @param stays By user, each with its place.
 * @param timezone IANA name: `Asia/Shanghai`. Stays with an `offset` of their own keep to that.
 * @returns By user, then by local time.
 */
export function toVisits(stays: readonly Stay[], timezone: string): readonly Visit[] {
  const offset = offsets(timezone);
  const minuteOf = ({ start, offset: own }: Stay): number =>
    Math.floor(start / MINUTE) + (own ?? offset(start));
  // Clocks are put back in autumn, and people travel: local times need not be in order.
  const local = stays.map((stay) => ({ stay, minute: minuteOf(stay) }))
    .sort((a, b) => a.stay.user - b.stay.user || a.minute - b.minute);
  let [user, firstDay] = [-1, 0];
  return local.map(({ stay, minute }) => {
    const day = Math.floor(minute / DAY);
    if (stay.user !== user) [user, firstDay] = [stay.user, day];
    return {
      user,
      place: stay.place!,
      day: day - firstDay,
      minute: minute - day * DAY,
      // 1 January 1970 was a Thursday.
      weekday: ((day + 3) % 7 + 7) % 7,
      duration: Math.floor((stay.end - stay.start) / MINUTE),
      start: new Date(minute * MINUTE).toISOString().slice(0, 16),
    };
  });
}

/** Minutes that a zone is ahead of UTC at a time; zones change at whole quarters of an hour only. */
function offsets(timezone: string): (time: number) => number {
  if (timezone === "UTC") return () => 0;
  const known = new Map<number, number>();
  return (time) => {
    const quarter = Math.floor(time / (15 * MINUTE));
    const before = known.get(quarter);
    if (before !== undefined) return before;
    const { offsetNanoseconds } = Temporal.Instant.fromEpochMilliseconds(quarter * 15 * MINUTE)
      .toZonedDateTimeISO(timezone);
    known.set(quarter, offsetNanoseconds / 6e10);
    return offsetNanoseconds / 6e10;
  };
}

/** A sample with the time of its target. */
export interface PreparedSample extends Sample {
  /** The place visited next. */
  readonly Y: number;
  /** Day of the week on which the target began, 0 is Monday. */
  readonly weekday_Y: number;
  /** Minutes after midnight at which the target began. */
  readonly start_min_Y: number;
  /** Local time at which the target began, where known. */
  readonly start_Y?: string;
}

/** A data set as samples. */
export interface PreparedSamples {
  /** The samples of each part, made one after the other: by user, then by time. */
  readonly samples: Readonly<Record<Split, () => Iterable<PreparedSample>>>;
  /** How many samples each part has. */
  readonly counts: Readonly<Record<Split, number>>;
  /** Numbers of the places with an id, that of id 2 first. */
  readonly places: readonly number[];
  /** Visits in training of each of {@linkcode places}. */
  readonly placeVisits: readonly number[];
  /** Numbers of the people with an id, that of id 1 first. */
  readonly users: readonly number[];
  /** Visits of these people. */
  readonly visits: number;
}

const SPLITS = ["train", "validation", "test"] as const;

/** A person's visits of one part, and which of them are targets from which first visit of history. */
interface Part {
  readonly visits: readonly Visit[];
  readonly targets: readonly { readonly at: number; readonly from: number }[];
}

/**
 * Samples of visits: each user's days are split, histories stay within their part, ids come from
 * training (1 is a place that it has not seen), and users without samples in training, or as a rule in
 * any part, are left out.
 *
 * @param visits By user, then by day and minute.
 */
export function toSamples(visits: readonly Visit[], rules: Rules): PreparedSamples {
  const needed = rules.allParts ? SPLITS : ["train"] as const;
  const people = [...groupByUser(visits)]
    .map(([user, own]) => ({ user, parts: splitDays(own, rules) }))
    .filter(({ parts }) => needed.every((split) => parts[split].targets.length > 0));
  const training = new Map<number, number>();
  for (const { parts } of people) {
    for (const { place } of parts.train.visits) {
      training.set(place, (training.get(place) ?? 0) + 1);
    }
  }
  const places = [...training.keys()].sort((a, b) => a - b);
  const ids = new Map(places.map((place, i) => [place, i + 2]));
  const sum = (of: (parts: Readonly<Record<Split, Part>>) => number): number =>
    people.reduce((total, { parts }) => total + of(parts), 0);
  const perSplit = <T>(make: (split: Split) => T): Readonly<Record<Split, T>> =>
    Object.fromEntries(SPLITS.map((split) => [split, make(split)])) as Record<Split, T>;
  return {
    samples: perSplit((split) =>
      function* (): Generator<PreparedSample> {
        for (const [i, { parts }] of people.entries()) {
          for (const { at, from } of parts[split].targets) {
            yield makeSample(parts[split].visits, from, at, i + 1, ids, rules);
          }
        }
      }
    ),
    counts: perSplit((split) => sum((parts) => parts[split].targets.length)),
    places,
    placeVisits: places.map((place) => training.get(place)!),
    users: people.map(({ user }) => user),
    visits: sum((parts) => SPLITS.reduce((n, split) => n + parts[split].visits.length, 0)),
  };
}

function groupByUser(visits: readonly Visit[]): ReadonlyMap<number, readonly Visit[]> {
  return Map.groupBy(visits, ({ user }) => user);
}

function splitDays(visits: readonly Visit[], rules: Rules): Readonly<Record<Split, Part>> {
  const last = visits.reduce((most, { day }) => Math.max(most, day), 0);
  const [train, validation] = rules.split;
  const splitOf = ({ day }: Visit): Split =>
    day < last * (train / 100)
      ? "train"
      : day < last * ((train + validation) / 100)
      ? "validation"
      : "test";
  const part = (split: Split): Part => {
    const own = visits.filter((visit) => splitOf(visit) === split);
    return { visits: own, targets: targetsIn(own, rules) };
  };
  return { train: part("train"), validation: part("validation"), test: part("test") };
}

function targetsIn(visits: readonly Visit[], { historyDays, minVisits }: Rules): Part["targets"] {
  const targets: { at: number; from: number }[] = [];
  let from = 0;
  visits.forEach(({ day, target }, at) => {
    while (visits[from].day < day - historyDays) from++;
    if (target === false || day - visits[0].day < historyDays || at - from < minVisits) return;
    targets.push({ at, from });
  });
  return targets;
}

function makeSample(
  visits: readonly Visit[],
  from: number,
  at: number,
  user: number,
  ids: ReadonlyMap<number, number>,
  { maxMinutes }: Rules,
): PreparedSample {
  const history = visits.slice(from, at);
  const { day, weekday, minute, place, start } = visits[at];
  const id = (place: number): number => ids.get(place) ?? 1;
  return {
    X: Int32Array.from(history, (visit) => id(visit.place)),
    user_X: new Int32Array(history.length).fill(user),
    weekday_X: Int32Array.from(history, (visit) => visit.weekday),
    start_min_X: Int32Array.from(history, (visit) => visit.minute),
    dur_X: Float64Array.from(history, (visit) => Math.min(visit.duration, maxMinutes)),
    diff: Int32Array.from(history, (visit) => day - visit.day),
    Y: id(place),
    weekday_Y: weekday,
    start_min_Y: minute,
    ...(start === undefined ? {} : { start_Y: start }),
  };
}
