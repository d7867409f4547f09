import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  formatScoreTable,
  type ScoredBatch,
  type Scores,
  scores,
  testResults,
} from "../src/metrics/scores.ts";

/** Compares to 1e-9 in percent. */
function assertScores(actual: Scores, expected: Scores): void {
  assertEquals(Object.keys(actual).toSorted(), Object.keys(expected).toSorted());
  for (const [name, value] of Object.entries(expected)) {
    assertAlmostEquals(actual[name as keyof Scores] as number, value, 1e-9, name);
  }
}

Deno.test("scores of the walkthrough's four samples", () => {
  // Section 4 of the walkthrough: targets at ranks 2, 1, 1, 3; MRR 2.8333 / 4.
  const batch = {
    targets: [42, 100, 42, 500],
    predictions: [150, 100, 42, 300],
    ranks: [2, 1, 1, 3],
    loss: 2,
  };
  assertScores(scores([batch]), {
    count: 4,
    loss: 2,
    acc1: 50,
    acc3: 100,
    acc5: 100,
    acc10: 100,
    mrr: 100 * (1 / 2 + 1 + 1 + 1 / 3) / 4,
    // 1/log2(2) = 1, 1/log2(3), 1/log2(4) = 1/2.
    ndcg10: 100 * (1 / Math.log2(3) + 1 + 1 + 0.5) / 4,
    // Class 42: precision 1, recall 1/2, F1 2/3, twice; 100: F1 1; 500: never predicted, 0.
    f1: 100 * (2 * 2 / 3 + 1) / 4,
  });
});

Deno.test("weighted F1 is that of scikit-learn's documentation", () => {
  // f1_score([0,1,2,0,1,2], [0,2,1,0,0,1], average="weighted"): 0.2666...
  const batch = { targets: [0, 1, 2, 0, 1, 2], predictions: [0, 2, 1, 0, 0, 1] };
  assertAlmostEquals(scores([{ ...batch, ranks: [1, 2, 2, 1, 2, 2] }]).f1, 80 / 3, 1e-12);
});

/** The ranks, first choices and targets of 200 samples over 14 classes, from a small generator. */
function drawBatches(sizes: readonly number[]): ScoredBatch[] {
  const classes = 14, count = 200;
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state >> 16;
  };
  const logits = Array.from({ length: count }, () => Array.from({ length: classes }, next));
  const targets = logits.map(() => next() % classes);
  logits.forEach((row, n) => row[targets[n]] += (next() % 3) * 9000);
  const ranks = logits.map((row, n) => 1 + row.filter((other) => other > row[targets[n]]).length);
  const predictions = logits.map((row) => row.indexOf(Math.max(...row)));
  let start = 0;
  return sizes.map((size) => {
    const part = [start, start += size] as const;
    return {
      targets: Uint32Array.from(targets.slice(...part)),
      predictions: Uint32Array.from(predictions.slice(...part)),
      ranks: Uint32Array.from(ranks.slice(...part)),
    };
  });
}

// scikit-learn 1.9.1 on the same numbers: top_k_accuracy_score, ndcg_score(k=10),
// f1_score(average="weighted", zero_division=0); the mean reciprocal rank by numpy.
const ALL = {
  count: 200,
  acc1: 33.5,
  acc3: 46,
  acc5: 58.5,
  acc10: 88.5,
  mrr: 46.43476245976245,
  ndcg10: 55.332172847378494,
  f1: 33.287076754051725,
};
const KNOWN = {
  count: 171,
  acc1: 31.57894736842105,
  acc3: 43.27485380116959,
  acc5: 55.55555555555556,
  acc10: 87.71929824561403,
  mrr: 44.49645221575047,
  ndcg10: 53.57321068668198,
  f1: 33.420541501023415,
};

Deno.test("scores equal scikit-learn's, over all and over known targets", () => {
  const batches = drawBatches([200]);
  assertScores(scores(batches), ALL);
  assertScores(scores(batches, { known: true }), KNOWN);
});

Deno.test("scores do not depend on how samples are cut into batches, only the loss does", () => {
  const cut = drawBatches([1, 64, 0, 100, 35]);
  assertScores(scores(cut), ALL);
  assertScores(scores(cut, { known: true }), KNOWN);
  const [first, , ...rest] = drawBatches([100, 0, 100]);
  // The mean of the batches' means, whatever their sizes.
  const losses = [{ ...first, loss: 3 }, ...rest.map((batch) => ({ ...batch, loss: 5 }))];
  assertEquals(scores(losses).loss, 4);
  assertEquals(scores(losses, { known: true }).loss, undefined);
});

Deno.test("without samples there are no scores", () => {
  const none = scores([]);
  assertEquals([none.count, none.acc1, none.f1], [0, NaN, NaN]);
  assertEquals(
    formatScoreTable([{ name: "x", scores: none }]).split("\n")[1].match(/-/g)?.length,
    8,
  );
});

Deno.test("arrays that do not belong together are refused", () => {
  assertThrows(() => scores([{ targets: [1, 2], predictions: [1], ranks: [1, 1] }]), TypeError);
  assertThrows(
    () => scores([{ targets: [1], predictions: [1], ranks: [0] }]),
    RangeError,
    "rank 0",
  );
});

Deno.test("test results have the reference's keys, counts and percentages", () => {
  const batch = {
    targets: [42, 100, 1, 500],
    predictions: [150, 100, 42, 3],
    ranks: [2, 1, 4, 11],
  };
  const results = testResults(scores([batch]), scores([batch], { known: true }));
  const { known, ...all } = results;
  assertEquals(Object.keys(all).toSorted(), [
    "acc@1",
    "acc@10",
    "acc@3",
    "acc@5",
    "correct@1",
    "correct@10",
    "correct@3",
    "correct@5",
    "f1",
    "mrr",
    "ndcg",
    "rr",
    "total",
  ]);
  assertEquals([all["correct@1"], all["correct@3"], all["correct@5"], all["correct@10"]], [
    1,
    2,
    3,
    3,
  ]);
  assertEquals([all["acc@1"], all["acc@3"], all["acc@5"], all["acc@10"]], [25, 50, 75, 75]);
  assertEquals(all.total, 4);
  assertAlmostEquals(all.rr, 1 / 2 + 1 + 1 / 4 + 1 / 11, 1e-12);
  assertAlmostEquals(all.mrr, 25 * all.rr, 1e-12);
  assertEquals([known?.total, known?.["correct@1"], known?.["correct@5"]], [3, 1, 2]);
});

Deno.test("a table of scores is aligned", () => {
  const row = (
    name: string,
    loss: number | undefined,
    acc1: number,
  ): { name: string; scores: Scores } => ({
    name,
    scores: { ...scores([{ targets: [2], predictions: [2], ranks: [1], loss }]), acc1 },
  });
  const table = formatScoreTable([
    row("test", 4.56789, 31.526),
    row("most visited place", undefined, 9),
  ]);
  assertEquals(
    table,
    [
      "                    samples   loss  acc@1   acc@3   acc@5  acc@10     MRR  NDCG@10      F1",
      "test                      1  4.568  31.53  100.00  100.00  100.00  100.00   100.00  100.00",
      "most visited place        1      -   9.00  100.00  100.00  100.00  100.00   100.00  100.00",
    ].join("\n"),
  );
});
