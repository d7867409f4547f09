import { assertEquals, assertThrows } from "@std/assert";
import { pack, packed } from "../src/core/packing.ts";
import { normal, randomKey, uniform } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import { type Traced, traced } from "../src/graph/graph.ts";
import { crossEntropy, type CrossEntropyOptions } from "../src/ops/cross_entropy.ts";
import { rank } from "../src/ops/rank.ts";
import { softmax } from "../src/ops/softmax.ts";
import { compile, run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import { assertClose } from "./reference/compare.ts";
import * as oracle from "./reference/cross_entropy.ts";
import { readGolden } from "./reference/golden.ts";

const random = (seed: number, n: number, scale = 1): Float32Array =>
  Float32Array.from(normal(randomKey(seed), n), (value) => scale * value);
const below = (seed: number, n: number, most: number): Uint32Array =>
  Uint32Array.from(uniform(randomKey(seed), n), (u) => Math.floor(u * most));
const f64 = (values: ArrayLike<number>): Float64Array => Float64Array.from(values);

interface Results {
  readonly loss: HostTensor;
  readonly dlogits: HostTensor;
}

/** The loss and the gradient of the logits for the cotangent dy, as a function of tensors. */
const both = (options?: CrossEntropyOptions): (...args: readonly Tensor[]) => Results =>
  ((logits: Tensor, targets: Tensor, dy: Tensor) => {
    const loss = crossEntropy(logits, targets, options) as Traced;
    const [dlogits] = loss.node.operation.vjp!(loss.node, [dy as Traced]);
    return { loss, dlogits };
  }) as never;

const one = tensor([1], []);

for (
  const [B, V, scale] of [
    [1, 1, 1],
    [2, 2, 1],
    [7, 5, 3],
    [3, 63, 1],
    [3, 64, 10],
    [3, 65, 1],
    [32, 1187, 4],
    [2, 4096, 1],
    [2, 4097, 1],
    [300, 17, 1],
    [2, 100_000, 2],
  ]
) {
  deviceTest(`crossEntropy and softmax of [${B},${V}]`, async (device) => {
    const x = random(1, B * V, scale), targets = below(2, B, V);
    const logits = tensor(x, [B, V]);
    const dy = tensor([-2.5], []);
    const f = run(device, both());
    const out = await read(f(logits, tensor(targets), dy));
    const expected = oracle.crossEntropy(f64(x), targets);
    assertEquals(out.loss.shape, []);
    assertClose(out.loss.data, [expected.loss], 1e-5, "loss", 0.1);
    assertClose(out.dlogits.data, expected.dlogits.map((value) => -2.5 * value), 1e-5, "dx", 1e-2);
    // With class 0 ignored, targets signed.
    targets[B - 1] = 0;
    const g = run(device, both({ ignoreIndex: 0 }));
    const some = await read(g(logits, tensor(Int32Array.from(targets)), one));
    const counted = oracle.crossEntropy(f64(x), targets, 0);
    const none = targets.every((target) => target === 0);
    assertClose(some.loss.data, [none ? 0 : counted.loss], 1e-5, "loss, some ignored", 0.1);
    assertClose(some.dlogits.data, counted.dlogits, 1e-5, "dx, some ignored", 1e-2);
    assertEquals([...some.dlogits.data.slice((B - 1) * V)].every((value) => value === 0), true);

    const y = await read(run(device, softmax)(logits)) as HostTensor;
    // softmax = gradient + [v = target], of a batch of one.
    for (let b = 0; b < B; b++) {
      const row = oracle.crossEntropy(f64(x.subarray(b * V, (b + 1) * V)), [targets[b]]).dlogits;
      row[targets[b]] += 1;
      assertClose(y.data.subarray(b * V, (b + 1) * V), row, 2e-6, `softmax of row ${b}`);
    }
  });
}

deviceTest(
  "crossEntropy and softmax of 200,000 classes whose logits are log(v + 1)",
  async (device) => {
    const B = 3, V = 200_000, sum = V * (V + 1) / 2;
    const logits = tensor(
      new Float32Array(B * V).map((_, i) => Math.log(i % V + 1) + 100 * Math.floor(i / V)),
      [B, V],
    );
    const targets = Int32Array.of(0, V - 1, 77_777);
    const out = await read(run(device, both())(logits, tensor(targets), one));
    const losses = [...targets].map((target) => Math.log(sum) - Math.log(target + 1));
    assertClose(out.loss.data, [losses.reduce((a, b) => a + b) / B], 1e-5, "loss");
    const probability = new Float64Array(B * V).map((_, i) => (i % V + 1) / sum);
    const y = await read(run(device, softmax)(logits)) as HostTensor;
    assertClose(y.data, probability, 5e-5, "softmax");
    targets.forEach((target, b) => probability[b * V + target] -= 1);
    assertClose(out.dlogits.data, probability.map((value) => value / B), 1e-6, "dx");
    const without = probability.map((value) => Math.abs(value) > 0.5 ? 0 : value / B);
    const rest = f64(out.dlogits.data).map((value) => Math.abs(value) > 0.1 ? 0 : value);
    assertClose(rest, without, 5e-5, "dx of other classes");
  },
);

deviceTest("crossEntropy stays exact for logits of any size", async (device) => {
  const rows = [
    [1e4, -1e4, 1e4 - 1, 0],
    [-1e4, -1e4, -1e4, -1e4],
    [1e30, -1e30, 5, 1e29],
    [-1e30, -1e30, -1e30, -1e30],
    [2e38, -1e38, 0, 1],
    [1e-30, -1e-30, 0, 0],
  ];
  const f = run(device, both());
  for (const row of rows) {
    for (const target of [0, 1, 2, 3]) {
      const out = await read(f(tensor(row, [1, 4]), tensor(Int32Array.of(target)), one));
      // Shifted, which changes nothing, as -1e30 + log 4 is -1e30 in float64 as well.
      const given = f64(Float32Array.from(row)), top = Math.max(...given);
      const expected = oracle.crossEntropy(given.map((value) => value - top), [target]);
      assertClose(out.loss.data, [expected.loss], 1e-6, `loss of ${row} at ${target}`, 1);
      assertClose(out.dlogits.data, expected.dlogits, 2e-6, `dx of ${row} at ${target}`, 1);
    }
  }
  // A class that is masked out by -Infinity.
  const masked = [1, -Infinity, 2];
  const out = await read(f(tensor(masked, [1, 3]), tensor(Int32Array.of(0)), one));
  const expected = oracle.crossEntropy(f64(masked), [0]);
  assertClose(out.loss.data, [expected.loss], 1e-6, "masked loss");
  assertClose(out.dlogits.data, expected.dlogits, 1e-6, "masked dx");
});

deviceTest(
  "crossEntropy of logits with NaN is NaN, unless their row is ignored",
  async (device) => {
    for (const [V, at] of [[5, 3], [5, 0], [1187, 700], [5000, 4999]]) {
      const x = random(1, 2 * V);
      x[at] = NaN;
      const logits = tensor(x, [2, V]);
      const f = run(device, both({ ignoreIndex: 4 }));
      const out = await read(f(logits, tensor(Uint32Array.of(1, 2)), one));
      assertEquals(Number.isNaN(out.loss.data[0]), true, `V ${V} at ${at}`);
      const rest = await read(f(logits, tensor(Uint32Array.of(4, 2)), one));
      const expected = oracle.crossEntropy(f64(x.subarray(V)), [2]);
      assertClose(rest.loss.data, [expected.loss], 1e-5, "loss of the other row");
      assertClose(rest.dlogits.data.subarray(V), expected.dlogits, 1e-5, "its dx");
      assertEquals(rest.dlogits.data.subarray(0, V).every((value) => value === 0), true);
    }
  },
);

deviceTest("crossEntropy is 0, as its gradient, when every row is ignored", async (device) => {
  const f = run(device, both({ ignoreIndex: -100 }));
  const targets = tensor(Int32Array.of(-100, -100));
  const out = await read(f(tensor([1, 2, 3, 4], [2, 2]), targets, one));
  assertEquals([...out.loss.data, ...out.dlogits.data], [0, 0, 0, 0, 0]);
});

deviceTest(
  "crossEntropy, softmax and rank of packed rows ignore what lies past",
  async (device) => {
    const V = 37;
    const f = compile(device, (logits: Tensor, targets: Tensor, dy: Tensor) => ({
      ...both({ ignoreIndex: 3 })(logits, targets, dy),
      y: softmax(logits),
      ...rank(logits, targets),
    }));
    const long = pack([40, 30, 30]), short = pack([2, 1, 4]);
    const wrong = new Float32Array(100 * V).fill(NaN);
    f(packed(long, wrong, [V]), packed(long, below(2, 100, V)), one);
    const x = random(1, 7 * V), targets = below(2, 7, V);
    targets[2] = 3;
    const out = await read(f(packed(short, x, [V]), packed(short, targets), one));
    const expected = oracle.crossEntropy(f64(x), targets, 3);
    assertClose(out.loss.data, [expected.loss], 1e-5, "loss");
    assertEquals(out.dlogits.shape, [7, V]);
    assertClose(out.dlogits.data, expected.dlogits, 1e-5, "dx");
    assertEquals((out.y as HostTensor).shape, [7, V]);
    const sums = Array.from(
      { length: 7 },
      (_, b) =>
        f64((out.y as HostTensor).data).subarray(b * V, (b + 1) * V).reduce((s, p) => s + p),
    );
    assertClose(sums, new Array(7).fill(1), 1e-6, "sums of probabilities");
    assertEquals([...(out.ranks as HostTensor).data], rankings(x, targets).ranks);
  },
);

deviceTest("crossEntropy takes more rows than one dimension of a dispatch has", async (device) => {
  const B = 70_000, V = 3;
  const x = random(1, B * V), targets = below(2, B, V);
  const out = await read(run(device, both())(tensor(x, [B, V]), tensor(targets), one));
  const expected = oracle.crossEntropy(f64(x), targets);
  assertClose(out.loss.data, [expected.loss], 1e-5, "loss");
  assertClose(out.dlogits.data, expected.dlogits, 1e-5, "dx");
  const { ranks, predictions } = await read(run(device, rank)(tensor(x, [B, V]), tensor(targets)));
  const order = rankings(x, targets);
  assertEquals([...(ranks as HostTensor).data], order.ranks);
  assertEquals([...(predictions as HostTensor).data], order.predictions);
});

deviceTest("crossEntropy agrees with PyTorch", async (device) => {
  const ops = await readGolden("ops");
  const names = new Set(ops.names.map((name) => name.split("/")[0]));
  for (const name of [...names].filter((name) => name.startsWith("cross_entropy"))) {
    const golden = ops.under(name);
    const f = run(device, both({ ignoreIndex: 0 }));
    const out = await read(f(golden.get("logits"), golden.get("target"), one));
    const loss = name === "cross_entropy_ignored" ? [0] : golden.f64("loss");
    assertClose(out.loss.data, loss, 1e-6, `${name} loss`, 0.1);
    assertClose(out.dlogits.data, golden.f64("dlogits"), 1e-5, `${name} dlogits`, 1e-2);
  }
});

/** Ranks and predictions by sorting classes: larger first, of equal ones the smaller number. */
function rankings(
  x: Float32Array,
  targets: ArrayLike<number>,
): { readonly ranks: number[]; readonly predictions: number[] } {
  const B = targets.length, V = x.length / B;
  const ranks: number[] = [], predictions: number[] = [];
  for (let b = 0; b < B; b++) {
    const row = x.subarray(b * V, (b + 1) * V);
    const value = (v: number): number => Number.isNaN(row[v]) ? -Infinity : row[v];
    const order = Array.from(row, (_, v) => v).sort((v, w) =>
      Number(Number.isNaN(row[v])) - Number(Number.isNaN(row[w])) ||
      (value(w) === value(v) ? v - w : value(w) > value(v) ? 1 : -1)
    );
    ranks.push(row.some(Number.isNaN) ? V : 1 + order.indexOf(targets[b]));
    predictions.push(order[0]);
  }
  return { ranks, predictions };
}

async function checkRanks(
  device: Parameters<typeof run>[0],
  x: Float32Array,
  targets: Uint32Array,
): Promise<void> {
  const logits = tensor(x, [targets.length, x.length / targets.length]);
  const out = await read(run(device, rank)(logits, tensor(targets)));
  const expected = rankings(x, targets);
  assertEquals(out.ranks.dtype, "u32");
  assertEquals([...(out.ranks as HostTensor).data], expected.ranks, "ranks");
  assertEquals([...(out.predictions as HostTensor).data], expected.predictions, "predictions");
}

for (const [B, V] of [[1, 1], [5, 2], [7, 63], [7, 65], [32, 1187], [3, 4097], [2, 200_000]]) {
  deviceTest(`rank of [${B},${V}]`, async (device) => {
    await checkRanks(device, random(1, B * V), below(2, B, V));
    // Few different values: most logits are tied.
    const tied = Float32Array.from(below(3, B * V, 4), (value) => value - 2);
    await checkRanks(device, tied, below(4, B, V));
  });
}

deviceTest("rank orders ties, zeros, infinities and NaN", async (device) => {
  const rows: readonly (readonly [readonly number[], rank: number, prediction: number])[] = [
    [[0, -0, 0, -0], 3, 0],
    [[-0, 0, -0, 0], 3, 0],
    [[1, 1, 1, 1], 3, 0],
    [[-1, -2, -0.5, Infinity], 2, 3],
    [[-Infinity, -Infinity, -Infinity, -Infinity], 3, 0],
    [[1e-40, 0, -1e-40, 2e-40], 4, 3],
    [[3, NaN, 9, 1], 4, 2],
    [[NaN, -1, NaN, -5], 4, 1],
    [[NaN, NaN, NaN, NaN], 4, 0],
  ];
  const x = Float32Array.from(rows.flatMap(([row]) => row));
  const targets = new Uint32Array(rows.length).fill(2);
  const out = await read(run(device, rank)(tensor(x, [rows.length, 4]), tensor(targets)));
  assertEquals([...(out.ranks as HostTensor).data], rows.map(([, place]) => place));
  assertEquals([...(out.predictions as HostTensor).data], rows.map(([, , first]) => first));
});

Deno.test("crossEntropy, softmax and rank say what does not fit", () => {
  const logits = traced(tensor([1, 2, 3, 4], [2, 2]), "test");
  const targets = tensor(Uint32Array.of(0, 1));
  assertThrows(() => crossEntropy(logits, tensor([0, 1])), TypeError, "targets f32[2]");
  assertThrows(() => crossEntropy(logits, tensor(Uint32Array.of(0))), TypeError, "targets u32[1]");
  assertThrows(() => crossEntropy(targets, targets), TypeError, "logits u32[2]");
  assertThrows(
    () => crossEntropy(logits, targets, { ignoreIndex: 0.5 }),
    RangeError,
    "Cannot ignore the target 0.5",
  );
  assertThrows(() => rank(logits, tensor(Uint32Array.of(0))), TypeError, "Cannot rank");
  assertThrows(() => softmax(targets), TypeError, "u32[2]");
  const y = softmax(logits) as Traced;
  assertThrows(() => y.node.operation.vjp!(y.node, [y]), TypeError, "crossEntropy");
});
