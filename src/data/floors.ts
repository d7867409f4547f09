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

type Counts = Map<number, number>;

function countOf(samples: readonly (Sample & { readonly Y: number })[]): Counts {
  const counts: Counts = new Map();
  for (const { Y } of samples) counts.set(Y, (counts.get(Y) ?? 0) + 1);
  return counts;
}

/** Places by count, most first; equal counts by id. */
function ranking(counts: Counts): number[] {
  return [...counts.keys()].sort((a, b) => counts.get(b)! - counts.get(a)! || a - b);
}

function withTarget(samples: readonly Sample[]): (Sample & { readonly Y: number })[] {
  return samples.map((sample, i) => {
    if (sample.Y === undefined) throw new TypeError(`Cannot judge sample ${i}: it has no target Y`);
    return sample as Sample & { readonly Y: number };
  });
}

/**
 * The floor that any model should beat: always guess the place that the person visited most often in
 * training. Places are ranked by how often they are that person's targets in the training samples,
 * then (where never) by how often they are anybody's, then by id. A person whom training does not
 * have gets everybody's ranking.
 *
 * @param train Samples to count, with targets.
 * @param evaluated Samples to answer, with targets; the person is the one of the last visit.
 * @throws {TypeError} If a sample has no target.
 * @throws {RangeError} If there is no training sample.
 *
 * @example
 * ```ts
 * import { mostVisited, scores, simulate } from "@gatewise/lstm";
 *
 * const { train, test } = simulate({ people: 3 });
 * console.log(scores([mostVisited(train, test)]).acc1);
 * ```
 */
export function mostVisited(
  train: readonly Sample[],
  evaluated: readonly Sample[],
): FloorAnswers {
  if (train.length === 0) throw new RangeError("Cannot rank places: there is no training sample");
  const personOf = (sample: Sample): number => sample.user_X[sample.user_X.length - 1];
  const known = withTarget(train);
  const overall = ranking(countOf(known));
  const people = new Map<number, number[]>();
  for (const [person, samples] of Map.groupBy(known, personOf)) {
    const own = ranking(countOf(samples));
    const visited = new Set(own);
    people.set(person, [...own, ...overall.filter((place) => !visited.has(place))]);
  }
  const ranks = new Map<readonly number[], ReadonlyMap<number, number>>();
  const rankOf = (places: readonly number[], place: number): number => {
    const positions = ranks.get(places) ?? new Map(places.map((id, i) => [id, i + 1]));
    ranks.set(places, positions);
    // Places that are never a target come last, by id from 1 on.
    const lower = (): number => overall.reduce((n, id) => n - Number(id < place), place);
    return positions.get(place) ?? places.length + lower();
  };
  const asked = withTarget(evaluated);
  const rankings = asked.map((sample) => people.get(personOf(sample)) ?? overall);
  return {
    targets: Int32Array.from(asked, ({ Y }) => Y),
    predictions: Int32Array.from(rankings, (places) => places[0]),
    ranks: Int32Array.from(rankings, (places, i) => rankOf(places, asked[i].Y)),
  };
}
