/**
 * Operations over packed sequences, against PyTorch's numbers of `sequence_ops.safetensors` and, in
 * other sizes and with dropout, against float64 references that agree with those numbers.
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { pack, packed, packedRows, type Packing } from "../src/core/packing.ts";
import { normal, philox, randomKey } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import { meanSquaredError } from "../src/nn/mean_squared_error.ts";
import { attention } from "../src/ops/attention.ts";
import { mul } from "../src/ops/binary.ts";
import { conv1d } from "../src/ops/conv1d.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { lastStep, maxOverTime, meanOverTime } from "../src/ops/pool.ts";
import { positionalEncoding } from "../src/ops/positional_encoding.ts";
import { sum } from "../src/ops/sum.ts";
import { compile, run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import * as attentionOracle from "./reference/attention.ts";
import { assertClose } from "./reference/compare.ts";
import * as convOracle from "./reference/conv1d.ts";
import { dot, finiteDifference } from "./reference/finite_difference.ts";
import { type Golden, packRows, readGolden } from "./reference/golden.ts";
import { packedOf, sequencesOf } from "./reference/sequences.ts";

const VALUES = 1e-5;
const GRADIENTS = 1e-5;
/** PyTorch's float64 rounded to float32. */
const GOLDEN = 1e-6;

const file = await readGolden("sequence_ops");
const casesOf = (prefix: string): readonly (readonly [string, Golden])[] => {
  const stems = [...new Set(file.names.map((name) => name.split("/")[0]))];
  const found = stems.filter((stem) => stem.startsWith(prefix));
  assert(found.length > 0, `no golden case ${prefix}`);
  return found.map((stem) => [stem, file.under(stem)]);
};
const random = (seed: number, n: number): Float32Array =>
  Float32Array.from(normal(randomKey(seed), n));
const f64 = (values: ArrayLike<number>): Float64Array => Float64Array.from(values);

/** A padded golden tensor as packed rows. */
const rowsIn = (golden: Golden, name: string, packing: Packing): HostTensor => {
  const padded = golden.get(name);
  return packed(packing, packRows(padded, packing).data, [padded.shape[2]]);
};

type Inputs = Readonly<Record<string, Tensor>>;

/** y and the gradients of the inputs, with dy as the cotangent of y. */
const withGradients =
  (f: (inputs: Inputs) => Tensor) => (inputs: Inputs, dy: Tensor): { y: Tensor; grads: Inputs } => {
    const loss = (inputs: Inputs): readonly [Tensor, Tensor] => {
      const y = f(inputs);
      return [sum(mul(y, dy)), y];
    };
    const [[, y], grads] = valueAndGrad(loss, { hasAux: true })(inputs);
    return { y, grads };
  };

type Compared = { readonly y: HostTensor; readonly grads: Readonly<Record<string, HostTensor>> };

const convolve = withGradients(({ x, weight, bias }) => conv1d(x, weight, bias));

for (const [name, golden] of casesOf("conv1d")) {
  deviceTest(`conv1d is PyTorch's: ${name}`, async (device) => {
    const packing = pack(golden.get("lengths").data);
    const inputs = {
      x: rowsIn(golden, "x", packing),
      weight: golden.get("weight"),
      bias: golden.get("bias"),
    };
    const { y, grads } = await read(
      run(device, convolve)(inputs, rowsIn(golden, "dy", packing)),
    ) as Compared;
    assertClose(y.data, rowsIn(golden, "y", packing).data, VALUES, "y");
    assertClose(grads.x.data, rowsIn(golden, "dx", packing).data, GRADIENTS, "dx");
    assertClose(grads.weight.data, golden.f64("dweight"), GRADIENTS, "dweight");
    assertClose(grads.bias.data, golden.f64("dbias"), GRADIENTS, "dbias");
  });
}

/** The reference over all sequences of a packing. */
function convolveAll(
  inputs: Readonly<Record<"x" | "weight" | "bias" | "dy", ArrayLike<number>>>,
  packing: Packing,
  sizes: convOracle.Conv1dSizes,
): Record<"y" | "dx" | "dweight" | "dbias", Float64Array> {
  const { I, O, k } = sizes;
  const [weight, bias] = [f64(inputs.weight), f64(inputs.bias)];
  const dys = sequencesOf(inputs.dy, packing, O);
  const dweight = new Float64Array(O * I * k), dbias = new Float64Array(O);
  const results = sequencesOf(inputs.x, packing, I).map((x, b) => {
    const back = convOracle.conv1dBackward(x, weight, dys[b], sizes);
    back.dweight.forEach((value, i) => dweight[i] += value);
    back.dbias.forEach((value, i) => dbias[i] += value);
    return { y: convOracle.conv1d(x, weight, bias, sizes), dx: back.dx };
  });
  return {
    y: packedOf(results.map(({ y }) => y), packing, O),
    dx: packedOf(results.map(({ dx }) => dx), packing, I),
    dweight,
    dbias,
  };
}

