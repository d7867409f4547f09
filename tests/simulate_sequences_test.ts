import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { randomKey } from "../src/core/random.ts";
import type { SequenceSample } from "../src/data/sequences.ts";
import { simulateSequences } from "../src/data/simulate_sequences.ts";

const data = simulateSequences(randomKey(42), { count: 1200 });
const WIDTH = 9;

Deno.test("simulated sequences: the same key gives the same, another key others", () => {
  const few = (seed: number) => simulateSequences(randomKey(seed), { count: 6 });
  assertEquals(few(3), few(3));
  assertNotEquals(few(3).samples[0].values, few(4).samples[0].values);
  // More sequences begin with the same ones.
  assertEquals(simulateSequences(randomKey(3), { count: 9 }).samples.slice(0, 6), few(3).samples);
});

Deno.test("simulated sequences: classes take turns, lengths are as asked, numbers finite", () => {
  assertEquals([data.width, data.features.length, data.classes], [
    WIDTH,
    WIDTH,
    ["short", "medium", "long"],
  ]);
  const lengths = new Set<number>();
  data.samples.forEach(({ values, steps, label }, i) => {
    assertEquals(label, i % 3);
    assertEquals(values.length, steps * WIDTH);
    assert(values.every((value) => Math.abs(value) < 6));
    lengths.add(steps);
  });
  assertEquals([...lengths].sort((a, b) => a - b), Array.from({ length: 17 }, (_, i) => 48 + i));
  const { samples } = simulateSequences(randomKey(1), { count: 30, steps: [1, 2] });
  assertEquals(new Set(samples.map(({ steps }) => steps)), new Set([1, 2]));
});

Deno.test("simulated sequences: single steps tell nothing of the class", () => {
  for (let f = 0; f < WIDTH; f++) {
    // Each sequence gives one step, so that values do not depend on each other.
    const byClass = [0, 1, 2].map((label) =>
      data.samples.filter((s) => s.label === label).map(({ values }) => values[10 * WIDTH + f])
    );
    for (const power of [1, 2, 3]) {
      const [a, b, c] = byClass.map((values) => {
        const powers = values.map((v) => v ** power);
        const mean = powers.reduce((sum, v) => sum + v, 0) / powers.length;
        const square = powers.reduce((sum, v) => sum + (v - mean) ** 2, 0) / powers.length;
        return { mean, error: square / powers.length };
      });
      for (const [one, other] of [[a, b], [b, c], [a, c]]) {
        const deviation = Math.sqrt(one.error + other.error);
        assert(Math.abs(one.mean - other.mean) < 4 * deviation, `feature ${f}, power ${power}`);
      }
    }
  }
});

/**
 * How each feature leans at a scale: the mean cube of its changes over `lag` steps, after averaging
 * over `window` steps, which takes shorter waves out.
 */
function leanings({ values, steps }: SequenceSample, lag: number, window: number): number[] {
  return Array.from({ length: WIDTH }, (_, f) => {
    const smooth = Array.from({ length: steps - window + 1 }, (_, t) => {
      let sum = 0;
      for (let d = 0; d < window; d++) sum += values[(t + d) * WIDTH + f];
      return sum / window;
    });
    let cubes = 0;
    for (let t = 0; t + lag < smooth.length; t++) cubes += (smooth[t + lag] - smooth[t]) ** 3;
    return cubes / (smooth.length - lag);
  });
}

/** Solves A X = B by elimination. */
function solve(a: number[][], b: number[][]): number[][] {
  const rows = a.map((row, i) => [...row, ...b[i]]);
  const n = a.length;
  for (let k = 0; k < n; k++) {
    const pivot = rows.slice(k).reduce(
      (best, row, i) => Math.abs(row[k]) > Math.abs(rows[best][k]) ? k + i : best,
      k,
    );
    [rows[k], rows[pivot]] = [rows[pivot], rows[k]];
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = rows[i][k] / rows[k][k];
      rows[i] = rows[i].map((value, j) => value - factor * rows[k][j]);
    }
  }
  return rows.map((row, k) => row.slice(n).map((value) => value / row[k]));
}

/** Accuracy on the second half of a linear classifier that least squares fit on the first. */
function accuracyOf(inputs: readonly number[][]): number {
  const scale = inputs[0].map((_, j) =>
    Math.sqrt(inputs.reduce((sum, x) => sum + x[j] ** 2, 0) / inputs.length)
  );
  const rows = inputs.map((x) => [1, ...x.map((value, j) => value / scale[j])]);
  const half = rows.length / 2, n = rows[0].length;
  const known = rows.slice(0, half);
  const products = Array.from(
    { length: n },
    (_, i) =>
      Array.from(
        { length: n },
        (_, j) => known.reduce((sum, row) => sum + row[i] * row[j], i === j ? 1e-3 * half : 0),
      ),
  );
  const sums = Array.from(
    { length: n },
    (_, i) =>
      [0, 1, 2].map((label) =>
        known.reduce((sum, row, r) => sum + (r % 3 === label ? row[i] : 0), 0)
      ),
  );
  const weights = solve(products, sums);
  const right = rows.slice(half).filter((row, r) => {
    const scores = [0, 1, 2].map((c) => row.reduce((sum, v, i) => sum + v * weights[i][c], 0));
    return scores.indexOf(Math.max(...scores)) === r % 3;
  });
  return right.length / (rows.length - half);
}

Deno.test("simulated sequences: one time scale is right for two thirds, all together tell", () => {
  const scales = { short: [1, 1], medium: [4, 5], long: [12, 16] } as const;
  const names = Object.keys(scales) as (keyof typeof scales)[];
  const measured = (samples: readonly SequenceSample[]) =>
    samples.map((sample) =>
      names.flatMap((name) => leanings(sample, scales[name][0], scales[name][1]))
    );
  const together = accuracyOf(measured(data.samples));
  assert(together > 0.95, `${together}`);
  // Two thirds, give or take four standard deviations of the share of 600 sequences.
  const most = 2 / 3 + 4 * Math.sqrt(2 / 9 / 600);
  for (const name of names) {
    const alone = simulateSequences(randomKey(42), { count: 1200, scales: [name] });
    const accuracy = accuracyOf(measured(alone.samples));
    assert(accuracy < most, `${name}: ${accuracy}`);
    assert(accuracy > 0.5, `${name}: ${accuracy}`);
  }
});
