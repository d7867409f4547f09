import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { classificationScores, formatConfusion } from "../src/metrics/classification.ts";
import { languageScores } from "../src/metrics/language.ts";
import { regressionScores } from "../src/metrics/regression.ts";

/** As `lcg` of fixtures/generate.py: whole numbers below 2^24. */
function lcg(count: number, seed: number): number[] {
  let x = seed;
  return Array.from({ length: count }, () => {
    x = (Math.imul(1664525, x) + 1013904223) >>> 0;
    return x >>> 8;
  });
}

/** Arrays cut into batches of 7, 1, 7, 1 ... samples. */
function batchesOf(targets: readonly number[], predictions: readonly number[], width = 1) {
  const batches = [];
  for (let from = 0, size = 7; from < targets.length; from += size * width, size = 8 - size) {
    const part = (values: readonly number[]) => values.slice(from, from + size * width);
    batches.push({ targets: part(targets), predictions: part(predictions) });
  }
  return batches;
}

Deno.test("classification: scikit-learn's accuracy, F1 and confusion matrix", () => {
  const drawn = lcg(60, 1).map((v) => v % 5);
  const targets = drawn.map((v) => v === 4 ? 3 : v);
  const predictions = lcg(60, 2).map((v, i) => v % 3 === 0 ? v % 5 : drawn[i]);
  const scores = classificationScores(batchesOf(targets, predictions), 6);
  // scikit-learn 1.2.1: accuracy_score, f1_score(average="macro" and "weighted", zero_division=0),
  // confusion_matrix(labels=range(6)). Class 4 is chosen and never right, class 5 neither.
  assertAlmostEquals(scores.accuracy, 66.66666666666666, 1e-12);
  assertAlmostEquals(scores.macroF1, 57.09396485867073, 1e-12);
  assertAlmostEquals(scores.weightedF1, 73.34810287751465, 1e-12);
  assertEquals(scores.count, 60);
  assertEquals(scores.loss, undefined);
  assertEquals(scores.confusion, [
    [18, 0, 1, 0, 5, 0],
    [0, 7, 0, 0, 0, 0],
    [1, 2, 3, 0, 0, 0],
    [2, 1, 1, 12, 7, 0],
    [0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0],
  ]);
});

Deno.test("classification: no samples, and batches that cannot be", () => {
  const { count, accuracy, macroF1, weightedF1 } = classificationScores([], 2);
  assertEquals([count, accuracy, macroF1, weightedF1], [0, NaN, NaN, NaN]);
  const score = (targets: number[], predictions: number[]) =>
    classificationScores([{ targets, predictions }], 2);
  assertThrows(() => score([0, 1], [0]), TypeError, "1 predictions of 2 targets");
  assertThrows(() => score([2], [0]), RangeError, "classes are 0 to 1");
  assertThrows(() => score([1], [-1]), RangeError, "class -1");
});

Deno.test("classification: the loss is that of a sample, not of a batch", () => {
  const batch = { targets: [0, 1, 1], predictions: [0, 1, 0], loss: 2 };
  const last = { targets: [0], predictions: [0], loss: 6 };
  assertEquals(classificationScores([batch, last], 2).loss, 3);
  assertEquals(classificationScores([batch, { ...last, loss: undefined }], 2).loss, undefined);
});

Deno.test("a confusion matrix is printed with the true classes in rows", () => {
  assertEquals(
    formatConfusion([[10, 2], [0, 7]], ["up", "sideways"]),
    [
      "true \\ chosen  up  sideways",
      "up             10         2",
      "sideways        0         7",
    ].join("\n"),
  );
});

Deno.test("regression: scikit-learn's MSE, MAE and R2", () => {
  const targets = lcg(40, 3).map((v, i) => v / 2 ** 24 * [10, 1][i % 2]);
  const noise = lcg(40, 4).map((v) => v / 2 ** 24 - 0.5);
  const predictions = targets.map((v, i) => v + noise[i]);
  // scikit-learn 1.2.1: mean_squared_error, mean_absolute_error, r2_score.
  const both = regressionScores(batchesOf(targets, predictions, 2), 2);
  assertAlmostEquals(both.mse, 0.05879147714756856, 1e-12);
  assertAlmostEquals(both.mae, 0.20111638158559797, 1e-12);
  assertAlmostEquals(both.r2, 0.6284574190630976, 1e-12);
  assertEquals(both.count, 20);
  const first = (values: readonly number[]) => values.filter((_, i) => i % 2 === 0);
  const one = regressionScores(batchesOf(first(targets), first(predictions)), 1);
  assertAlmostEquals(one.r2, 0.9904134777222738, 1e-12);
  assertAlmostEquals(one.mse, 0.06514888049321765, 1e-12);
  // r2_score([2, 2, 2], [2, 2, 2]) and ([2, 2, 2], [2, 2, 3]).
  const constant = (predictions: number[]) =>
    regressionScores([{ targets: [2, 2, 2], predictions }], 1).r2;
  assertEquals([constant([2, 2, 2]), constant([2, 2, 3])], [1, 0]);
});

Deno.test("regression: no samples, losses, and batches that cannot be", () => {
  const { count, mse, mae, r2 } = regressionScores([], 3);
  assertEquals([count, mse, mae, r2], [0, NaN, NaN, NaN]);
  const nothing = regressionScores([{ targets: [1], predictions: [NaN] }], 1);
  assertEquals([nothing.mse, nothing.mae, nothing.r2], [NaN, NaN, NaN]);
  const batches = [
    { targets: [1, 2, 3, 4], predictions: [1, 2, 3, 4], loss: 1 },
    { targets: [1, 2], predictions: [1, 2], loss: 4 },
  ];
  assertEquals(regressionScores(batches, 2).loss, 2);
  assertThrows(() => regressionScores(batches, 4), TypeError, "rows of 4");
});

Deno.test("language: bits and perplexity over all characters", () => {
  // Three characters of probability 1/8 and one of 1/2: 10 bits in all.
  const batches = [
    { characters: 3, loss: Math.log(8) },
    { characters: 1, loss: Math.log(2) },
  ];
  const { count, loss, bitsPerCharacter, perplexity } = languageScores(batches);
  assertEquals(count, 4);
  assertAlmostEquals(bitsPerCharacter, 2.5, 1e-12);
  assertAlmostEquals(loss, 2.5 * Math.log(2), 1e-12);
  assertAlmostEquals(perplexity, 2 ** 2.5, 1e-12);
  assertEquals(languageScores([]).bitsPerCharacter, NaN);
});