Deno.test("conv1d reference agrees with PyTorch and with central differences", () => {
  for (const [name, golden] of casesOf("conv1d")) {
    const packing = pack(golden.get("lengths").data);
    const [O, I, k] = golden.get("weight").shape;
    const out = convolveAll(
      {
        x: rowsIn(golden, "x", packing).data,
        weight: golden.get("weight").data,
        bias: golden.get("bias").data,
        dy: rowsIn(golden, "dy", packing).data,
      },
      packing,
      { I, O, k },
    );
    assertClose(out.y, rowsIn(golden, "y", packing).data, GOLDEN, `${name} y`);
    assertClose(out.dx, rowsIn(golden, "dx", packing).data, GOLDEN, `${name} dx`);
    assertClose(out.dweight, golden.f64("dweight"), GOLDEN, `${name} dweight`);
    assertClose(out.dbias, golden.f64("dbias"), GOLDEN, `${name} dbias`);
  }
  const sizes = { I: 2, O: 3, k: 5 };
  const [x, weight, bias, dy] = [8, 30, 3, 12].map((n, i) => normal(randomKey(i), n));
  const value = (w: Float64Array): number => dot(convOracle.conv1d(x, w, bias, sizes), dy);
  const { dweight } = convOracle.conv1dBackward(x, weight, dy, sizes);
  assertClose(dweight, finiteDifference(value, weight), 1e-7, "dweight");
});

for (
  const { I, O, k, lengths } of [
    { I: 5, O: 85, k: 7, lengths: [2, 30, 1] },
    { I: 256, O: 86, k: 3, lengths: [50, 50, 31, 8] },
    { I: 64, O: 64, k: 9, lengths: [1, 1, 1] },
    { I: 3, O: 4, k: 5, lengths: [1500] },
  ]
) {
  deviceTest(`conv1d ${I} to ${O} with ${k} taps over [${lengths}]`, async (device) => {
    const packing = pack(lengths);
    const N = packedRows(packing);
    const data = {
      x: random(1, N * I),
      weight: random(2, O * I * k),
      bias: random(3, O),
      dy: random(4, N * O),
    };
    const inputs = {
      x: packed(packing, data.x, [I]),
      weight: tensor(data.weight, [O, I, k]),
      bias: tensor(data.bias),
    };
    const { y, grads } = await read(
      run(device, convolve)(inputs, packed(packing, data.dy, [O])),
    ) as Compared;
    const expected = convolveAll(data, packing, { I, O, k });
    assertClose(y.data, expected.y, VALUES, "y");
    assertClose(grads.x.data, expected.dx, GRADIENTS, "dx");
    assertClose(grads.weight.data, expected.dweight, GRADIENTS, "dweight");
    assertClose(grads.bias.data, expected.dbias, GRADIENTS, "dbias");
  });
}

const attend = (heads: number, rate?: number) => (inputs: Inputs, dy: Tensor, key: Tensor) => {
  const loss = ({ q, k, v }: Inputs): readonly [Tensor, Tensor] => {
    const dropout = rate === undefined ? undefined : { rate, key };
    const { y } = attention(q, k, v, { heads, dropout });
    return [sum(mul(y, dy)), y];
  };
  const [[, y], grads] = valueAndGrad(loss, { hasAux: true })(inputs);
  return { y, grads };
};

