/**
 * A simulation of people's visits: the default data, and data of any size for tests.
 *
 * @module
 */
import { foldIn, type Key, randomKey, uniform } from "../core/random.ts";
import type { Place } from "./places.ts";
import type { Sample } from "./samples.ts";

/** Options of {@link simulate}; the defaults give a data set of GeoLife's size. */
export interface SimulateOptions {
  /** The same seed gives the same data; default 42. */
  readonly seed?: number;
  /** How many people; default 45. */
  readonly people?: number;
  /** Days for which a person is tracked, on average, at least 20; default 136. */
  readonly days?: number;
  /** Public places that the city offers, at least 10; default 6000. People see only some. */
  readonly places?: number;
}

/** Simulated samples, as the reference's processing makes them of tracked visits. */
export interface Simulation {
  /** Targets on the first 60% of each person's days. */
  readonly train: readonly Sample[];
  /** Targets on the next 20% of days. */
  readonly validation: readonly Sample[];
  /** Targets on the last 20% of days. */
  readonly test: readonly Sample[];
  /** Number of place ids: padding, unseen, and the places of the training days. */
  readonly totalLocNum: number;
  /** Number of user ids: people have 1 to `people`, 0 is nobody. */
  readonly totalUserNum: number;
  /** Where the places with ids from 2 are, by id. */
  readonly places: readonly Place[];
}

/** One visit: time in minutes since the midnight before the person's first day. */
interface Visit {
  readonly place: number;
  readonly start: number;
  readonly minutes: number;
}

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Random draws, one after the other, of one key. */
interface Draws {
  /** Uniform in [0, 1). */
  readonly next: () => number;
  /** Normal with the given mean and standard deviation. */
  readonly normal: (mean: number, deviation: number) => number;
  /** Index i with probability `weights[i] / sum`. */
  readonly pick: (weights: ArrayLike<number>) => number;
}

/** The city: km around its centre, in the plane. Homes follow the public places, one a person. */
interface City {
  readonly points: readonly Point[];
  readonly popularity: Float64Array;
}

const DAY = 1440;
const CENTRE = { latitude: 46.95, longitude: 7.45 };
const KM_PER_DEGREE = 111.2;
/** Exploration: probability RHO * S^-GAMMA after S places (Song et al. 2010, their fit). */
const RHO = 0.6;
const GAMMA = 0.21;
/** Rules of the reference's samples: days of history, visits in it, longest and shortest visit. */
const HISTORY_DAYS = 7;
const MIN_VISITS = 3;
const MAX_MINUTES = 2879;
const MIN_MINUTES = 30;

function draws(key: Key): Draws {
  let block = 0, at = 0;
  let values = uniform(foldIn(key, block), 256);
  const next = (): number => {
    if (at === values.length) {
      values = uniform(foldIn(key, ++block), 256);
      at = 0;
    }
    return values[at++];
  };
  return {
    next,
    normal: (mean, deviation) =>
      mean + deviation * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    pick: (weights) => {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i];
      let left = next() * sum;
      for (let i = 0; i < weights.length; i++) if ((left -= weights[i]) < 0) return i;
      return weights.length - 1;
    },
  };
}

/** Towns of different sizes with public places around them, popular by a power of their rank. */
function buildCity(key: Key, places: number): City {
  const { normal, pick } = draws(key);
  const towns = Array.from({ length: 8 }, () => ({ x: normal(0, 8), y: normal(0, 8) }));
  const sizes = towns.map((_, i) => 1 / (i + 1));
  const points = Array.from({ length: places }, () => {
    const town = towns[pick(sizes)];
    return { x: normal(town.x, 2), y: normal(town.y, 2) };
  });
  return { points, popularity: Float64Array.from(points, (_, i) => (i + 1) ** -0.4) };
}

/**
 * Chooses where to go in free time: exploration and preferential return. With probability
 * RHO * S^-GAMMA a place never seen, with the weights of d-EPR: popularity over squared distance;
 * else one of the S places seen, by how often it was chosen. How often counts most in the same
 * context (lunch, evening, day off), so that time of day tells something.
 */
function chooser(city: City, { next, pick }: Draws): (from: Point, context: number) => number {
  const seen: number[] = [];
  const counts: number[][] = [];
  const unseen = Float64Array.from(city.popularity);
  const weights = new Float64Array(unseen.length);
  return (from, context) => {
    let index: number;
    const explore = seen.length === 0 || next() < RHO * seen.length ** -GAMMA;
    if (explore && seen.length < unseen.length) {
      index = seen.length;
      for (let i = 0; i < weights.length; i++) {
        const { x, y } = city.points[i];
        weights[i] = unseen[i] / (0.25 + (x - from.x) ** 2 + (y - from.y) ** 2);
      }
      const place = pick(weights);
      unseen[place] = 0;
      seen.push(place);
      counts.push([0, 0, 0]);
    } else {
      index = pick(counts.map((c) => 0.1 * (c[0] + c[1] + c[2]) + c[context]));
    }
    counts[index][context]++;
    return seen[index];
  };
}

