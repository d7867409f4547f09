/**
 * Scores of the next-location model and the floors, with how sure they are.
 *
 * @module
 */
import { type FloorAnswers, floors } from "../data/floors.ts";
import { type Scores, scores } from "../metrics/scores.ts";
import type { Judged } from "./answers.ts";
import { bootstrap, type Interval } from "./bootstrap.ts";

/** Scores that have intervals, in their order. */
export const MEASURES = ["acc1", "acc5", "acc10", "mrr", "ndcg10", "f1"] as const;

/** A score that has an interval. */
export type Measure = typeof MEASURES[number];

/** What the model or a floor reaches. */
export interface ScoreLine {
  /** In a few words. */
  readonly name: string;
  /** In more words. */
  readonly label: string;
  /** Its scores. */
  readonly scores: Scores;
  /** 95% of what resampling gives. */
  readonly intervals: Readonly<Record<Measure, Interval>>;
}

/** A floor beside the model. */
export interface FloorLine extends ScoreLine {
  /** Points of acc@1 by which the model is ahead of it. */
  readonly ahead: Interval & { readonly by: number };
}

/** The model's scores beside the floors'. */
export interface Scoreboard {
  /** The model. */
  readonly model: ScoreLine;
  /** The floors, in the order of `floors`. */
  readonly floors: readonly FloorLine[];
  /** The floor with the highest acc@1. */
  readonly best: FloorLine;
  /** What intervals resample. */
  readonly clusters: Clusters;
}

/** What is drawn when intervals are resampled. */
export interface Clusters {
  /** People, or samples where there are too few people. */
  readonly of: "people" | "samples";
  /** How many. */
  readonly count: number;
  /** The cluster of each sample. */
  readonly ofSample: Int32Array;
}

/** Floors in a few words. */
const SHORT: Readonly<Record<typeof floors[number]["name"], string>> = {
  most_visited: "Most visited place",
  markov: "Markov chain",
  history_frequency: "Most frequent lately",
  history_follower: "Followed lately",
};

/** With fewer people than these, resampling them says little. */
const LEAST_PEOPLE = 10;

/** Samples of one person hang together, so people are what is drawn, where there are enough. */
export function clustersOf(judged: Pick<Judged, "samples">): Clusters {
  const people = judged.samples.map(({ user_X }) => user_X[user_X.length - 1]);
  const numbers = new Map([...new Set(people)].map((person, i) => [person, i]));
  return numbers.size >= LEAST_PEOPLE
    ? {
      of: "people",
      count: numbers.size,
      ofSample: Int32Array.from(people, (p) => numbers.get(p)!),
    }
    : { of: "samples", count: people.length, ofSample: Int32Array.from(people, (_, i) => i) };
}

/** Scores in percent of answers that count as often as their cluster was drawn, by `MEASURES`. */
export function weightedScores(
  { targets, predictions, ranks }: FloorAnswers,
  cluster: Int32Array,
  drawn: ArrayLike<number>,
  places: number,
): readonly number[] {
  const [targeted, predicted, matched] = [0, 1, 2].map(() => new Float64Array(places));
  let [total, first, five, ten, reciprocal, gain] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < targets.length; i++) {
    const weight = drawn[cluster[i]], rank = ranks[i];
    if (weight === 0) continue;
    total += weight;
    if (rank <= 1) first += weight;
    if (rank <= 5) five += weight;
    if (rank <= 10) {
      ten += weight;
      gain += weight / Math.log2(rank + 1);
    }
    reciprocal += weight / rank;
    targeted[targets[i]] += weight;
    predicted[predictions[i]] += weight;
    if (targets[i] === predictions[i]) matched[targets[i]] += weight;
  }
  const f1 = targeted.reduce(
    (sum, support, place) =>
      support === 0 ? sum : sum + support * 2 * matched[place] / (support + predicted[place]),
    0,
  );
  return [first, five, ten, reciprocal, gain, f1].map((sum) => 100 * sum / total);
}

/** Scores of the model and the floors over all targets, or over known places. */
export function scoreboard(judged: Judged, known: boolean): Scoreboard {
  const kept = judged.samples.flatMap(({ Y }, i) => known && Y < 2 ? [] : [i]);
  const pick = ({ targets, predictions, ranks }: FloorAnswers): FloorAnswers => ({
    targets: Int32Array.from(kept, (i) => targets[i]),
    predictions: Int32Array.from(kept, (i) => predictions[i]),
    ranks: Int32Array.from(kept, (i) => ranks[i]),
  });
  const clusters = clustersOf({ samples: kept.map((i) => judged.samples[i]) });
  const lines = [
    { name: "This model", label: "the model", answers: pick(judged.model) },
    ...floors.map(({ name, label }, i) => ({
      name: SHORT[name],
      label,
      answers: pick(judged.floors[i]),
    })),
  ];
  const places = judged.config.totalLocNum;
  const intervals = bootstrap(clusters.count, (drawn) => {
    const values = lines.map(({ answers }) =>
      weightedScores(answers, clusters.ofSample, drawn, places)
    );
    // The same draw for both: what they have in common cancels out.
    return [...values.flat(), ...values.slice(1).map(([acc1]) => values[0][0] - acc1)];
  });
  const [model, ...others] = lines.map(({ name, label, answers }, line): ScoreLine => ({
    name,
    label,
    scores: scores([answers]),
    intervals: Object.fromEntries(
      MEASURES.map((measure, i) => [measure, intervals[line * MEASURES.length + i]]),
    ) as Record<Measure, Interval>,
  }));
  const beside = others.map((line, i): FloorLine => ({
    ...line,
    ahead: {
      by: model.scores.acc1 - line.scores.acc1,
      ...intervals[lines.length * MEASURES.length + i],
    },
  }));
  const best = beside.reduce((a, b) => b.scores.acc1 > a.scores.acc1 ? b : a);
  return { model, floors: beside, best, clusters };
}