for (const [name, golden] of casesOf("attention")) {
  deviceTest(`attention is PyTorch's: ${name}`, async (device) => {
    const packing = pack(golden.get("lengths").data);
    const [B, heads, T] = golden.get("weights").shape;
    const of = (name: string): HostTensor => rowsIn(golden, name, packing);
    const inputs = { q: of("q"), k: of("k"), v: of("v") };
    const all = (inputs: Inputs, dy: Tensor, key: Tensor) => {
      const { q, k, v } = inputs;
      const { y, grads } = attend(heads)(inputs, dy, key);
      const { weights } = attention(q, k, v, { heads, weightSteps: T });
      const wider = attention(q, k, v, { heads, weightSteps: T + 3 }).weights!;
      return { y, grads, weights: weights!, wider };
    };
    const { y, grads, weights, wider } = await read(
      run(device, all)(inputs, of("dy"), randomKey(0)),
    ) as unknown as Compared & Record<"weights" | "wider", HostTensor>;
    assertClose(y.data, of("y").data, VALUES, "y");
    for (const name of ["q", "k", "v"]) {
      // Zero where a sequence has one step only; the size of dv counts then.
      const size = Math.max(...of("dv").data.map(Math.abs));
      assertClose(grads[name].data, of(`d${name}`).data, GRADIENTS, `d${name}`, size);
    }
    assertEquals(weights.shape, [B, heads, T, T]);
    assertClose(weights.data, golden.f64("weights"), VALUES, "weights");
    // Room for longer sequences is zero.
    const at = (t: number, k: number): number => wider.data[t * (T + 3) + k];
    for (let t = 0; t < T + 3; t++) {
      for (let k = 0; k < T + 3; k++) {
        assertEquals(at(t, k), t < T && k < T ? weights.data[t * T + k] : 0);
      }
    }
  });
}

/** The reference over all sequences of a packing, with dropout as the kernels draw it. */
function attendAll(
  data: Readonly<Record<"q" | "k" | "v" | "dy", ArrayLike<number>>>,
  packing: Packing,
  D: number,
  heads: number,
  dropout?: { readonly rate: number; readonly key: HostTensor },
): Record<"y" | "dq" | "dk" | "dv", Float64Array> {
  const split = (name: keyof typeof data) => sequencesOf(data[name], packing, D);
  const [qs, ks, vs, dys] = [split("q"), split("k"), split("v"), split("dy")];
  let begin = 0;
  const results = qs.map((q, b) => {
    const first = begin;
    begin += packing.lengths[b];
    const factors: attentionOracle.Factors | undefined = dropout &&
      ((head, query, key) => {
        const words = philox(dropout.key.data, [Math.floor(key / 4), first + query, head, 0]);
        return words[key % 4] / 2 ** 32 >= dropout.rate ? 1 / (1 - dropout.rate) : 0;
      });
    const { y } = attentionOracle.attention(q, ks[b], vs[b], D, heads, factors);
    const back = attentionOracle.attentionBackward(q, ks[b], vs[b], dys[b], D, heads, factors);
    return { y, ...back };
  });
  const joined = (name: "y" | "dq" | "dk" | "dv") =>
    packedOf(results.map((result) => result[name]), packing, D);
  return { y: joined("y"), dq: joined("dq"), dk: joined("dk"), dv: joined("dv") };
}

Deno.test("attention reference agrees with PyTorch and, with dropout, with central differences", () => {
  for (const [name, golden] of casesOf("attention")) {
    const packing = pack(golden.get("lengths").data);
    const [, heads] = golden.get("weights").shape, D = golden.get("q").shape[2];
    const of = (name: string) => rowsIn(golden, name, packing).data;
    const out = attendAll({ q: of("q"), k: of("k"), v: of("v"), dy: of("dy") }, packing, D, heads);
    for (const [key, values] of Object.entries(out)) {
      assertClose(values, of(key), GOLDEN, `${name} ${key}`);
    }
  }
  const [q, k, v, dy] = [1, 2, 3, 4].map((seed) => normal(randomKey(seed), 20));
  const factors: attentionOracle.Factors = (head, query, key) => (head + 2 * query + key) % 3;
  const value = (q: Float64Array, k: Float64Array, v: Float64Array): number =>
    dot(attentionOracle.attention(q, k, v, 4, 2, factors).y, dy);
  const { dq, dk, dv } = attentionOracle.attentionBackward(q, k, v, dy, 4, 2, factors);
  assertClose(dq, finiteDifference((x) => value(x, k, v), q), 1e-7, "dq");
  assertClose(dk, finiteDifference((x) => value(q, x, v), k), 1e-7, "dk");
  assertClose(dv, finiteDifference((x) => value(q, k, x), v), 1e-7, "dv");
});

