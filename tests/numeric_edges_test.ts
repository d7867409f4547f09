import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { pack, packed } from "../src/core/packing.ts";
import { randomKey } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import type { Tree } from "../src/core/tree.ts";
import type { Device } from "../src/gpu/device.ts";
import type { Traced } from "../src/graph/graph.ts";
import { nextLocation } from "../src/models/next_location.ts";
import { batchNorm } from "../src/ops/batch_norm.ts";
import { add, mul, sub } from "../src/ops/binary.ts";
import { crossEntropy } from "../src/ops/cross_entropy.ts";
import { dropout } from "../src/ops/dropout.ts";
import { globalNorm } from "../src/ops/global_norm.ts";
import { layerNorm } from "../src/ops/layer_norm.ts";
import { linear } from "../src/ops/linear.ts";
import { lstm, type LstmParams } from "../src/ops/lstm.ts";
import { rank } from "../src/ops/rank.ts";
import { scale } from "../src/ops/scale.ts";
import { softmax } from "../src/ops/softmax.ts";
import { mean, sum } from "../src/ops/sum.ts";
import { take } from "../src/ops/take.ts";
import { relu, sigmoid, tanh } from "../src/ops/unary.ts";
import { adam } from "../src/optim/adam.ts";
import { clipByGlobalNorm } from "../src/optim/clip.ts";
import type { Optimizer } from "../src/optim/optimizer.ts";
import { sgd } from "../src/optim/sgd.ts";
import { compile } from "../src/plan/compile.ts";
import { dispose, put, read } from "../src/plan/device_tensor.ts";
import { defaultConfig } from "../src/train/config.ts";
import { deviceTest } from "./adapter.ts";
import { packRows, readGolden } from "./reference/golden.ts";

const edges = await readGolden("edges");
const golden = (name: string): (key: string) => HostTensor => edges.under(name).get;

/** The golden cases whose names begin so. */
function casesOf(prefix: string): readonly string[] {
  const names = edges.names.map((name) => name.split("/")[0]);
  return [...new Set(names)].filter((name) => name.startsWith(prefix));
}

/** The smallest float32 that is not denormal: adapters may take smaller ones for zero. */
const NORMAL = 2 ** -126;

/**
 * Asserts that each number is the expected one, within a part of its own size: NaN for NaN, infinite
 * for infinite, and zero or denormal for denormal.
 *
 * @param floor Counts as the size of smaller numbers: those that are zero but for rounding.
 */
function assertSame(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  what: string,
  floor = 0,
): void {
  const tolerance = 1e-5;
  assertEquals(actual.length, expected.length, what);
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i], e = expected[i];
    const allowed = Math.max(2 * NORMAL, tolerance * Math.max(Math.abs(e), floor));
    const same = Number.isFinite(e) ? Math.abs(a - e) <= allowed : Object.is(a, e);
    assert(same, `${what}: ${a} instead of ${e} at ${i}`);
  }
}

/** The gradients of y's inputs for the cotangent dy. */
function pull(y: Tensor, dy: Tensor): readonly Tensor[] {
  const { node } = y as Traced;
  return node.operation.vjp!(node, [dy as Traced]) as readonly Tensor[];
}

type Results = Readonly<Record<string, HostTensor>>;

/** A compiled function of any arguments, whose results are read. */
function compiled(
  device: Device,
  fn: (...args: never[]) => unknown,
): ((...args: readonly unknown[]) => Promise<Results>) & Disposable {
  const made = compile(device, fn as (...args: unknown[]) => Results);
  return Object.assign(async (...args: readonly unknown[]) => await read(made(...args)), {
    [Symbol.dispose]: () => made[Symbol.dispose](),
  });
}

