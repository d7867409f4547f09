import { assertEquals, assertThrows } from "@std/assert";
import { lastRows, pack, packed, type Packing } from "../src/core/packing.ts";
import { normal, permutation, randomKey, uniform } from "../src/core/random.ts";
import { type HostTensor, tensor } from "../src/core/tensor.ts";
import { type Traced, traced } from "../src/graph/graph.ts";
import { add } from "../src/ops/binary.ts";
import { grad } from "../src/ops/gradient.ts";
import { mul } from "../src/ops/binary.ts";
import { sum } from "../src/ops/sum.ts";
import { take } from "../src/ops/take.ts";
import { ravel, unravel } from "../src/ops/view.ts";
import { compile, run } from "../src/plan/compile.ts";
import { put, read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import { assertClose } from "./reference/compare.ts";
import { embeddingSum, embeddingSumBackward } from "./reference/embedding.ts";
import { readGolden } from "./reference/golden.ts";

const random = (seed: number, n: number): Float32Array =>
  Float32Array.from(normal(randomKey(seed), n));
const below = (seed: number, n: number, most: number): Uint32Array =>
  Uint32Array.from(uniform(randomKey(seed), n), (u) => Math.floor(u * most));
const f64 = (values: ArrayLike<number>): Float64Array => Float64Array.from(values);

/** `take` and the gradient of its table for the cotangent dy. */
function both(table: Traced, indices: Traced, dy: Traced): { y: Traced; dtable: Traced } {
  const y = take(table, indices) as Traced;
  const [dtable] = y.node.operation.vjp!(y.node, [dy]);
  return { y, dtable: dtable! };
}

function check(
  out: { readonly y: HostTensor; readonly dtable: HostTensor },
  table: HostTensor,
  index: ArrayLike<number>,
  dy: HostTensor,
): void {
  const E = table.shape[1];
  const lookups = [{ table: f64(table.data), index }];
  assertEquals(out.y.shape, [index.length, E]);
  assertEquals(out.y.data, Float32Array.from(embeddingSum(lookups, E)));
  const [expected] = embeddingSumBackward(lookups, E, f64(dy.data));
  assertEquals(out.dtable.shape, table.shape);
  assertClose(out.dtable.data, expected, 1e-6, "dtable");
}

for (
  const [V, E, n] of [
    [1, 1, 1],
    [1, 3, 70],
    [2, 1, 1000],
    [7, 32, 440],
    [24, 33, 131],
    [96, 128, 65],
    [46, 130, 9],
    [1187, 32, 440],
    [200_000, 33, 300],
  ]
) {
  deviceTest(`take ${n} rows of [${V},${E}] and the table's gradient`, async (device) => {
    const table = tensor(random(1, V * E), [V, E]);
    const index = below(2, n, V);
    index[n - 1] = V - 1;
    if (n > 4) index.fill(index[0], 0, 4);
    const dy = tensor(random(3, n * E), [n, E]);
    const f = compile(device, both as never) as (...args: HostTensor[]) => never;
    check(await read(f(table, tensor(index), dy)), table, index, dy);
    // The same plan again, all of one row: what the first call left in the gradient must go.
    const same = new Uint32Array(n).fill(V >> 1);
    check(await read(f(table, tensor(same), dy)), table, same, dy);
  });
}

deviceTest("take sums 140,000 rows of one segment: more than a loop may turn", async (device) => {
  const n = 140_000;
  const dy = new Float32Array(n).map((_, i) => i % 3 === 0 ? 2 : 0.5);
  const out = await read(
    (run(device, both as never) as (...args: HostTensor[]) => never)(
      tensor(random(1, 3), [3, 1]),
      tensor(new Int32Array(n).fill(1)),
      tensor(dy, [n, 1]),
    ),
  ) as { dtable: HostTensor };
  assertEquals([...out.dtable.data], [0, dy.reduce((s, value) => s + value, 0), 0]);
});

deviceTest("take has a segment for each of 70,000 rows", async (device) => {
  const n = 70_000;
  const index = permutation(randomKey(1), n);
  const dy = random(2, n);
  const table = tensor(random(3, n), [n, 1]);
  const f = run(device, both as never) as (...args: HostTensor[]) => never;
  check(await read(f(table, tensor(index), tensor(dy, [n, 1]))), table, index, tensor(dy, [n, 1]));
});

deviceTest("take of packed indices ignores what lies past their rows", async (device) => {
  const V = 11, E = 5;
  const f = compile(device, both as never) as (...args: HostTensor[]) => never;
  const give = (packing: Packing, index: Uint32Array, dy: Float32Array): never =>
    f(table, packed(packing, index), packed(packing, dy, [E]));
  const table = tensor(random(1, V * E), [V, E]);
  const long = pack([40, 30, 30]), short = pack([2, 1, 4]);
  give(long, below(2, 100, V), new Float32Array(100 * E).fill(NaN));
  const index = below(3, 7, V), dy = random(4, 7 * E);
  const out = await read(give(short, index, dy));
  check(out, table, index, tensor(dy, [7, E]));
});

deviceTest("take gathers the last steps of a packed tensor", async (device) => {
  const H = 33;
  const f = compile(device, both as never) as (...args: HostTensor[]) => never;
  const long = pack([40, 30, 30]), short = pack([2, 1, 4]);
  const give = (packing: Packing, x: Float32Array, dy: Float32Array): never =>
    f(packed(packing, x, [H]), tensor(lastRows(packing)), tensor(dy, [3, H]));
  give(long, new Float32Array(100 * H).fill(NaN), new Float32Array(3 * H).fill(NaN));
  const x = random(1, 7 * H), dy = random(2, 3 * H);
  const out = await read(give(short, x, dy));
  check(out, tensor(x, [7, H]), lastRows(short), tensor(dy, [3, H]));
});

deviceTest(
  "take reads the last row for indices past the table, with no gradient",
  async (device) => {
    const out = await read(
      (run(device, both as never) as (...args: HostTensor[]) => never)(
        tensor([1, 2, 3], [3, 1]),
        tensor(Uint32Array.of(7, 3, 0, 2)),
        tensor([10, 20, 30, 40], [4, 1]),
      ),
    ) as { y: HostTensor; dtable: HostTensor };
    assertEquals([...out.y.data], [3, 3, 1, 3]);
    assertEquals([...out.dtable.data], [30, 0, 40]);
  },
);

deviceTest("a sum of three lookups agrees with PyTorch, gradients in one slab", async (device) => {
  const golden = (await readGolden("ops")).under("embedding");
  const names = [0, 1, 2];
  const tables = put(device, names.map((k) => golden.get(`table${k}`)));
  const indices = names.map((k) => golden.get(`index${k}`));
  const lookups = (tables: readonly Traced[], indices: readonly Traced[]): Traced =>
    tables.map((table, k) => take(table, indices[k])).reduce(add) as Traced;
  const out = await read(
    (run(
      device,
      ((tables: readonly Traced[], indices: readonly Traced[], dy: Traced) => ({
        y: lookups(tables, indices),
        grads: unravel(
          ravel(grad((t: readonly Traced[]) => sum(mul(lookups(t, indices), dy)))(tables)),
          tables,
        ),
      })) as never,
    ) as (...args: unknown[]) => { y: HostTensor; grads: HostTensor[] })(
      tables,
      indices,
      golden.get("dy"),
    ),
  );
  assertClose(out.y.data, golden.f64("y"), 1e-6, "y");
  names.forEach((k) =>
    assertClose(out.grads[k].data, golden.f64(`dtable${k}`), 1e-6, `dtable${k}`)
  );
});

Deno.test("take says what does not fit", () => {
  const table = tensor([1, 2, 3, 4], [2, 2]);
  assertThrows(() => take(table, tensor([0])), TypeError, "u32[n] or i32[n]");
  assertThrows(() => take(table, tensor(Uint32Array.of(0), [1, 1])), TypeError, "[1,1]");
  assertThrows(() => take(tensor([1]), tensor(Uint32Array.of(0))), TypeError, "f32[V,E]");
  assertThrows(() => take(tensor([], [0, 3]), tensor(Uint32Array.of(0))), TypeError, "[0,3]");
  assertThrows(
    () => take(table, traced(tensor(Int32Array.of(1, -1)), "test")),
    RangeError,
    "row -1 (position 1) of a table of 2 rows",
  );
});