/**
 * The stays of one person, one after the other, before tracking. Working days: home, work, now and
 * then lunch out and an evening out, home; days off: some outings. Two weekly habits have a fixed
 * day, hour and place. Some people move home or change work once.
 */
function live(city: City, homes: readonly [number, number], days: number, draw: Draws): Visit[] {
  const { next, normal, pick } = draw;
  const choose = chooser(city, draw);
  const worksOn = next() < 0.85;
  const workFrom = normal(535, 50);
  const workFor = normal(520, 40);
  const freedom = next(); // how much of the week is not routine
  const [lunchOut, eveningOut, outings] = [
    0.2 + 0.8 * freedom,
    0.2 + 0.8 * freedom,
    1 + 4 * freedom,
  ];
  const works = [pick(city.popularity), pick(city.popularity)];
  const changeDay = (share: number): number =>
    next() < share ? days * (0.3 + 0.7 * next()) : Infinity;
  const [moveDay, jobDay] = [changeDay(0.4), changeDay(0.6)];
  const habits = [0, 1].map((context) => ({
    weekday: Math.floor(7 * next()),
    start: normal(1110, 40),
    minutes: normal(100, 20),
    place: choose(city.points[homes[0]], context + 1),
  }));
  const stays: Visit[] = [];
  let free = 0; // when the last stay away from home ended, travel included
  for (let day = 0; day < days; day++) {
    const home = homes[day < moveDay ? 0 : 1];
    const work = works[day < jobDay ? 0 : 1];
    const midnight = day * DAY;
    const go = (place: number, minute: number, minutes: number): void => {
      if (minutes <= 0) return; // came after noon, left before lunch
      const start = Math.max(midnight + minute, free);
      const travel = 10 + 20 * next();
      // At home in between, unless there is hardly time to go there.
      if (start - free > 90) {
        stays.push({ place: home, start: free, minutes: start - free - travel });
      }
      stays.push({ place, start, minutes });
      free = start + minutes + travel;
    };
    const away = (context: number, minute: number, minutes: number): void =>
      go(choose(city.points[context === 0 ? work : home], context), minute, minutes);
    const habit = habits.find(({ weekday }) => weekday === day % 7);
    const hasHabit = habit !== undefined && next() < 0.75;
    if (day % 7 < 5 && worksOn && next() < 0.93) {
      const start = workFrom + normal(0, 20), end = start + workFor + normal(0, 35);
      if (next() < lunchOut) {
        go(work, start, 720 - start);
        away(0, 730 + 20 * next(), 35 + 30 * next());
        go(work, 800, end - 800);
      } else go(work, start, end - start);
      if (!hasHabit && next() < eveningOut) away(1, end + 20 + 60 * next(), 40 + 110 * next());
    } else {
      let minute = 560 + normal(0, 50);
      while (next() < outings / (1 + outings) && minute < 1080) {
        const minutes = 35 + 150 * next();
        away(2, minute, minutes);
        minute += minutes + 30 + 150 * next();
      }
    }
    if (hasHabit) go(habit.place, habit.start + normal(0, 10), habit.minutes + normal(0, 10));
  }
  return stays;
}

/**
 * What a tracking device records of the stays: nothing on the days it is off (which come in rows),
 * not every stay otherwise, and some long stays as two, where the signal was lost for half an hour.
 * A stay ends where tracking does; starts and durations are whole minutes.
 */
function track(stays: readonly Visit[], days: number, { next }: Draws): Visit[] {
  const recorded = 0.6 + 0.4 * next(), lost = 0.25 * next();
  const off = new Uint8Array(days + 3);
  for (let day = 1; day < days; day++) off[day] = Number(next() < (off[day - 1] ? 0.8 : 0.05));
  off.fill(1, days);
  return stays.flatMap(({ place, start, minutes }) => {
    const day = Math.floor(start / DAY);
    const nextOff = DAY * off.indexOf(1, day);
    const length = Math.floor(Math.min(minutes, nextOff - start, MAX_MINUTES));
    if (length < MIN_MINUTES || next() > recorded) return [];
    const whole = { place, start: Math.floor(start), minutes: length };
    if (length < 4 * MIN_MINUTES || next() > lost) return [whole];
    const before = MIN_MINUTES + Math.floor((length - 3 * MIN_MINUTES) * next());
    const after = before + MIN_MINUTES;
    return [
      { ...whole, minutes: before },
      { ...whole, start: whole.start + after, minutes: length - after },
    ];
  });
}

