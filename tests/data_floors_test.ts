import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { mostVisited } from "../src/data/floors.ts";
import { readSplits } from "../src/data/read_samples.ts";
import type { Sample } from "../src/data/samples.ts";

const geolife = fileURLToPath(new URL("../../shared/data/geolife", import.meta.url));

function sample(user: number, Y?: number): Sample {
  const one = Int32Array.of(1);
  const user_X = Int32Array.of(user);
  const dur_X = Float64Array.of(30);
  return { X: one, user_X, weekday_X: one, start_min_X: one, dur_X, diff: one, Y };
}

Deno.test("most visited: own places by count, then everybody's, then by id", () => {
  // Person 1: 5 twice, 3 and 9 once. Person 2: 7 three times, 3 once. Overall: 7, then 3 and 5, then 9.
  const train = [[1, 9], [1, 5], [1, 5], [1, 3], [2, 7], [2, 7], [2, 7], [2, 3]]
    .map(([user, Y]) => sample(user, Y));
  const asked = [[1, 5], [1, 3], [1, 9], [1, 7], [1, 1], [1, 4], [2, 5], [2, 9], [8, 7], [8, 5], [
    8,
    8,
  ]];
  const { targets, predictions, ranks } = mostVisited(train, asked.map(([u, Y]) => sample(u, Y)));
  assertEquals([...targets], asked.map(([, Y]) => Y));
  assertEquals([...predictions], [5, 5, 5, 5, 5, 5, 7, 7, 7, 7, 7]);
  // Never targets: ids 1, 2, 4, 6, 8 are ranked 5 to 9.
  assertEquals([...ranks], [1, 2, 3, 4, 5, 7, 3, 4, 1, 3, 9]);
});

Deno.test("most visited: needs targets and something to count", () => {
  assertThrows(() => mostVisited([], []), RangeError);
  assertThrows(() => mostVisited([sample(1)], []), TypeError);
  assertThrows(() => mostVisited([sample(1, 2)], [sample(1)]), TypeError);
  assertEquals(mostVisited([sample(1, 2)], []).ranks.length, 0);
});

const present = existsSync(geolife);
Deno.test({
  name: `most visited: 23.44% of GeoLife's test targets${
    present ? "" : " (skipped: ../shared/data/geolife is not there)"
  }`,
  ignore: !present,
  fn: async () => {
    const { train, test } = await readSplits(geolife, ["train", "test"]);
    const { predictions, ranks, targets } = mostVisited(train, test);
    const share = ranks.filter((rank) => rank === 1).length / test.length;
    assertAlmostEquals(100 * share, 23.44, 0.005);
    ranks.forEach((rank, i) => assertEquals(rank === 1, predictions[i] === targets[i]));
  },
});
