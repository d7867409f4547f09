import { assertEquals, assertThrows } from "@std/assert";
import { pack, packed, packedRows } from "../src/core/packing.ts";
import { normal, randomKey } from "../src/core/random.ts";
import { type HostTensor, type Shape, sizeOf, type Tensor, tensor } from "../src/core/tensor.ts";
import { input } from "../src/graph/graph.ts";
import { add, mul, sub } from "../src/ops/binary.ts";
import { grad, valueAndGrad } from "../src/ops/gradient.ts";
import { linear } from "../src/ops/linear.ts";
import { scale } from "../src/ops/scale.ts";
import { mean, sum } from "../src/ops/sum.ts";
import { relu, sigmoid, tanh } from "../src/ops/unary.ts";
import { compile, run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import { assertClose } from "./reference/compare.ts";
import { pairs, scalars } from "./reference/elementwise.ts";
import { dot, finiteDifference } from "./reference/finite_difference.ts";
import { readGolden } from "./reference/golden.ts";

const random = (seed: number, n: number, scale = 1): Float32Array =>
  Float32Array.from(normal(randomKey(seed), n), (v) => scale * v);
const f64 = (a: ArrayLike<number>): Float64Array => Float64Array.from(a);
const shapes: readonly Shape[] = [[], [1], [63], [64], [65], [7, 19], [2, 3, 5], [33, 131]];

/** `[y, gradients]` of a function of two tensors, where dy is the cotangent of y. */
const withGradients =
  (f: (a: Tensor, b: Tensor) => Tensor) => (of: readonly Tensor[], dy: Tensor): unknown => {
    const loss = ([a, b]: readonly Tensor[]): readonly [Tensor, Tensor] => {
      const y = f(a, b);
      return [sum(mul(y, dy)), y];
    };
    const [[, y], grads] = valueAndGrad(loss, { hasAux: true })(of);
    return { y, grads };
  };

interface Result {
  readonly y: HostTensor;
  readonly grads: readonly HostTensor[];
}

Deno.test("the derivatives of the reference agree with central differences", () => {
  const x = f64(random(1, 50, 2)), b = f64(random(2, 50)), dy = f64(random(3, 50));
  for (const [name, { value, derivative }] of Object.entries(scalars)) {
    const expected = finiteDifference((x) => dot(x.map(value), dy), x);
    assertClose(x.map((v, i) => derivative(v) * dy[i]), expected, 1e-8, name);
  }
  for (const [name, { value, derivatives }] of Object.entries(pairs)) {
    const ofA = finiteDifference((x) => dot(x.map((a, i) => value(a, b[i])), dy), x);
    const ofB = finiteDifference((b) => dot(b.map((b, i) => value(x[i], b)), dy), b);
    assertClose(x.map((a, i) => derivatives(a, b[i])[0] * dy[i]), ofA, 1e-8, name);
    assertClose(x.map((a, i) => derivatives(a, b[i])[1] * dy[i]), ofB, 1e-8, name);
  }
});

const binary = { add, sub, mul };
for (const name of ["add", "sub", "mul"] as const) {
  const { value, derivatives } = pairs[name];
  deviceTest(`${name} and its gradients`, async (device) => {
    for (const shape of shapes) {
      const n = sizeOf(shape);
      const a = random(1, n), b = random(2, n), dy = random(3, n);
      const out = await read(
        run(device, withGradients(binary[name]))(
          [tensor(a, shape), tensor(b, shape)],
          tensor(dy, shape),
        ),
      ) as unknown as Result;
      const what = `${name} of [${shape}]`;
      assertEquals(out.y.shape, shape);
      assertClose(out.y.data, f64(a).map((a, i) => value(a, b[i])), 1e-6, what);
      const expected = [...a].map((a, i) => derivatives(a, b[i]).map((d) => d * dy[i]));
      for (const k of [0, 1]) {
        assertEquals(out.grads[k].shape, shape);
        assertClose(out.grads[k].data, expected.map((d) => d[k]), 1e-6, `${what}, gradient ${k}`);
      }
    }
  });
}

const unary = { relu, sigmoid, tanh };
for (const name of ["relu", "sigmoid", "tanh"] as const) {
  const { value, derivative } = scalars[name];
  deviceTest(`${name} and its gradient`, async (device) => {
    for (const shape of shapes) {
      const n = sizeOf(shape);
      const x = random(1, n, 3), dy = random(2, n);
      const out = await read(
        run(device, withGradients(unary[name]))([tensor(x, shape)], tensor(dy, shape)),
      ) as unknown as Result;
      const what = `${name} of [${shape}]`;
      assertClose(out.y.data, f64(x).map(value), 1e-6, what);
      const dx = f64(x).map((x, i) => derivative(x) * dy[i]);
      // Where the function is flat, 1 - y keeps only float32's absolute precision, as in PyTorch.
      assertClose(out.grads[0].data, dx, 1e-6, `${what}, gradient`, 1);
    }
  });

  deviceTest(`${name} at the ends of the numbers`, async (device) => {
    const x = [0, -0, 1e-30, -1e-30, 1e-3, -1e-3, 20, -20, 1000, -1000, 3e38, -3e38];
    const y = (await read(run(device, unary[name])(tensor(x)))).data;
    x.forEach((x, i) => assertClose([y[i]], [value(x)], 1e-6, `${name}(${x})`, 1e-7));
  });
}

deviceTest("relu keeps NaN, so that a broken model is seen to be broken", async (device) => {
  const { data } = await read(run(device, relu)(tensor([NaN, -1, NaN, 2])));
  assertEquals([...data], [NaN, 0, NaN, 2]);
});

deviceTest("relu is PyTorch's", async (device) => {
  const golden = (await readGolden("ops")).under("relu");
  const out = await read(
    run(device, withGradients(relu))([golden.get("x")], golden.get("dy")),
  ) as unknown as Result;
  assertClose(out.y.data, golden.f64("y"), 0, "y");
  assertClose(out.grads[0].data, golden.f64("dx"), 0, "dx");
});

deviceTest("scale by a constant and by a tensor, and the gradients", async (device) => {
  const shape = [33, 131], n = 33 * 131;
  const x = random(1, n), dy = random(2, n);
  const constant = await read(
    run(device, withGradients((x) => scale(x, -1.5)))([tensor(x, shape)], tensor(dy, shape)),
  ) as unknown as Result;
  assertClose(constant.y.data, f64(x).map((v) => -1.5 * v), 1e-7, "y");
  assertClose(constant.grads[0].data, f64(dy).map((v) => -1.5 * v), 1e-7, "dx");
  for (const by of [tensor([0.75], []), tensor([0.75], [1])]) {
    const out = await read(
      run(device, withGradients(scale))([tensor(x, shape), by], tensor(dy, shape)),
    ) as unknown as Result;
    assertClose(out.y.data, f64(x).map((v) => 0.75 * v), 1e-7, "y");
    assertClose(out.grads[0].data, f64(dy).map((v) => 0.75 * v), 1e-7, "dx");
    assertEquals(out.grads[1].shape, by.shape);
    assertClose(out.grads[1].data, [dot(f64(x), f64(dy))], 1e-5, "dby");
  }
  // A number among the arguments of a compiled function is a scalar tensor.
  using compiled = compile(device, (x: Tensor, by: number) => scale(x, by));
  assertEquals([...(await read(compiled(tensor([1, 2]), 3))).data], [3, 6]);
  assertEquals([...(await read(compiled(tensor([1, 2]), 5))).data], [5, 10]);
});

deviceTest("sum and mean and their gradients", async (device) => {
  const both = (x: Tensor): unknown => ({
    sum: valueAndGrad(sum)(x),
    mean: valueAndGrad(mean)(x),
    third: grad((x: Tensor) => scale(mean(x), 3))(x),
  });
  for (const shape of [...shapes, [1023], [1024], [1025], [2, 1024], [1024, 1025]]) {
    const n = sizeOf(shape);
    const x = random(1, n).map((v) => v + 0.5);
    const out = await read(run(device, both)(tensor(x, shape))) as unknown as {
      sum: readonly [HostTensor, HostTensor];
      mean: readonly [HostTensor, HostTensor];
      third: HostTensor;
    };
    const total = f64(x).reduce((s, v) => s + v, 0);
    assertEquals(out.sum[0].shape, []);
    assertClose(out.sum[0].data, [total], 1e-6, `sum of [${shape}]`, Math.sqrt(n));
    assertClose(out.mean[0].data, [total / n], 1e-6, `mean of [${shape}]`, 1 / Math.sqrt(n));
    assertEquals(out.sum[1].shape, shape);
    assertClose(out.sum[1].data, new Float64Array(n).fill(1), 0, "gradient of sum");
    assertClose(out.mean[1].data, new Float64Array(n).fill(1 / n), 1e-7, "gradient of mean");
    assertClose(out.third.data, new Float64Array(n).fill(3 / n), 2e-7, "gradient of 3 mean");
  }
});

deviceTest("sums of many elements are exact where float32 is", async (device) => {
  // Whole numbers from -3 to 3, whose partial sums float32 holds exactly.
  const shape = [200_000, 128], n = 200_000 * 128;
  const x = new Float32Array(n);
  let expected = 0;
  for (let i = 0; i < n; i++) expected += x[i] = (Math.imul(i, 2654435761) >>> 8) % 7 - 3;
  assertEquals([...(await read(run(device, sum)(tensor(x, shape)))).data], [expected]);
});

deviceTest("more elements than one row of workgroups holds", async (device) => {
  const n = 65535 * 64 + 4099;
  const x = Float32Array.from({ length: n }, (_, i) => i % 5 - 2);
  const [value, dx] = await read(
    run(device, valueAndGrad((x: Tensor) => sum(mul(x, x))))(tensor(x)),
  );
  assertEquals(value.data[0], x.reduce((s, v) => s + v * v, 0));
  assertEquals(dx.data.every((d, i) => d === 2 * x[i]), true);
});

deviceTest("packed rows: rows past the last one have no influence", async (device) => {
  const N = 5;
  const f = (a: Tensor, b: Tensor): unknown => {
    const loss = ([a, b]: readonly Tensor[]): readonly [Tensor, unknown] => {
      const y = mul(tanh(sub(a, scale(b, 0.5))), relu(add(a, b)));
      return [mean(y), { y, sum: sum(y) }];
    };
    return valueAndGrad(loss, { hasAux: true })([a, b]);
  };
  using compiled = compile(device, f);
  // The same plan and buffers, first full of NaN.
  const long = pack([40, 40, 40]), nan = new Float32Array(120 * N).fill(NaN);
  compiled(packed(long, nan, [N]), packed(long, nan, [N]));
  const short = pack([7, 30, 2]);
  const n = packedRows(short) * N;
  const a = random(1, n), b = random(2, n);
  const [[value, more], grads] = await read(
    compiled(packed(short, a, [N]), packed(short, b, [N])),
  ) as unknown as [[HostTensor, { y: HostTensor; sum: HostTensor }], readonly HostTensor[]];
  const oracle = (a: Float64Array, b: Float64Array): Float64Array =>
    a.map((a, i) => Math.tanh(a - b[i] / 2) * Math.max(a + b[i], 0));
  const meanOf = (a: Float64Array, b: Float64Array): number =>
    oracle(a, b).reduce((s, v) => s + v / n, 0);
  const A = f64(a), B = f64(b);
  assertEquals(more.y.shape, [39, N]);
  assertClose(more.y.data, oracle(A, B), 1e-6, "y");
  assertClose(value.data, [meanOf(A, B)], 1e-6, "mean");
  assertClose(more.sum.data, [n * meanOf(A, B)], 1e-6, "sum");
  assertClose(grads[0].data, finiteDifference((a) => meanOf(a, B), A), 1e-5, "da");
  assertClose(grads[1].data, finiteDifference((b) => meanOf(A, b), B), 1e-5, "db");
});

deviceTest("gradients of parameters used twice, once and never", async (device) => {
  const params = {
    twice: tensor(random(1, 6), [2, 3]),
    once: { inner: tensor(random(2, 6), [2, 3]), list: [tensor([2], [])] },
    never: tensor(random(3, 4)),
  };
  type Params = typeof params;
  // L = mean(twice * tanh(twice) * inner) * list[0] + sum(twice)
  const loss = (p: Params): readonly [Tensor, unknown] => {
    const y = mul(mul(p.twice, tanh(p.twice)), p.once.inner);
    return [add(scale(mean(y), p.once.list[0]), sum(p.twice)), { y, note: "as it is" }];
  };
  const [[value, aux], grads] = await read(
    run(device, valueAndGrad(loss as never, { hasAux: true }) as (p: Params) => unknown)(params),
  ) as unknown as [[HostTensor, { y: HostTensor; note: string }], Params];
  const t = f64(params.twice.data), w = f64(params.once.inner.data), s = 2;
  const L = (t: Float64Array, w: Float64Array, s: number): number =>
    t.reduce((sum, v, i) => sum + v * Math.tanh(v) * w[i] / 6 * s + v, 0);
  assertEquals(aux.note, "as it is");
  assertClose(aux.y.data, t.map((v, i) => v * Math.tanh(v) * w[i]), 1e-6, "aux");
  assertClose(value.data, [L(t, w, s)], 1e-6, "value");
  assertClose(grads.twice.data, finiteDifference((t) => L(t, w, s), t), 1e-6, "twice");
  assertClose(grads.once.inner.data, finiteDifference((w) => L(t, w, s), w), 1e-6, "once");
  assertClose(
    grads.once.list[0].data,
    finiteDifference(([s]) => L(t, w, s), f64([s])),
    1e-6,
    "list",
  );
  assertEquals(grads.never.shape, [4]);
  assertEquals([...grads.never.data], [0, 0, 0, 0]);
});

deviceTest("a tensor times itself, and the parameter as the result", async (device) => {
  const x = tensor([1, -2, 3]);
  const square = (x: Tensor): Tensor => sum(mul(x, x));
  assertEquals([...(await read(run(device, grad(square))(x))).data], [2, -4, 6]);
  const same = (x: Tensor): Tensor => x;
  assertEquals([...(await read(run(device, grad(same))(tensor([5], [])))).data], [1]);
});

deviceTest(
  "a small network of these operations has the gradients of its equation",
  async (device) => {
    const [M, K, N] = [5, 3, 4];
    const x = random(1, M * K), w = random(2, N * K), b = random(3, N), t = random(4, M * N);
    const loss = (p: { w: Tensor; b: Tensor }, x: Tensor, t: Tensor): Tensor => {
      const error = sub(sigmoid(linear(x, p.w, p.b)), t);
      return mean(mul(error, error));
    };
    const [value, grads] = await read(
      run(device, valueAndGrad(loss))(
        { w: tensor(w, [N, K]), b: tensor(b) },
        tensor(x, [M, K]),
        tensor(t, [M, N]),
      ),
    );
    const L = (w: Float64Array, b: Float64Array): number => {
      let sum = 0;
      for (let m = 0; m < M; m++) {
        for (let n = 0; n < N; n++) {
          let z = b[n];
          for (let k = 0; k < K; k++) z += x[m * K + k] * w[n * K + k];
          sum += (1 / (1 + Math.exp(-z)) - t[m * N + n]) ** 2;
        }
      }
      return sum / (M * N);
    };
    const W = f64(w), B = f64(b);
    assertClose(value.data, [L(W, B)], 1e-6, "value");
    assertClose(grads.w.data, finiteDifference((w) => L(w, B), W), 1e-5, "dw");
    assertClose(grads.b.data, finiteDifference((b) => L(W, b), B), 1e-5, "db");
  },
);

Deno.test("what does not fit is refused with the shapes", () => {
  const x = input(0, { shape: [2, 3], dtype: "f32" });
  const y = input(1, { shape: [3, 2], dtype: "f32" });
  const whole = input(2, { shape: [2, 3], dtype: "u32" });
  const empty = input(3, { shape: [0, 3], dtype: "f32" });
  assertThrows(() => add(x, y), TypeError, "Cannot add [2,3] and [3,2]");
  assertThrows(() => sub(x, y), TypeError, "Cannot subtract [2,3] and [3,2]");
  assertThrows(() => mul(x, y), TypeError, "Cannot multiply [2,3] and [3,2]");
  assertThrows(() => mul(x, whole), TypeError, "Cannot multiply [2,3] of u32: give f32");
  assertThrows(() => scale(x, y), TypeError, "Cannot scale [2,3] by [3,2]: give one number");
  assertThrows(() => tanh(whole), TypeError, "Cannot take the tanh of [2,3] of u32");
  assertThrows(() => mean(empty), TypeError, "Cannot take the mean of [0,3]: it has no elements");
  const rows = (slot: number): Tensor =>
    input(slot, {
      shape: [128, 2],
      dtype: "f32",
      packing: { kind: "packing", batch: 1, capacity: 128 },
    });
  assertThrows(() => add(rows(0), rows(1)), TypeError, "different packings");
});
