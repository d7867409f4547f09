/**
 * What guessing without a model reaches. Scores of a model mean little without them: on GeoLife the
 * place that most often followed the present one in the history is right for half of the targets.
 *
 * @module
 */
import type { Sample } from "./samples.ts";

/** What a baseline answers to samples: what `scores` takes as a batch. */
export interface FloorAnswers {
  /** The place that was visited next, of each sample. */
  readonly targets: Int32Array;
  /** The place that the baseline ranks first, of each sample. */
  readonly predictions: Int32Array;
  /** Rank of the target in the baseline's ranking of all places, 1 the first, of each sample. */
  readonly ranks: Int32Array;
}

/** A baseline's ranking of all places for one sample. */
export interface FloorRanking {
  /** The place ranked first. */
  readonly first: number;
  /** The rank of a place, 1 the first. */
  readonly rankOf: (place: number) => number;
}

/** A way to guess the next place without a model. */
export interface Floor {
  /** Its name in files of results. */
  readonly name: "most_visited" | "markov" | "history_frequency" | "history_follower";
  /** What it guesses, in words. */
  readonly label: string;
  /**
   * Counts in training samples what it needs; gives its ranking for a sample, with or without target.
   *
   * @throws {RangeError} If there is no training sample.
   * @throws {TypeError} If a training sample has no target.
   */
  readonly fit: (train: readonly Sample[]) => (sample: Sample) => FloorRanking;
}

type Judged = Sample & { readonly Y: number };

function withTarget(samples: readonly Sample[]): readonly Judged[] {
  return samples.map((sample, i) => {
    if (sample.Y === undefined) throw new TypeError(`Cannot judge sample ${i}: it has no target Y`);
    return sample as Judged;
  });
}

const personOf = ({ user_X }: Sample): number => user_X[user_X.length - 1];
const placeOf = ({ X }: Sample): number => X[X.length - 1];

/** Places by count, most first; equal counts in the order of `tie`. */
function ranking(
  places: Iterable<number>,
  tie: (a: number, b: number) => number,
): readonly number[] {
  const counts = new Map<number, number>();
  for (const place of places) counts.set(place, (counts.get(place) ?? 0) + 1);
  return [...counts.keys()].sort((a, b) => counts.get(b)! - counts.get(a)! || tie(a, b));
}

/** Puts some places before all others of a ranking. */
function before(head: readonly number[], { first, rankOf }: FloorRanking): FloorRanking {
  if (head.length === 0) return { first, rankOf };
  const positions = new Map(head.map((place, i) => [place, i + 1]));
  return {
    first: head[0],
    rankOf(place) {
      const rank = rankOf(place);
      const later = head.reduce((n, other) => n + Number(rankOf(other) > rank), 0);
      return positions.get(place) ?? rank + later;
    },
  };
}

function mostVisited(train: readonly Sample[]): (sample: Sample) => FloorRanking {
  if (train.length === 0) throw new RangeError("Cannot rank places: there is no training sample");
  const byId = (a: number, b: number): number => a - b;
  const judged = withTarget(train);
  const everybody = ranking(judged.map(({ Y }) => Y), byId);
  const rankingOf = (own: readonly number[]): FloorRanking => {
    const visited = new Set(own);
    const places = [...own, ...everybody.filter((place) => !visited.has(place))];
    const ranks = new Map(places.map((place, i) => [place, i + 1]));
    return {
      first: places[0],
      rankOf(place) {
        // Places that are never a target come last, by id from 1 on.
        const lower = (): number => everybody.reduce((n, id) => n - Number(id < place), place);
        return ranks.get(place) ?? places.length + lower();
      },
    };
  };
  const people = new Map<number, FloorRanking>();
  for (const [person, samples] of Map.groupBy(judged, personOf)) {
    people.set(person, rankingOf(ranking(samples.map(({ Y }) => Y), byId)));
  }
  const nobody = rankingOf([]);
  return (sample) => people.get(personOf(sample)) ?? nobody;
}

