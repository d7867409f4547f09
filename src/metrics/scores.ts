import { formatTable } from "./table.ts";

/** What a model answered to one batch of samples, and what was right. */
export interface ScoredBatch {
  /** The true class of each sample. */
  readonly targets: ArrayLike<number>;
  /** The class with the highest logit, of each sample. */
  readonly predictions: ArrayLike<number>;
  /** The place of the true class in the full ranking by logit, 1 the highest, of each sample. */
  readonly ranks: ArrayLike<number>;
  /** The mean loss of the batch, where it was computed. */
  readonly loss?: number;
}

/** Scores of a split, all but `count` and `loss` in percent; NaN when there is no sample. */
export interface Scores {
  /** Number of samples. */
  readonly count: number;
  /** Mean over batches of the batch's loss, as early stopping takes it; absent if not computed. */
  readonly loss?: number;
  /** Samples whose target is ranked first. */
  readonly acc1: number;
  /** Samples whose target is among the first 3. */
  readonly acc3: number;
  /** Samples whose target is among the first 5. */
  readonly acc5: number;
  /** Samples whose target is among the first 10. */
  readonly acc10: number;
  /** Mean reciprocal rank, over the full ranking. */
  readonly mrr: number;
  /** Mean of `1 / log2(rank + 1)`, 0 past rank 10. */
  readonly ndcg10: number;
  /** F1 of the first choice, averaged over classes by how often each is the target. */
  readonly f1: number;
}

/** What to score. */
export interface ScoresOptions {
  /** Only targets that are known places (id 2 and up; 0 is padding, 1 not seen in training). */
  readonly known?: boolean;
}

/** One line of a table of scores. */
export interface ScoreRow {
  /** What was scored. */
  readonly name: string;
  /** Its scores. */
  readonly scores: Scores;
}

/** The id of the first known place. */
const FIRST_KNOWN = 2;

/**
 * Scores over all batches of a split. Batches add up by being listed together, so running scores are
 * those of the batches so far.
 *
 * F1 is `f1_score(targets, predictions, average="weighted", zero_division=0)` of scikit-learn.
 * With `known` no loss is given: batches carry one loss over all their samples.
 *
 * @throws {TypeError} If a batch's arrays differ in length.
 * @throws {RangeError} If a rank is below 1.
 *
 * @example
 * ```ts
 * import { scores } from "@gatewise/lstm";
 *
 * const batch = { targets: [7, 3], predictions: [7, 5], ranks: [1, 4], loss: 1.5 };
 * const { acc1, acc5, mrr } = scores([batch]);
 * console.log(acc1, acc5, mrr); // 50 100 62.5
 * ```
 */
export function scores(batches: readonly ScoredBatch[], options: ScoresOptions = {}): Scores {
  const known = options.known ?? false;
  const within = { 1: 0, 3: 0, 5: 0, 10: 0 };
  let count = 0, reciprocal = 0, gain = 0;
  // How often each class is the target, is predicted, and is both.
  const targeted = new Map<number, number>();
  const predicted = new Map<number, number>();
  const matched = new Map<number, number>();
  for (const { targets, predictions, ranks } of batches) {
    if (predictions.length !== targets.length || ranks.length !== targets.length) {
      throw new TypeError(
        `Cannot score ${predictions.length} predictions and ${ranks.length} ranks of ` +
          `${targets.length} targets: they are one each`,
      );
    }
    for (let n = 0; n < targets.length; n++) {
      const target = targets[n], prediction = predictions[n], rank = ranks[n];
      if (known && target < FIRST_KNOWN) continue;
      if (!(rank >= 1)) throw new RangeError(`Cannot score rank ${rank}: ranks start at 1`);
      count++;
      for (const k of [1, 3, 5, 10] as const) if (rank <= k) within[k]++;
      reciprocal += 1 / rank;
      if (rank <= 10) gain += 1 / Math.log2(rank + 1);
      increment(targeted, target);
      increment(predicted, prediction);
      if (target === prediction) increment(matched, target);
    }
  }
  let f1 = 0;
  for (const [label, support] of targeted) {
    const both = matched.get(label) ?? 0;
    f1 += support * 2 * both / (support + (predicted.get(label) ?? 0));
  }
  const percent = (sum: number): number => 100 * sum / count;
  const losses = known ? [] : batches.flatMap((batch) => batch.loss ?? []);
  const loss = losses.reduce((sum, one) => sum + one, 0) / losses.length;
  return {
    count,
    ...(losses.length > 0 ? { loss } : {}),
    acc1: percent(within[1]),
    acc3: percent(within[3]),
    acc5: percent(within[5]),
    acc10: percent(within[10]),
    mrr: percent(reciprocal),
    ndcg10: percent(gain),
    f1: percent(f1),
  };
}