// Places of the four logits in rows that one workgroup and that several share.
for (const places of [[0, 1, 2, 3], [1, 1024, 2050, 4099]]) {
  const V = places[3] + 1;
  deviceTest(
    `crossEntropy and softmax of huge, equal and infinite logits, ${V}`,
    async (device) => {
      using f = compiled(device, (logits: Tensor, target: Tensor, dy: Tensor) => {
        const loss = crossEntropy(logits, target);
        return { loss, dlogits: pull(loss, dy)[0], softmax: softmax(logits) };
      });
      const get = golden("cross_entropy");
      for (const [i, target] of get("target").data.entries()) {
        const row = (name: string): ArrayLike<number> => get(name).data.subarray(4 * i, 4 * i + 4);
        // Between them is what counts for nothing.
        const x = new Float32Array(V).fill(-Infinity);
        places.forEach((v, j) => x[v] = row("logits")[j]);
        const label = tensor(Uint32Array.of(places[target]));
        const out = await f(tensor(x, [1, V]), label, tensor([1], []));
        const what = `of ${Array.from(row("logits"))} at ${target}`;
        const at = ({ data }: HostTensor): number[] => places.map((v) => data[v]);
        assertSame(out.loss.data, [get("loss").data[i]], `loss ${what}`);
        assertSame(at(out.dlogits), row("dlogits"), `dlogits ${what}`, 0.1);
        assertSame(at(out.softmax), row("softmax"), `softmax ${what}`, 0.1);
      }
    },
  );
}

/** Where PyTorch's float32 answer is not followed: what is given instead. */
const DIFFERENT: Readonly<Record<string, "beta" | "nan">> = {
  // PyTorch: NaN.
  layer_norm_equal_large: "beta",
  layer_norm_huge: "beta",
  // PyTorch: 7.5e24 from rounding the mean.
  batch_norm_equal_large: "beta",
  // PyTorch: beta.
  batch_norm_largest: "nan",
};

for (const kind of ["layer_norm", "batch_norm"] as const) {
  deviceTest(`${kind} of equal, tiny, huge, infinite and NaN values`, async (device) => {
    using f = compiled(device, (x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor) => {
      const before = { mean: tensor([0]), variance: tensor([1]) };
      const { y, running = {} } = kind === "layer_norm"
        ? { y: layerNorm(x, gamma, beta) }
        : batchNorm(x, gamma, beta, before, { training: true });
      const [dx, dgamma, dbeta] = pull(y, dy);
      return { y, dx, dgamma, dbeta, ...running };
    });
    const names = casesOf(`${kind}_`).filter((name) => name !== "batch_norm_evaluation");
    assertEquals(names.length, 11);
    for (const name of names) {
      const get = golden(name);
      const out = await f(...["x", "gamma", "beta", "dy"].map(get));
      const different = DIFFERENT[name];
      if (different === undefined) {
        for (const key of ["y", "dx", "dbeta"]) {
          assertSame(out[key].data, get(key).data, `${name} ${key}`);
        }
        // PyTorch's mean of equal values is rounded.
        assertSame(
          out.dgamma.data,
          get("dgamma").data,
          `${name} dgamma`,
          name.endsWith("equal") ? 1 : 0,
        );
        if (kind === "batch_norm") {
          assertSame(out.mean.data, get("running_mean_after").data, `${name} mean`);
          assertSame(out.variance.data, get("running_var_after").data, `${name} variance`);
        }
      } else if (different === "nan") {
        for (const key of ["y", "dx", "dgamma"]) {
          assert(out[key].data.every(Number.isNaN), `${name} ${key}`);
        }
      } else {
        const beta = get("beta").data;
        assertSame(out.y.data, Array.from(out.y.data, (_, i) => beta[i % beta.length]), name);
        assertSame(out.dgamma.data, Array.from(beta, () => 0), `${name} dgamma`);
        assert(out.dx.data.every(Number.isFinite), `${name} dx`);
        if (name.endsWith("huge")) assert(out.dx.data.every((value) => value === 0));
      }
    }
  });
}

deviceTest("batchNorm of one row is fine in evaluation, an error in training", async (device) => {
  const norm = (training: boolean) =>
  (
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    variance: Tensor,
    dy: Tensor,
  ): unknown => {
    const { y } = batchNorm(x, gamma, beta, { mean, variance }, { training });
    const [dx, dgamma, dbeta] = pull(y, dy);
    return { y, dx, dgamma, dbeta };
  };
  const get = golden("batch_norm_evaluation");
  const [x, gamma, beta, mean, variance, dy] = //
    ["x", "gamma", "beta", "running_mean", "running_var", "dy"].map(get);
  using evaluate = compiled(device, norm(false));
  const out = await evaluate(x, gamma, beta, mean, variance, dy);
  for (const key of ["y", "dx", "dgamma", "dbeta"]) assertSame(out[key].data, get(key).data, key);

  using train = compiled(device, norm(true));
  const message = "Cannot batch-normalize [1,8] in training: give at least two rows";
  await assertRejects(() => train(x, gamma, beta, mean, variance, dy), RangeError, message);
  // Packed rows are counted when the function runs; the function stays as good as it was.
  const rows = (lengths: number[]): HostTensor => {
    const packing = pack(lengths);
    const N = packing.offsets[packing.batchSizes.length];
    return packed(packing, Float32Array.from({ length: 8 * N }, (_, i) => Math.sin(i)), [8]);
  };
  const two = rows([2]), one = rows([1]);
  const before = await train(two, gamma, beta, beta, gamma, two);
  await assertRejects(
    () => train(one, gamma, beta, beta, gamma, one),
    RangeError,
    "Cannot compute batch_norm over 1 rows: it takes at least 2",
  );
  assertEquals(await train(two, gamma, beta, beta, gamma, two), before);
  const alone = await evaluate(one, gamma, beta, beta, gamma, one);
  assertEquals(alone.y.shape, [1, 8]);
});

