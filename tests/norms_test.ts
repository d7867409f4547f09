import { assertEquals, assertThrows } from "@std/assert";
import { pack, packed } from "../src/core/packing.ts";
import { normal, randomKey } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import { type Traced, traced } from "../src/graph/graph.ts";
import { batchNorm } from "../src/ops/batch_norm.ts";
import { layerNorm } from "../src/ops/layer_norm.ts";
import { ravel, unravel } from "../src/ops/view.ts";
import { compile, run } from "../src/plan/compile.ts";
import { put, read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import * as batchOracle from "./reference/batch_norm.ts";
import { assertClose } from "./reference/compare.ts";
import { readGolden } from "./reference/golden.ts";
import * as layerOracle from "./reference/layer_norm.ts";

const random = (seed: number, n: number, offset = 0): Float32Array =>
  Float32Array.from(normal(randomKey(seed), n), (value) => value + offset);
const f64 = (values: ArrayLike<number>): Float64Array => Float64Array.from(values);

/** The gradients of x, gamma and beta, the last two laid into one slab as a trainer does. */
function pull(y: Tensor, dy: Tensor): Record<string, Tensor> {
  const { node } = y as Traced;
  const [dx, dgamma, dbeta] = node.operation.vjp!(node, [dy as Traced]);
  const grads = { dgamma: dgamma!, dbeta: dbeta! };
  return { dx: dx!, ...unravel(ravel(grads), grads) };
}

type Results = Record<string, HostTensor>;
type Call = (...args: readonly unknown[]) => Results;

const layer = (x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor): Record<string, Tensor> => {
  const y = layerNorm(x, gamma, beta);
  return { y, ...pull(y, dy) };
};

function checkLayer(out: Results, x: Float32Array, parts: Float32Array[], tolerance = 1e-5): void {
  const [gamma, beta, dy] = parts.map(f64);
  const g = layerOracle.layerNormBackward(f64(x), gamma, dy);
  assertClose(out.y.data, layerOracle.layerNorm(f64(x), gamma, beta), tolerance, "y");
  assertClose(out.dx.data, g.dx, tolerance, "dx", 0.1);
  assertClose(out.dgamma.data, g.dgamma, tolerance, "dgamma", 0.1);
  assertClose(out.dbeta.data, g.dbeta, tolerance, "dbeta");
}

for (
  const [M, H] of [
    [1, 2],
    [3, 7],
    [8, 8],
    [9, 63],
    [32, 128],
    [31, 65],
    [257, 33],
    [2, 4100],
    [600, 3],
  ]
) {
  deviceTest(`layerNorm of [${M},${H}] and its gradients`, async (device) => {
    const x = random(1, M * H, 0.5), dy = random(4, M * H);
    const gamma = random(2, H, 1), beta = random(3, H);
    const out = await read((run(device, layer as never) as Call)(
      tensor(x, [M, H]),
      tensor(gamma),
      tensor(beta),
      tensor(dy, [M, H]),
    ));
    checkLayer(out, x, [gamma, beta, dy]);
  });
}

deviceTest("layerNorm of packed rows ignores what lies past them", async (device) => {
  const H = 19;
  const gamma = random(2, H, 1), beta = random(3, H);
  const f = compile(device, layer as never) as Call;
  const long = pack([40, 30, 30]), short = pack([2, 1, 4]);
  const wrong = new Float32Array(100 * H).fill(NaN);
  f(packed(long, wrong, [H]), tensor(gamma), tensor(beta), packed(long, wrong, [H]));
  const x = random(1, 7 * H), dy = random(4, 7 * H);
  const out = await read(
    f(packed(short, x, [H]), tensor(gamma), tensor(beta), packed(short, dy, [H])),
  );
  checkLayer(out, x, [gamma, beta, dy]);
});

deviceTest("layerNorm of more rows than one dimension of a dispatch has", async (device) => {
  const M = 70_001, H = 2;
  const x = random(1, M * H), dy = random(4, M * H);
  const gamma = random(2, H, 1), beta = random(3, H);
  const out = await read((run(device, layer as never) as Call)(
    tensor(x, [M, H]),
    tensor(gamma),
    tensor(beta),
    tensor(dy, [M, H]),
  ));
  // Rows of two nearly equal values magnify rounding.
  checkLayer(out, x, [gamma, beta, dy], 2e-4);
});

deviceTest(
  "layerNorm keeps its digits far from zero, and makes equal values beta",
  async (device) => {
    const H = 129, offset = 4096;
    const x = new Float32Array(3 * H).map((_, i) =>
      i < H ? 0.1 : i < 2 * H ? 12345.678 : offset + Math.round(256 * Math.sin(i)) / 256
    );
    const gamma = random(2, H, 1), beta = random(3, H), dy = random(4, 3 * H);
    const out = await read((run(device, layer as never) as Call)(
      tensor(x, [3, H]),
      tensor(gamma),
      tensor(beta),
      tensor(dy, [3, H]),
    ));
    for (const row of [0, 1]) {
      assertEquals([...out.y.data.slice(row * H, (row + 1) * H)], [...beta], `row ${row}`);
    }
    const expected = layerOracle.layerNorm(f64(x), f64(gamma), f64(beta));
    assertClose(out.y.data.slice(2 * H), expected.slice(2 * H), 1e-3, "y");
    assertEquals(out.dx.data.every(Number.isFinite), true);
  },
);

deviceTest("layerNorm agrees with PyTorch", async (device) => {
  const ops = await readGolden("ops");
  const names = new Set(ops.names.map((name) => name.split("/")[0]));
  for (const name of [...names].filter((name) => name.startsWith("layer_norm"))) {
    const golden = ops.under(name);
    const out = await read(
      (run(device, layer as never) as Call)(
        ...["x", "gamma", "beta", "dy"].map((key) => golden.get(key)),
      ),
    );
    assertClose(out.y.data, golden.f64("y"), 1e-5, `${name} y`);
    for (const key of ["dx", "dgamma", "dbeta"]) {
      assertClose(out[key].data, golden.f64(key), 1e-5, `${name} ${key}`, 1e-2);
    }
  }
});

const batch = (training: boolean) =>
(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  mean: Tensor,
  variance: Tensor,
  dy: Tensor,
): Record<string, Tensor> => {
  const { y, running } = batchNorm(x, gamma, beta, { mean, variance }, { training });
  return { y, ...running, ...pull(y, dy) };
};

function checkBatch(training: boolean, out: Results, given: Record<string, Float32Array>): void {
  const { x, gamma, beta, mean, variance, dy } = Object.fromEntries(
    Object.entries(given).map(([name, values]) => [name, f64(values)]),
  );
  const running = { mean, variance };
  const used = training ? undefined : running;
  const g = batchOracle.batchNormBackward(x, gamma, dy, used);
  const after = training ? batchOracle.updateRunning(running, x) : running;
  assertClose(out.y.data, batchOracle.batchNorm(x, gamma, beta, used), 2e-5, "y");
  assertClose(out.mean.data, after.mean, 1e-6, "running mean", 0.1);
  assertClose(out.variance.data, after.variance, 1e-5, "running variance");
  assertClose(out.dx.data, g.dx, 2e-5, "dx", 0.1);
  assertClose(out.dgamma.data, g.dgamma, 2e-5, "dgamma", 0.1);
  assertClose(out.dbeta.data, g.dbeta, 1e-5, "dbeta");
}

for (const training of [true, false]) {
  const mode = training ? "training" : "evaluation";
  const inputs = (N: number, H: number): Record<string, Float32Array> => ({
    x: random(1, N * H, 0.5),
    gamma: random(2, H, 1),
    beta: random(3, H),
    mean: random(4, H),
    variance: random(5, H).map((value) => value * value + 0.1),
    dy: random(6, N * H),
  });
  for (
    const [B, H] of [[training ? 3 : 1, 1], [7, 8], [8, 9], [32, 128], [33, 7], [257, 65], [
      1031,
      3,
    ]]
  ) {
    deviceTest(`batchNorm of [${B},${H}] in ${mode} and its gradients`, async (device) => {
      const given = inputs(B, H);
      const shaped = (name: string): HostTensor =>
        tensor(given[name], name === "x" || name === "dy" ? [B, H] : [H]);
      const f = run(device, batch(training) as never) as Call;
      checkBatch(training, await read(f(...Object.keys(given).map(shaped))), given);
      // Statistics that live on the device, in one slab with the parameters.
      const names = ["gamma", "beta", "mean", "variance"] as const;
      const [gamma, beta, mean, variance] = put(device, names.map(shaped));
      const out = await read(f(shaped("x"), gamma, beta, mean, variance, shaped("dy")));
      checkBatch(training, out, given);
      assertEquals((await read(mean)).data, given.mean, "the given statistics never change");
    });
  }

  deviceTest(`batchNorm of packed rows in ${mode} ignores what lies past them`, async (device) => {
    const H = 19;
    const f = compile(device, batch(training) as never) as Call;
    const call = (lengths: number[], given: Record<string, Float32Array>): Results =>
      f(
        ...Object.keys(given).map((name) =>
          name === "x" || name === "dy"
            ? packed(pack(lengths), given[name], [H])
            : tensor(given[name])
        ),
      );
    const wrong = inputs(100, H), given = inputs(7, H);
    call([40, 30, 30], { ...wrong, x: wrong.x.fill(NaN), dy: wrong.dy.fill(NaN) });
    checkBatch(training, await read(call([2, 1, 4], given)), given);
  });
}

deviceTest("batchNorm agrees with PyTorch", async (device) => {
  const ops = await readGolden("ops");
  const names = new Set(ops.names.map((name) => name.split("/")[0]));
  for (const name of [...names].filter((name) => name.startsWith("batch_norm"))) {
    const golden = ops.under(name);
    const keys = ["x", "gamma", "beta", "running_mean", "running_var", "dy"];
    const given = keys.map((key) => golden.get(key));
    const train = await read((run(device, batch(true) as never) as Call)(...given));
    const close = (actual: HostTensor, key: string): void =>
      assertClose(actual.data, golden.f64(key), 1e-5, `${name} ${key}`, 1e-2);
    close(train.y, "y");
    close(train.mean, "running_mean_after");
    close(train.variance, "running_var_after");
    for (const key of ["dx", "dgamma", "dbeta"]) close(train[key], key);
    const evaluated = await read((run(device, batch(false) as never) as Call)(...given));
    for (const key of ["y", "dx", "dgamma", "dbeta"]) close(evaluated[key], `eval_${key}`);
  }
});

Deno.test("the norms say what does not fit", () => {
  const x = traced(tensor([1, 2, 3, 4, 5, 6], [2, 3]), "test");
  const three = tensor([1, 1, 1]), two = tensor([1, 1]);
  const running = { mean: three, variance: three };
  const training = { training: true };
  assertThrows(() => layerNorm(x, two, three), TypeError, "gamma [2]");
  assertThrows(() => layerNorm(three, three, three), TypeError, "[M,H]");
  assertThrows(() => layerNorm(x, three, three, { eps: 0 }), RangeError, "eps 0");
  assertThrows(
    () => batchNorm(x, three, three, { mean: three, variance: two }, training),
    TypeError,
    "variance [2]",
  );
  assertThrows(
    () => batchNorm(x, three, three, running, { training: true, momentum: 2 }),
    RangeError,
    "momentum 2",
  );
  assertThrows(
    () => batchNorm(tensor([1, 2, 3], [1, 3]), three, three, running, training),
    RangeError,
    "[1,3] in training",
  );
});