/** Samples of one person's visits of one split: all with enough visits in the days before. */
function samplesOf(
  visits: readonly Visit[],
  user: number,
  idOf: (place: number) => number,
): Sample[] {
  const dayOf = (visit: Visit): number => Math.floor(visit.start / DAY);
  let first = 0;
  return visits.flatMap((target, i) => {
    while (dayOf(visits[first]) < dayOf(target) - HISTORY_DAYS) first++;
    if (i - first < MIN_VISITS) return [];
    const history = visits.slice(first, i);
    const column = (value: (visit: Visit) => number): Int32Array => Int32Array.from(history, value);
    return [Object.freeze({
      X: column((visit) => idOf(visit.place)),
      user_X: column(() => user),
      weekday_X: column((visit) => dayOf(visit) % 7),
      start_min_X: column((visit) => visit.start % DAY),
      dur_X: Float64Array.from(history, (visit) => visit.minutes),
      diff: column((visit) => dayOf(target) - dayOf(visit)),
      Y: idOf(target.place),
    })];
  });
}

/**
 * Simulates people of a city and makes samples of their tracked visits. Free time follows the
 * exploration and preferential return model of Song, Koren, Wang and Barabasi 2010, "Modelling the
 * scaling properties of human mobility", Nature Physics 6:818-823 (probability to explore
 * rho * S^-gamma with rho = 0.6, gamma = 0.21; return in proportion to past visits). Where an
 * exploration leads is the d-EPR choice of Pappalardo, Simini, Rinzivillo, Pedreschi, Giannotti and
 * Barabasi 2015, "Returners and explorers dichotomy in human mobility", Nature Communications
 * 6:8166: popularity over squared distance. As in DITRAS (Pappalardo and Simini 2018, "Data-driven
 * generation of spatio-temporal routines in human mobility", Data Mining and Knowledge Discovery
 * 32:787-829), a weekly diary says when a person is at home or elsewhere; this diary is made up (home,
 * work on Monday to Friday, habits, outings; some people move or change work), not fitted to data.
 *
 * Samples are made of the visits by the rules of the reference's GeoLife files: each person's days
 * split 60/20/20, a history of 7 days inside its own split with at least 3 visits, ids for the
 * places of training days, 1 for any other, users from 1. Pure: it reads nothing.
 *
 * @throws {RangeError} If an option is out of range.
 *
 * @example
 * ```ts
 * import { simulate } from "@gatewise/lstm";
 *
 * const { train, totalLocNum } = simulate({ people: 3, seed: 7 });
 * console.log(train.length, totalLocNum, train[0].X, train[0].Y);
 * ```
 */
export function simulate(
  { seed = 42, people = 45, days = 136, places = 6000 }: SimulateOptions = {},
): Simulation {
  const check = (name: string, value: number, low: number): void => {
    if (!Number.isSafeInteger(value) || value < low) {
      throw new RangeError(
        `Cannot simulate with ${name} ${value}: give a whole number from ${low}`,
      );
    }
  };
  check("people", people, 1);
  check("days", days, 20);
  check("places", places, 10);
  const key = randomKey(seed);
  const publicCity = buildCity(foldIn(key, 0), places);
  const { normal, pick } = draws(foldIn(key, 1));
  // Two homes a person, near public places.
  const homes = Array.from({ length: 2 * people }, () => {
    const { x, y } = publicCity.points[pick(publicCity.popularity)];
    return { x: normal(x, 1), y: normal(y, 1) };
  });
  const city = { ...publicCity, points: [...publicCity.points, ...homes] };
  // Few people are tracked for very long; the mean is kept whatever is drawn.
  const shares = Array.from({ length: people }, () => Math.exp(normal(0, 1)));
  const share = shares.reduce((a, b) => a + b) / people;
  const least = Math.min(51, days);

  const splits = shares.map((own, person) => {
    const tracked = Math.round(least + (days - least) * own / share);
    const draw = draws(foldIn(key, 2 + person));
    const stays = live(city, [places + person, places + people + person], tracked, draw);
    const visits = track(stays, tracked, draw);
    const last = Math.floor((visits.at(-1)?.start ?? 0) / DAY);
    const between = (from: number, to: number): Visit[] =>
      visits.filter(({ start }) => {
        const day = Math.floor(start / DAY);
        return day >= from * last && day < to * last;
      });
    return [between(0, 0.6), between(0.6, 0.8), between(0.8, 2)] as const;
  });
  const ids = new Map<number, number>();
  for (const [train] of splits) {
    for (const { place } of train) if (!ids.has(place)) ids.set(place, 2 + ids.size);
  }
  const samples = (split: 0 | 1 | 2): Sample[] =>
    splits.flatMap((visits, i) => samplesOf(visits[split], i + 1, (place) => ids.get(place) ?? 1));
  return {
    train: samples(0),
    validation: samples(1),
    test: samples(2),
    totalLocNum: 2 + ids.size,
    totalUserNum: 1 + people,
    places: [...ids].map(([place, id]) => {
      const { x, y } = city.points[place];
      const latitude = CENTRE.latitude + y / KM_PER_DEGREE;
      const kmPerDegree = KM_PER_DEGREE * Math.cos(latitude * Math.PI / 180);
      return { id, latitude, longitude: CENTRE.longitude + x / kmPerDegree };
    }),
  };
}