deviceTest(
  "lstm over sequences of one step, and of huge, infinite and NaN values",
  async (device) => {
    using layer = compiled(device, (x: Tensor, p: LstmParams, dy: Tensor) => {
      const y = lstm(x, p).output as Traced;
      const [dxw, dWeightHh, dBiasHh] = pull(y, dy);
      const [dx, dWeightIh, dBiasIh] = pull(y.node.inputs[0], dxw);
      return { y, dx, dWeightIh, dWeightHh, dBiasIh, dBiasHh };
    });
    const weights = { WeightIh: "weight_ih_l0", WeightHh: "weight_hh_l0" };
    const biases = { BiasIh: "bias_ih_l0", BiasHh: "bias_hh_l0" };
    const names = casesOf("lstm_");
    assertEquals(names.length, 6);
    for (const name of names) {
      const get = golden(name);
      const packing = pack(get("lengths").data);
      const rows = (key: string): HostTensor => {
        const { data, shape: [, width] } = packRows(get(key), packing);
        return packed(packing, data, [width]);
      };
      const params = {
        weightIh: get("weight_ih_l0"),
        weightHh: get("weight_hh_l0"),
        biasIh: get("bias_ih_l0"),
        biasHh: get("bias_hh_l0"),
      };
      const out = await layer(rows("x"), params, rows("dy"));
      assertSame(out.y.data, rows("y").data, `${name} y`, 0.01);
      assertSame(out.dx.data, rows("grad/x").data, `${name} dx`, 0.1);
      for (const [key, theirs] of Object.entries({ ...weights, ...biases })) {
        assertSame(out[`d${key}`].data, get(`grad/${theirs}`).data, `${name} d${key}`, 0.1);
      }
    }
  },
);

for (const [name, f] of Object.entries({ relu, sigmoid, tanh })) {
  deviceTest(`${name} of huge, tiny, infinite and NaN values`, async (device) => {
    const get = golden(name);
    using both = compiled(device, (x: Tensor, dy: Tensor) => {
      const y = f(x);
      return { y, dx: pull(y, dy)[0] };
    });
    const out = await both(get("x"), get("dy"));
    assertSame(out.y.data, get("y").data, "y");
    assertSame(out.dx.data, get("dx").data, "dx", 0.1);
  });
}

deviceTest("sums, products and dropout keep NaN and infinity", async (device) => {
  const x = tensor([1, NaN, Infinity, 3e38, -Infinity, 1e-30]);
  const y = tensor([NaN, 2, -Infinity, 3e38, 0, 1e-30]);
  using f = compiled(device, (x: Tensor, y: Tensor, large: Tensor, key: Tensor) => ({
    add: add(x, y),
    sub: sub(x, y),
    mul: mul(x, y),
    scale: scale(x, tensor([10], [])),
    sum: sum(x),
    mean: mean(large),
    dropout: dropout(tensor(new Float32Array(64).fill(NaN)), 0.5, key),
    taken: take(tensor([1, NaN, 3, 4], [2, 2]), tensor(Uint32Array.of(1, 0))),
  }));
  // PyTorch's float32 mean overflows as well.
  const out = await f(x, y, tensor([3e38, 3e38, 0, 0]), randomKey(1));
  const each = (g: (a: number, b: number) => number): Float32Array =>
    Float32Array.from(x.data, (a, i) => g(a, y.data[i]));
  assertSame(out.add.data, each((a, b) => a + b), "add");
  assertSame(out.sub.data, each((a, b) => a - b), "sub");
  assertSame(out.mul.data, each((a, b) => a * b), "mul");
  assertSame(out.scale.data, each((a) => 10 * a), "scale");
  assertSame(out.sum.data, [NaN], "sum");
  assertSame(out.mean.data, [Infinity], "mean");
  assert(out.dropout.data.every(Number.isNaN), "dropout");
  assertSame(out.taken.data, [3, 4, 1, NaN], "taken");
});