/** Scores over all targets and over known places. */
export interface BothScores {
  /** All targets. */
  readonly all: Scores;
  /** Targets of id 2 and up. */
  readonly known: Scores;
}

/** Both scores of a split's answers. */
export function bothScores(answers: readonly ScoredBatch[]): BothScores {
  return { all: scores(answers), known: scores(answers, { known: true }) };
}

function increment(counts: Map<number, number>, label: number): void {
  counts.set(label, (counts.get(label) ?? 0) + 1);
}

/** Scores as the reference's `test_results.json` names them; everything but counts in percent. */
export interface TestResults {
  /** Number of samples. */
  readonly total: number;
  /** Samples whose target is among the first k. */
  readonly "correct@1": number;
  /** See `correct@1`. */
  readonly "correct@3": number;
  /** See `correct@1`. */
  readonly "correct@5": number;
  /** See `correct@1`. */
  readonly "correct@10": number;
  /** The sum of reciprocal ranks. */
  readonly rr: number;
  /** NDCG@10 in percent. */
  readonly ndcg: number;
  /** Weighted F1 in percent. */
  readonly f1: number;
  /** `correct@1` in percent. */
  readonly "acc@1": number;
  /** `correct@3` in percent. */
  readonly "acc@3": number;
  /** `correct@5` in percent. */
  readonly "acc@5": number;
  /** `correct@10` in percent. */
  readonly "acc@10": number;
  /** `rr` in percent of the samples. */
  readonly mrr: number;
  /** Mean over batches of the loss, where it was computed. */
  readonly loss?: number;
  /** The same over known targets only. */
  readonly known?: TestResults;
}

/**
 * Scores under the names of the reference's `test_results.json`, those over known targets nested
 * under `known`.
 *
 * @param all Scores over all targets.
 * @param known Scores over known targets.
 */
export function testResults(all: Scores, known?: Scores): TestResults {
  const correct = (accuracy: number): number =>
    all.count === 0 ? 0 : Math.round(accuracy * all.count / 100);
  return {
    "correct@1": correct(all.acc1),
    "correct@3": correct(all.acc3),
    "correct@5": correct(all.acc5),
    "correct@10": correct(all.acc10),
    rr: all.count === 0 ? 0 : all.mrr * all.count / 100,
    ndcg: all.ndcg10,
    f1: all.f1,
    total: all.count,
    "acc@1": all.acc1,
    "acc@3": all.acc3,
    "acc@5": all.acc5,
    "acc@10": all.acc10,
    mrr: all.mrr,
    ...(all.loss === undefined ? {} : { loss: all.loss }),
    ...(known === undefined ? {} : { known: testResults(known) }),
  };
}

const COLUMNS: readonly (readonly [string, (scores: Scores) => string])[] = [
  ["samples", (s) => String(s.count)],
  ["loss", (s) => decimal(s.loss, 3)],
  ["acc@1", (s) => decimal(s.acc1)],
  ["acc@3", (s) => decimal(s.acc3)],
  ["acc@5", (s) => decimal(s.acc5)],
  ["acc@10", (s) => decimal(s.acc10)],
  ["MRR", (s) => decimal(s.mrr)],
  ["NDCG@10", (s) => decimal(s.ndcg10)],
  ["F1", (s) => decimal(s.f1)],
];

function decimal(value: number | undefined, digits = 2): string {
  return value === undefined || Number.isNaN(value) ? "-" : value.toFixed(digits);
}

/**
 * Scores as a text table with aligned columns, one line a row below the heading; percentages with
 * two decimals, `-` where there is no value. Ends without a line break.
 */
export function formatScoreTable(rows: readonly ScoreRow[]): string {
  return formatTable([
    ["", ...COLUMNS.map(([heading]) => heading)],
    ...rows.map(({ name, scores }) => [name, ...COLUMNS.map(([, cell]) => cell(scores))]),
  ]);
}