for (
  const { D, heads, lengths, rate } of [
    { D: 256, heads: 8, lengths: [50, 50, 50, 50, 50, 50, 50, 50] },
    { D: 14, heads: 2, lengths: [3, 70, 1, 20], rate: 0.3 },
    { D: 24, heads: 3, lengths: [1, 9, 130], rate: 0.9 },
    { D: 4, heads: 1, lengths: [1000] },
    { D: 256, heads: 1, lengths: [5, 2], rate: 0.1 },
  ]
) {
  const dropped = rate === undefined ? "" : `, dropout ${rate}`;
  deviceTest(
    `attention of ${D} columns in ${heads} heads over [${lengths}]${dropped}`,
    async (device) => {
      const packing = pack(lengths);
      const N = packedRows(packing);
      const data = {
        q: random(1, N * D),
        k: random(2, N * D),
        v: random(3, N * D),
        dy: random(4, N * D),
      };
      const rows = (name: keyof typeof data): HostTensor => packed(packing, data[name], [D]);
      const key = randomKey(9);
      const { y, grads } = await read(
        run(device, attend(heads, rate))(
          { q: rows("q"), k: rows("k"), v: rows("v") },
          rows("dy"),
          key,
        ),
      ) as Compared;
      const dropout = rate === undefined ? undefined : { rate, key };
      const expected = attendAll(data, packing, D, heads, dropout);
      assertClose(y.data, expected.y, VALUES, "y");
      assertClose(grads.q.data, expected.dq, GRADIENTS, "dq");
      assertClose(grads.k.data, expected.dk, GRADIENTS, "dk");
      assertClose(grads.v.data, expected.dv, GRADIENTS, "dv");
    },
  );
}

deviceTest(
  "attention to huge scores stays finite, and NaN stays in its sequence",
  async (device) => {
    const packing = pack([3, 2]);
    const rows = (values: number[]): HostTensor => packed(packing, Float32Array.from(values), [1]);
    // Rows: a0 b0, a1 b1, a2.
    const q = rows([1e4, NaN, -1e4, 1, 0]),
      k = rows([1e4, 1, -1e4, 1, 0]),
      v = rows([1, 2, 3, 4, 5]);
    const y = await read(
      run(device, (q: Tensor, k: Tensor, v: Tensor) => attention(q, k, v, { heads: 1 }).y)(q, k, v),
    );
    assertEquals([...y.data], [1, NaN, 3, 3, 3]);
  },
);

const golden = file.under("pool");
for (
  const [name, pool] of Object.entries({ mean: meanOverTime, max: maxOverTime, last: lastStep })
) {
  const pooled = withGradients(({ x }) => pool(x));
  deviceTest(`${name} over time is PyTorch's`, async (device) => {
    const packing = pack(golden.get("lengths").data);
    const { y, grads } = await read(
      run(device, pooled)({ x: rowsIn(golden, "x", packing) }, golden.get("dy")),
    ) as Compared;
    assertEquals(y.shape, golden.get(`${name}_y`).shape);
    assertClose(y.data, golden.f64(`${name}_y`), VALUES, "y");
    assertClose(grads.x.data, rowsIn(golden, `${name}_dx`, packing).data, GRADIENTS, "dx");
  });
}

deviceTest("a maximum over time passes NaN on, and its gradient to it", async (device) => {
  const packing = pack([3]);
  const x = packed(packing, Float32Array.of(1, -Infinity, NaN, -Infinity, 2, -Infinity), [2]);
  const pooled = withGradients(({ x }) => maxOverTime(x));
  const { y, grads } = await read(
    run(device, pooled)({ x }, tensor([3, 5], [1, 2])),
  ) as Compared;
  assertEquals([...y.data], [NaN, -Infinity]);
  assertEquals([...grads.x.data], [0, 5, 3, 0, 0, 0]);
});

for (const [name, golden] of casesOf("positional_encoding")) {
  deviceTest(`positions are encoded as the formula says: ${name}`, async (device) => {
    const D = golden.get("encoding").shape[1], packing = pack([5000, 3]);
    const x = random(1, 5003 * D);
    const encode = withGradients(({ x }) => positionalEncoding(x));
    const dy = packed(packing, random(2, x.length), [D]);
    const { y, grads } = await read(
      run(device, encode)({ x: packed(packing, x, [D]) }, dy),
    ) as Compared;
    const [long, short] = sequencesOf(y.data.map((value, i) => value - x[i]), packing, D);
    golden.get("positions").data.forEach((t, row) => {
      const expected = golden.f64("encoding").subarray(row * D, (row + 1) * D);
      // What is left of adding to numbers near 1.
      assertClose(long.subarray(t * D, (t + 1) * D), expected, 1e-6, `position ${t}`, 1);
      if (t < 3) assertClose(short.subarray(t * D, (t + 1) * D), expected, 1e-6, `${t}`, 1);
    });
    assertEquals(grads.x.data, dy.data);
  });
}