deviceTest("linear and layerNorm keep a NaN to its row and its column", async (device) => {
  const [M, K, N] = [9, 7, 5];
  const values = (size: number): Float32Array =>
    Float32Array.from({ length: size }, (_, i) => Math.cos(i));
  const x = values(M * K);
  x[3 * K + 2] = NaN;
  using f = compiled(device, (x: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) => {
    const y = linear(x, weight, bias);
    const [dx, dWeight, dBias] = pull(y, dy);
    const z = layerNorm(x, tensor(new Float32Array(K).fill(1)), tensor(new Float32Array(K)));
    return { y, dx, dWeight, dBias, z };
  });
  const weight = tensor(values(N * K), [N, K]), dy = tensor(values(M * N), [M, N]);
  const out = await f(tensor(x, [M, K]), weight, tensor(values(N)), dy);
  const where = ({ data }: HostTensor): number[] =>
    Array.from(data.keys()).filter((i) => Number.isNaN(data[i]));
  const rowOf = (width: number): number[] => Array.from({ length: width }, (_, i) => 3 * width + i);
  assertEquals(where(out.y), rowOf(N));
  assertEquals(where(out.dWeight), Array.from({ length: N }, (_, n) => n * K + 2));
  assertEquals([where(out.dx), where(out.dBias)], [[], []]);
  assertEquals(where(out.z), rowOf(K));
});

deviceTest("clipping gradients that are tiny, huge, infinite and NaN", async (device) => {
  const maxNorm = Number(JSON.parse(edges.metadata.max_norm));
  const clipping = (most: number) => (grads: Tree): unknown => {
    const clip = clipByGlobalNorm(most);
    return { norm: globalNorm(grads), clipped: clip.update(grads, clip.init(grads), grads)[0] };
  };
  using clip = compiled(device, clipping(maxNorm));
  const names = casesOf("clip_");
  assertEquals(names.length, 7);
  for (const name of names) {
    const get = golden(name);
    const out = await clip(get("grads"));
    if (name === "clip_huge") {
      // PyTorch's norm overflows, and it makes all gradients zero.
      const norm = Math.sqrt(5) * 1e20;
      assertSame(out.norm.data, [norm], name);
      const expected = [1e20, -2e20, 0, 1].map((value) => value * maxNorm / norm);
      assertSame(out.clipped.data, expected, name);
      continue;
    }
    assertSame(out.norm.data, get("norm").data, `${name} norm`);
    assertSame(out.clipped.data, get("clipped").data, `${name} clipped`);
  }
  // Numbers that have more digits than a 64-bit integer.
  using wide = compiled(device, clipping(1e20));
  assertSame((await wide(tensor([3e20, 4e20]))).clipped.data, [6e19, 8e19], "maxNorm 1e20");
});

deviceTest("clipping in a step is that of PyTorch's for NaN and infinity", async (device) => {
  const [params, rate] = [tensor([1, -2]), tensor([0.25], [])];
  for (const optimizer of [adam({ maxNorm: 1 }), sgd({ maxNorm: 1 })] as Optimizer<Tree>[]) {
    using step = compiled(
      device,
      (grads: Tensor) => ({
        params: optimizer.step(grads, optimizer.init(params), params, rate)[0],
      }),
    );
    assertSame((await step(tensor([1, NaN]))).params.data, [NaN, NaN], "NaN");
    assertSame((await step(tensor([1, Infinity]))).params.data, [1, NaN], "infinite");
  }
});