function markov(train: readonly Sample[]): (sample: Sample) => FloorRanking {
  const backOff = mostVisited(train);
  const followers = new Map<string, readonly number[]>();
  const stateOf = (sample: Sample): string => `${personOf(sample)} ${placeOf(sample)}`;
  for (const [state, samples] of Map.groupBy(withTarget(train), stateOf)) {
    const { rankOf } = backOff(samples[0]);
    followers.set(state, ranking(samples.map(({ Y }) => Y), (a, b) => rankOf(a) - rankOf(b)));
  }
  return (sample) => before(followers.get(stateOf(sample)) ?? [], backOff(sample));
}

/** The places of a history by how often they are in it; of equal ones the latest first. */
function historyRanking({ X }: Sample): readonly number[] {
  return ranking(X, (a, b) => X.lastIndexOf(b) - X.lastIndexOf(a));
}

/** The places that came after the present one in the history, by how often; then the earliest. */
function followersIn(sample: Sample): readonly number[] {
  const { X } = sample;
  const followers = Array.from(X.subarray(1)).filter((_, i) => X[i] === placeOf(sample));
  return ranking(followers, (a, b) => followers.indexOf(a) - followers.indexOf(b));
}

/**
 * The floors that any model should beat, each a full ranking of all places.
 *
 * - `most_visited`: how often places are the person's targets in training, then anybody's, then by id.
 *   A person whom training does not have gets everybody's ranking.
 * - `markov`: how often places followed the present one in the person's training samples, a first-order
 *   Markov chain; then as `most_visited`.
 * - `history_frequency`: how often places are in the sample's history, of equal ones the latest first;
 *   then as `most_visited`.
 * - `history_follower`: how often places followed the present one in the sample's history, of equal
 *   ones the earliest first; then as `history_frequency`.
 *
 * A history counts visits to places that training has not seen as visits to one place, whose id is 1.
 *
 * @example
 * ```ts
 * import { floorAnswers, floors, scores, simulate } from "@gatewise/lstm";
 *
 * const { train, test } = simulate({ people: 3 });
 * for (const floor of floors) {
 *   console.log(floor.label, scores([floorAnswers(floor, train, test)]).acc1);
 * }
 * ```
 */
export const floors: readonly Floor[] = [
  { name: "most_visited", label: "the user's most visited place", fit: mostVisited },
  { name: "markov", label: "what most often followed this place (Markov)", fit: markov },
  {
    name: "history_frequency",
    label: "the most frequent place in the history",
    fit(train) {
      const backOff = mostVisited(train);
      return (sample) => before(historyRanking(sample), backOff(sample));
    },
  },
  {
    name: "history_follower",
    label: "what most often followed this place in the history",
    fit(train) {
      const backOff = mostVisited(train);
      return (sample) => {
        const followers = followersIn(sample);
        const others = historyRanking(sample).filter((place) => !followers.includes(place));
        return before([...followers, ...others], backOff(sample));
      };
    },
  },
];

/**
 * What a floor answers to samples.
 *
 * @param train Samples to count, with targets.
 * @param evaluated Samples to answer, with targets; the person is the one of the last visit.
 * @throws {TypeError} If a sample has no target.
 * @throws {RangeError} If there is no training sample.
 */
export function floorAnswers(
  { fit }: Floor,
  train: readonly Sample[],
  evaluated: readonly Sample[],
): FloorAnswers {
  const rankingOf = fit(train);
  const asked = withTarget(evaluated);
  const rankings = asked.map(rankingOf);
  return {
    targets: Int32Array.from(asked, ({ Y }) => Y),
    predictions: Int32Array.from(rankings, ({ first }) => first),
    ranks: Int32Array.from(rankings, ({ rankOf }, i) => rankOf(asked[i].Y)),
  };
}