deviceTest(
  "a sequence longer than asked for is an error when the function runs",
  async (device) => {
    const of = (T: number): HostTensor => packed(pack([1, T]), new Float32Array(T + 1), [1]);
    using encode = compile(device, (x: Tensor) => positionalEncoding(x, { maxLength: 3 }));
    assertEquals((await read(encode(of(3)))).shape, [4, 1]);
    assertThrows(() => encode(of(4)), RangeError, "4 steps: it takes at most 3");
    using attend = compile(device, (x: Tensor) => attention(x, x, x, { heads: 1, weightSteps: 3 }));
    assertEquals((await read(attend(of(3)))).weights!.shape, [2, 1, 3, 3]);
    assertThrows(() => attend(of(4)), RangeError, "attention_weights over a sequence of 4 steps");
    using long = compile(device, (x: Tensor) => attention(x, x, x, { heads: 1 }));
    assertThrows(() => long(of(5001)), RangeError, "at most 5000");
  },
);

deviceTest("mean squared error is PyTorch's", async (device) => {
  const golden = file.under("mean_squared_error");
  const [loss, grads] = await read(
    run(device, valueAndGrad(meanSquaredError))(golden.get("prediction"), golden.get("target")),
  );
  assertClose(loss.data, golden.f64("loss"), VALUES, "loss");
  assertClose(grads.data, golden.f64("dprediction"), GRADIENTS, "dprediction");
});

deviceTest("what lies past the packed rows takes no part", async (device) => {
  const I = 6;
  const all = (x: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) => {
    const loss = ({ x }: Inputs): readonly [Tensor, unknown] => {
      const y = conv1d(positionalEncoding(x), weight, bias);
      const attended = attention(y, y, y, { heads: 2 }).y;
      const pooled = [meanOverTime(attended), maxOverTime(attended), lastStep(attended)];
      return [sum(mul(attended, dy)), { attended, pooled }];
    };
    const [[, values], { x: dx }] = valueAndGrad(loss, { hasAux: true })({ x });
    return [values, dx];
  };
  const weight = tensor(random(1, I * I * 3), [I, I, 3]), bias = tensor(random(2, I));
  const short = pack([2, 1, 4]), rows = packed(short, random(3, 7 * I), [I]);
  const dy = packed(short, random(4, 7 * I), [I]);
  using reused = compile(device, all), fresh = compile(device, all);
  const wrong = packed(pack([40, 30, 30]), new Float32Array(100 * I).fill(NaN), [I]);
  await read(reused(wrong, weight, bias, wrong) as [Tensor]);
  const after = await read(reused(rows, weight, bias, dy) as [Tensor]);
  assertEquals(after, await read(fresh(rows, weight, bias, dy) as [Tensor]));
});

deviceTest("operations over sequences say what does not fit", async (device) => {
  const x = packed(pack([2, 1]), new Float32Array(12), [4]);
  const other = packed(pack([1, 2]), new Float32Array(12), [4]);
  const w = tensor(new Float32Array(24), [2, 4, 3]), b = tensor([0, 0]);
  const tries: readonly (readonly [string, (...of: Tensor[]) => unknown, readonly Tensor[]])[] = [
    ["its rows made with packed()", (x) => meanOverTime(x), [tensor([1, 2], [1, 2])]],
    ["its rows made with packed()", (x) => conv1d(x, w, b), [tensor([1, 2, 3, 4], [1, 4])]],
    ["give [N,I], [O,I,k] and [O]", (x) => conv1d(x, w, tensor([0])), [x]],
    ["their number must be odd", (x) => conv1d(x, tensor(w.data, [3, 4, 2]), tensor([0, 0, 0])), [
      x,
    ]],
    ["different packings", (x, y) => attention(x, y, x, { heads: 2 }), [x, other]],
    ["4 columns into 3 heads", (x) => attention(x, x, x, { heads: 3 }), [x]],
    ["at rate 1", (x, key) => attention(x, x, x, { heads: 1, dropout: { rate: 1, key } }), [
      x,
      randomKey(1),
    ]],
    ["weights of 0 steps", (x) => attention(x, x, x, { heads: 1, weightSteps: 0 }), [x]],
    ["at most 0 positions", (x) => positionalEncoding(x, { maxLength: 0 }), [x]],
  ];
  for (const [message, f, args] of tries) {
    // deno-lint-ignore require-await
    await assertRejects(async () => run(device, f as never)(...args as never[]), Error, message);
  }
});