const optimizers: Readonly<Record<string, Optimizer<Tree>>> = {
  adam: adam(),
  sgd: sgd({ momentum: 0.9 }),
};
for (const [kind, optimizer] of Object.entries(optimizers)) {
  deviceTest(`${kind} by tiny, huge, infinite and NaN gradients and rates`, async (device) => {
    using step = compile(
      device,
      (params: Tensor, state: Tree, grads: Tensor, rate: Tensor) =>
        optimizer.step(grads, state, params, rate),
    );
    const names = casesOf(`${kind}_`);
    assertEquals(names.length, 13);
    for (const name of names) {
      const get = golden(name);
      let params: Tensor = tensor([1, -2, 0.5, 3]);
      let state = optimizer.init(params);
      const after: number[] = [];
      for (let i = 0; i < 2; i++) {
        [params, state] = step(params, state, get("grads"), get("rate"));
        after.push(...(await read(params) as HostTensor).data);
      }
      const expected = get("after").data.slice();
      // The mean of squares is infinite: PyTorch's parameters never move again.
      if (name === "adam_gradient_largest") expected.fill(NaN, 4, 7);
      assertSame(after, expected, name);
    }
  });
}

/** Fills memory that is given out again with NaN. */
function spoil(device: Device): void {
  const sizes = Array.from({ length: 40 }, (_, i) => 8 << (i % 8));
  const spoiled = sizes.map((size) => put(device, { a: tensor(new Float32Array(size).fill(NaN)) }));
  for (const tree of spoiled) dispose(tree);
}

deviceTest("no rows give no rows, gradients of 0, or an error that says so", async (device) => {
  const H = 3, none = new Float32Array(0);
  const x = tensor(none, [0, H]), h = tensor([1, 2, 3]);
  const running = { mean: h, variance: h };
  const labels = tensor(new Uint32Array(0));
  spoil(device);
  using f = compiled(device, (x: Tensor, labels: Tensor) => {
    const evaluation = batchNorm(x, h, h, running, { training: false }).y;
    const [dx, dWeight, dBias] = pull(linear(x, tensor(new Float32Array(6), [2, H]), h2), dy);
    const [, dGamma] = pull(layerNorm(x, h, h), x);
    const [, dScale] = pull(evaluation, x);
    return {
      empty: [add(x, x), relu(x), linear(x, tensor(new Float32Array(6), [2, H])), evaluation, dx],
      more: [layerNorm(x, h, h), softmax(x), take(tensor([1, 2], [2, 1]), labels), rank(x, labels)],
      zero: [dWeight, dBias, dGamma, dScale],
    };
  });
  const h2 = tensor([1, 2]), dy = tensor(none, [0, 2]);
  const out = await f(x, labels) as unknown as Readonly<Record<string, readonly HostTensor[]>>;
  const { ranks, predictions } = out.more.at(-1) as unknown as Results;
  for (const { shape, data } of [...out.empty, ...out.more.slice(0, -1), ranks, predictions]) {
    assertEquals([shape[0], data.length], [0, 0]);
  }
  assertEquals(out.zero.map(({ data }) => [...data]), [
    [0, 0, 0, 0, 0, 0],
    [0, 0],
    [0, 0, 0],
    [0, 0, 0],
  ]);
});

Deno.test("what needs rows or elements says so", () => {
  const x = tensor(new Float32Array(0), [0, 3]), three = tensor([1, 1, 1]);
  const running = { mean: three, variance: three };
  assertThrows(
    () => crossEntropy(x, tensor(new Uint32Array(0))),
    TypeError,
    "Cannot take the cross-entropy of [0,3]: it has no rows",
  );
  assertThrows(
    () => batchNorm(x, three, three, running, { training: true }),
    RangeError,
    "[0,3] in training: give at least two rows",
  );
  assertThrows(() => globalNorm({}), TypeError, "without elements");
  assertThrows(() => globalNorm({ a: x }), TypeError, "without elements");
  assertThrows(() => mean(x), TypeError, "no elements");
  const model = nextLocation({ ...defaultConfig, totalLocNum: 5, totalUserNum: 2 });
  assertThrows(() => model.batch([]), RangeError, "Cannot pack an empty batch");
  for (const eps of [0, 1e-40, Infinity, NaN]) {
    assertThrows(() => layerNorm(x, three, three, { eps }), RangeError, `eps ${eps}`);
    assertThrows(
      () => batchNorm(x, three, three, running, { training: false, eps }),
      RangeError,
      `eps ${eps}`,
    );
  }
  for (const maxNorm of [0, 1e-40, 1e39, Infinity, NaN]) {
    assertThrows(() => clipByGlobalNorm(maxNorm), RangeError, `maxNorm ${maxNorm}`);
  }
});
