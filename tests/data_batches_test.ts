import { assertEquals, assertThrows } from "@std/assert";
import { randomKey } from "../src/core/random.ts";
import { batches } from "../src/data/batches.ts";

const items = Array.from({ length: 23 }, (_, i) => i);

Deno.test("batches: without a key the order is kept and the last batch is short", () => {
  const cut = [...batches(items, { batchSize: 10 })];
  assertEquals(cut.map((batch) => batch.length), [10, 10, 3]);
  assertEquals(cut.flat(), items);
});

Deno.test("batches: dropLast leaves the short batch out, and nothing when all are full", () => {
  assertEquals([...batches(items, { batchSize: 10, dropLast: true })].flat(), items.slice(0, 20));
  assertEquals([...batches(items, { batchSize: 23, dropLast: true })].flat(), items);
  assertEquals([...batches(items, { batchSize: 24, dropLast: true })], []);
  assertEquals([...batches([], { batchSize: 2 })], []);
});

Deno.test("batches: a key shuffles, each sample once, the same key alike", () => {
  const options = { batchSize: 4, key: randomKey(1) };
  const first = [...batches(items, options)];
  assertEquals(first.map((batch) => batch.length), [4, 4, 4, 4, 4, 3]);
  assertEquals(first.flat().sort((a, b) => a - b), items);
  assertEquals([...batches(items, options)], first);
  const other = [...batches(items, { batchSize: 4, key: randomKey(2) })];
  assertEquals(other.flat().join() === first.flat().join(), false);
  assertEquals(first.flat().join() === items.join(), false);
  assertEquals(items, Array.from({ length: 23 }, (_, i) => i));
});

Deno.test("batches: a batch holds a whole number of samples", () => {
  for (const batchSize of [0, -1, 1.5, NaN]) {
    assertThrows(() => [...batches(items, { batchSize })], RangeError);
  }
});
