/**
 * The float64 references against central differences of themselves, and against PyTorch's numbers
 * in `fixtures/`, which are float64 results rounded to float32: hence 1e-6.
 */
import { assertEquals, assertThrows } from "@std/assert";
import { pack } from "../src/core/packing.ts";
import { normal, randomKey } from "../src/core/random.ts";
import { adamInit, type AdamSettings, type AdamState, adamStep } from "./reference/adam.ts";
import { batchNorm, batchNormBackward, updateRunning } from "./reference/batch_norm.ts";
import { clipByGlobalNorm } from "./reference/clip.ts";
import { assertClose, maxAbs, relativeError } from "./reference/compare.ts";
import { crossEntropy } from "./reference/cross_entropy.ts";
import { embeddingSum, embeddingSumBackward } from "./reference/embedding.ts";
import { dot, finiteDifference } from "./reference/finite_difference.ts";
import { type Golden, goldenBatch, readGolden, readLstmGoldens } from "./reference/golden.ts";
import { layerNorm, layerNormBackward } from "./reference/layer_norm.ts";
import { linear, linearBackward } from "./reference/linear.ts";
import { lstm, lstmBackward } from "./reference/lstm.ts";
import {
  type Named,
  nextLocation,
  type NextLocationConfig,
  runningOf,
} from "./reference/next_location.ts";
import { relu, reluBackward } from "./reference/relu.ts";
import { type SgdState, sgdStep } from "./reference/sgd.ts";

const GOLDEN = 1e-6;
const DIFFERENCES = 1e-7;

const random = (seed: number, count: number): Float64Array => normal(randomKey(seed), count);

/** Checks named gradients of `dot(f(inputs), dy)` against central differences. */
function assertGradients(
  inputs: Readonly<Record<string, Float64Array>>,
  f: (inputs: Readonly<Record<string, Float64Array>>) => number,
  gradients: Readonly<Record<string, Float64Array>>,
): void {
  for (const [name, gradient] of Object.entries(gradients)) {
    const expected = finiteDifference((x) => f({ ...inputs, [name]: x }), inputs[name]);
    assertClose(gradient, expected, DIFFERENCES, `d${name}`);
  }
}

Deno.test("relativeError is relative to the largest expected value and passes NaN on", () => {
  assertEquals(relativeError([1, 2, 5], [1, 2, 4]), 0.25);
  assertEquals(relativeError([], []), 0);
  assertEquals(relativeError([0.5], [0]), 0.5);
  assertEquals(relativeError([NaN], [1]), NaN);
  assertEquals(relativeError([1, 1], [NaN, 1]), NaN);
  assertEquals(relativeError([NaN, Infinity], [NaN, Infinity]), 0);
  assertClose([1e-9], [1e-10], 1e-6, "noise", 1e-3);
  assertClose([1e-9], [0], 1e-6, "noise", 1e-3);
  assertThrows(() => assertClose([1, NaN], [1, 2], 1, "poisoned"), Error, "poisoned");
  assertThrows(() => assertClose([1, 2.1], [1, 2], 1e-2, "worse"), Error, "worst at 1: 2.1");
  assertThrows(() => relativeError([1], [1, 2]), RangeError);
});

Deno.test("linear reference: gradients agree with central differences", () => {
  const [N, I, O] = [3, 4, 2];
  const inputs = { x: random(1, N * I), weight: random(2, O * I), bias: random(3, O) };
  const dy = random(4, N * O);
  const { dx, dweight, dbias } = linearBackward(inputs.x, inputs.weight, dy, N);
  assertGradients(
    inputs,
    ({ x, weight, bias }) => dot(linear(x, weight, bias, N), dy),
    { x: dx, weight: dweight, bias: dbias },
  );
});

Deno.test("embedding reference: gradients agree with central differences", () => {
  const index = [2, 0, 2, 2], dy = random(3, 12);
  const inputs = { a: random(1, 9), b: random(2, 15) };
  const of = (a: Float64Array, b: Float64Array) => [
    { table: a, index },
    { table: b, index: [4, 4, 1, 0] },
  ];
  const [a, b] = embeddingSumBackward(of(inputs.a, inputs.b), 3, dy);
  assertGradients(inputs, ({ a, b }) => dot(embeddingSum(of(a, b), 3), dy), { a, b });
});

Deno.test("norm references: gradients agree with central differences", () => {
  const inputs = { x: random(1, 20), gamma: random(2, 5), beta: random(3, 5) };
  const dy = random(4, 20);
  const running = { mean: random(5, 5), variance: random(6, 5).map((v) => v * v + 0.1) };
  const layer = layerNormBackward(inputs.x, inputs.gamma, dy);
  assertGradients(
    inputs,
    ({ x, gamma, beta }) => dot(layerNorm(x, gamma, beta), dy),
    { x: layer.dx, gamma: layer.dgamma, beta: layer.dbeta },
  );
  for (const fixed of [undefined, running]) {
    const batch = batchNormBackward(inputs.x, inputs.gamma, dy, fixed);
    assertGradients(
      inputs,
      ({ x, gamma, beta }) => dot(batchNorm(x, gamma, beta, fixed), dy),
      { x: batch.dx, gamma: batch.dgamma, beta: batch.dbeta },
    );
  }
});

Deno.test("relu and cross-entropy references: gradients agree with central differences", () => {
  const x = random(1, 12), dy = random(2, 12);
  assertGradients({ x }, ({ x }) => dot(relu(x), dy), { x: reluBackward(x, dy) });
  const target = [3, 0, 1];
  const { dlogits } = crossEntropy(x, target, 0);
  assertGradients({ x }, ({ x }) => crossEntropy(x, target, 0).loss, { x: dlogits });
});

Deno.test("lstm reference: gradients agree with central differences", () => {
  const [I, H] = [2, 3], packing = pack([2, 4, 1]);
  const [N, B] = [7, 3];
  const inputs = {
    x: random(1, N * I),
    weightIh: random(2, 4 * H * I),
    weightHh: random(3, 4 * H * H),
    biasIh: random(4, 4 * H),
    biasHh: random(5, 4 * H),
    h0: random(6, B * H),
    c0: random(7, B * H),
  };
  const [dh, dhN, dcN] = [random(8, N * H), random(9, B * H), random(10, B * H)];
  type Inputs = typeof inputs;
  const objective = (given: Inputs): number => {
    const { h, hN, cN } = lstm(given.x, given, packing, given);
    return dot(h, dh) + dot(hN, dhN) + dot(cN, dcN);
  };
  const outputs = lstm(inputs.x, inputs, packing, inputs);
  const d = lstmBackward(inputs.x, inputs, packing, outputs, { dh, dhN, dcN }, inputs);
  assertGradients(inputs, (given) => objective(given as Inputs), {
    x: d.dx,
    weightIh: d.dweightIh,
    weightHh: d.dweightHh,
    biasIh: d.dbiasIh,
    biasHh: d.dbiasHh,
    h0: d.dh0,
    c0: d.dc0,
  });
});

Deno.test("lstm reference: a sequence in a batch gets what it gets alone", () => {
  const [I, H] = [2, 3], packing = pack([2, 4]);
  const weights = {
    weightIh: random(2, 4 * H * I),
    weightHh: random(3, 4 * H * H),
    biasIh: random(4, 4 * H),
    biasHh: random(5, 4 * H),
  };
  const x = random(1, 6 * I);
  const { hN } = lstm(x, weights, packing);
  // Packed rows of sequence 0: the second of step 0 and of step 1.
  const alone = lstm(Float64Array.of(x[2], x[3], x[6], x[7]), weights, pack([2]));
  assertEquals(hN.subarray(0, H), alone.hN);
});

const ops = await readGolden("ops");
const cases = (prefix: string): [string, Golden][] => {
  const stems = new Set(ops.names.map((name) => name.split("/")[0]));
  const found = [...stems].filter((stem) => stem.startsWith(prefix));
  if (found.length === 0) throw new Error(`no golden case ${prefix}`);
  return found.map((stem) => [stem, ops.under(stem)]);
};

Deno.test("linear reference agrees with PyTorch", () => {
  for (const [name, { get, f64 }] of cases("linear")) {
    const N = get("x").shape[0];
    assertClose(linear(f64("x"), f64("weight"), f64("bias"), N), f64("y"), GOLDEN, name);
    const { dx, dweight, dbias } = linearBackward(f64("x"), f64("weight"), f64("dy"), N);
    assertClose(dx, f64("dx"), GOLDEN, `${name} dx`);
    assertClose(dweight, f64("dweight"), GOLDEN, `${name} dweight`);
    assertClose(dbias, f64("dbias"), GOLDEN, `${name} dbias`);
  }
});

Deno.test("embedding reference agrees with PyTorch", () => {
  const { get, f64 } = ops.under("embedding");
  const lookups = [0, 1, 2].map((k) => ({ table: f64(`table${k}`), index: get(`index${k}`).data }));
  assertClose(embeddingSum(lookups, 5), f64("y"), GOLDEN, "y");
  embeddingSumBackward(lookups, 5, f64("dy")).forEach((dtable, k) =>
    assertClose(dtable, f64(`dtable${k}`), GOLDEN, `dtable${k}`)
  );
});

Deno.test("layer_norm reference agrees with PyTorch", () => {
  for (const [name, { f64 }] of cases("layer_norm")) {
    assertClose(layerNorm(f64("x"), f64("gamma"), f64("beta")), f64("y"), GOLDEN, name);
    const { dx, dgamma, dbeta } = layerNormBackward(f64("x"), f64("gamma"), f64("dy"));
    assertClose(dx, f64("dx"), GOLDEN, `${name} dx`);
    assertClose(dgamma, f64("dgamma"), GOLDEN, `${name} dgamma`, 1e-3);
    assertClose(dbeta, f64("dbeta"), GOLDEN, `${name} dbeta`);
  }
});

Deno.test("batch_norm reference agrees with PyTorch", () => {
  for (const [name, { f64 }] of cases("batch_norm")) {
    const running = { mean: f64("running_mean"), variance: f64("running_var") };
    for (const [prefix, fixed] of [["", undefined], ["eval_", running]] as const) {
      const y = batchNorm(f64("x"), f64("gamma"), f64("beta"), fixed);
      assertClose(y, f64(`${prefix}y`), GOLDEN, `${name} ${prefix}y`);
      const back = batchNormBackward(f64("x"), f64("gamma"), f64("dy"), fixed);
      assertClose(back.dx, f64(`${prefix}dx`), GOLDEN, `${name} ${prefix}dx`);
      assertClose(back.dgamma, f64(`${prefix}dgamma`), GOLDEN, `${name} ${prefix}dgamma`);
      assertClose(back.dbeta, f64(`${prefix}dbeta`), GOLDEN, `${name} ${prefix}dbeta`);
    }
    const { mean, variance } = updateRunning(running, f64("x"));
    assertClose(mean, f64("running_mean_after"), GOLDEN, `${name} running mean`);
    assertClose(variance, f64("running_var_after"), GOLDEN, `${name} running variance`);
  }
});

Deno.test("relu reference agrees with PyTorch", () => {
  const { f64 } = ops.under("relu");
  assertClose(relu(f64("x")), f64("y"), GOLDEN, "y");
  assertClose(reluBackward(f64("x"), f64("dy")), f64("dx"), GOLDEN, "dx");
});

Deno.test("cross_entropy reference agrees with PyTorch", () => {
  for (const [name, { get, f64 }] of cases("cross_entropy")) {
    const { loss, dlogits } = crossEntropy(f64("logits"), get("target").data, 0);
    assertClose([loss], f64("loss"), GOLDEN, name);
    assertClose(dlogits, f64("dlogits"), GOLDEN, `${name} dlogits`);
  }
});

Deno.test("adam, sgd and clip references agree with PyTorch", () => {
  const settings = (name: string) => JSON.parse(ops.metadata[name]);
  const size = ops.get("adam/p").data.length;
  const rows = (values: Float64Array): Float64Array[] =>
    Array.from({ length: 5 }, (_, k) => values.subarray(k * size, (k + 1) * size));
  {
    const { f64 } = ops.under("adam");
    let state: AdamState = adamInit(f64("p"));
    const after = rows(f64("after"));
    rows(f64("grads")).forEach((grad, k) => {
      state = adamStep(state, grad, adamSettings(settings("adam")));
      assertClose(state.p, after[k], GOLDEN, `adam step ${k + 1}`);
    });
    assertClose(state.m, f64("m"), GOLDEN, "adam m");
    assertClose(state.v, f64("v"), GOLDEN, "adam v");
  }
  {
    const { f64 } = ops.under("sgd");
    let state: SgdState = { p: f64("p") };
    const { lr, momentum, weight_decay: weightDecay } = settings("sgd");
    const after = rows(f64("after"));
    rows(f64("grads")).forEach((grad, k) => {
      state = sgdStep(state, grad, { lr, momentum, weightDecay });
      assertClose(state.p, after[k], GOLDEN, `sgd step ${k + 1}`);
    });
    assertClose(state.momentum!, f64("momentum"), GOLDEN, "sgd momentum");
  }
  for (const [name, { f64 }] of cases("clip")) {
    const { norm, grads } = clipByGlobalNorm([f64("a"), f64("b"), f64("c")], settings("max_norm"));
    assertClose([norm], f64("norm"), GOLDEN, `${name} norm`);
    ["a", "b", "c"].forEach((key, k) =>
      assertClose(grads[k], f64(`clipped_${key}`), GOLDEN, `${name} ${key}`)
    );
  }
});

// deno-lint-ignore no-explicit-any -- JSON of the fixture
function adamSettings(json: any): AdamSettings {
  const { lr, betas: [beta1, beta2], eps, weight_decay: weightDecay } = json;
  return { lr, beta1, beta2, eps, weightDecay };
}

// The oracle has one direction, biases and no projection.
const plain = (await readLstmGoldens()).filter(({ D, H, P, weights }) =>
  D === 1 && P === H && weights.has("bias_ih_l0")
);
for (const golden of plain) {
  Deno.test(`lstm reference agrees with torch.nn.LSTM: ${golden.name}`, () => {
    const { H, L, packing, weights } = golden;
    const B = packing.lengths.length;
    const of = (name: string): Float64Array => Float64Array.from(weights.get(name)!.data);
    const layer = (values: { readonly data: ArrayLike<number> } | undefined, l: number) =>
      values && Float64Array.from(values.data).subarray(l * B * H, (l + 1) * B * H);
    const inputs: Float64Array[] = [Float64Array.from(golden.x.data)];
    const layers = Array.from({ length: L }, (_, l) => {
      const parameters = {
        weightIh: of(`weight_ih_l${l}`),
        weightHh: of(`weight_hh_l${l}`),
        biasIh: of(`bias_ih_l${l}`),
        biasHh: of(`bias_hh_l${l}`),
      };
      const initial = { h0: layer(golden.h0, l), c0: layer(golden.c0, l) };
      const outputs = lstm(inputs[l], parameters, packing, initial);
      inputs.push(outputs.h);
      assertClose(outputs.hN, layer(golden.hN, l)!, GOLDEN, `hN ${l}`);
      assertClose(outputs.cN, layer(golden.cN, l)!, GOLDEN, `cN ${l}`);
      return { parameters, initial, outputs };
    });
    assertClose(inputs[L], golden.y.data, GOLDEN, "y");
    for (const kind of ["grad", "grad_state"] as const) {
      const gradients: Record<string, Float64Array> = {};
      const dh0 = new Float64Array(L * B * H), dc0 = new Float64Array(L * B * H);
      let dh: Float64Array = Float64Array.from(golden.dy.data);
      for (let l = L - 1; l >= 0; l--) {
        const { parameters, initial, outputs } = layers[l];
        const final = kind === "grad"
          ? {}
          : { dhN: layer(golden.dhN, l), dcN: layer(golden.dcN, l) };
        const d = lstmBackward(inputs[l], parameters, packing, outputs, { dh, ...final }, initial);
        gradients[`weight_ih_l${l}`] = d.dweightIh;
        gradients[`weight_hh_l${l}`] = d.dweightHh;
        gradients[`bias_ih_l${l}`] = d.dbiasIh;
        gradients[`bias_hh_l${l}`] = d.dbiasHh;
        dh0.set(d.dh0, l * B * H);
        dc0.set(d.dc0, l * B * H);
        dh = d.dx;
      }
      golden.checkGradients(
        kind,
        { ...gradients, x: dh, h0: dh0, c0: dc0 },
        (actual, expected, what) => assertClose(actual, expected, GOLDEN, what),
      );
    }
  });
}

const model = await readGolden("next_location");
const config: NextLocationConfig = JSON.parse(model.metadata.config);

const named = (file: Golden): Record<string, Float64Array> =>
  Object.fromEntries(file.names.map((name) => [name, file.f64(name)]));

/** Gradients that are zero but for rounding (fixtures/README.md) are judged by the largest one. */
function assertGradientsClose(actual: Named, expected: Golden, what: string): void {
  const scale = Math.max(...expected.names.map((name) => maxAbs(expected.f64(name))));
  assertEquals(Object.keys(actual).sort(), [...expected.names].sort());
  for (const [name, gradient] of Object.entries(actual)) {
    assertClose(gradient, expected.f64(name), GOLDEN, `${what} ${name}`, scale * 1e-6);
  }
}

Deno.test("next_location reference agrees with PyTorch: logits, loss, every gradient", () => {
  const batch = goldenBatch(model, "batch_a");
  const variants: Record<string, Partial<NextLocationConfig>> = {
    "": {},
    ...JSON.parse(model.metadata.variants),
  };
  for (const [name, changes] of Object.entries(variants)) {
    const file = name === "" ? model : model.under(name);
    const params = named(file.under("param")), settings = { ...config, ...changes };
    const { logits, loss, gradients } = nextLocation(settings, params, batch, true);
    assertClose(logits, file.f64("logits"), GOLDEN, `${name} logits`);
    assertClose([loss], file.f64("loss"), GOLDEN, `${name} loss`);
    assertGradientsClose(gradients, file.under("grad"), name);
    const evaluated = nextLocation(settings, params, batch, false);
    assertClose(evaluated.logits, file.f64("logits_eval"), GOLDEN, `${name} logits_eval`);
  }
});

type Step<S> = (state: S, gradient: Float64Array, lr: number) => S;

/** Ten clipped steps on the two batches in turn, against the file. */
function assertTraining<S extends { readonly p: Float64Array }>(
  name: string,
  init: (p: Float64Array) => S,
  step: Step<S>,
): void {
  const file = model.under(name),
    batches = [goldenBatch(model, "batch_a"), goldenBatch(model, "batch_b")];
  const start = named(model.under("param"));
  let running = runningOf(start);
  let states: Record<string, S> = Object.fromEntries(
    Object.keys(named(model.under("grad"))).map((key) => [key, init(start[key])]),
  );
  const losses: number[] = [], norms: number[] = [];
  file.f64("lr").forEach((lr, k) => {
    const params: Record<string, Float64Array> = {
      "FC.norm1.running_mean": running.mean,
      "FC.norm1.running_var": running.variance,
    };
    for (const [key, { p }] of Object.entries(states)) params[key] = p;
    const result = nextLocation(config, params, batches[k % 2], true);
    const names = Object.keys(states);
    const { norm, grads } = clipByGlobalNorm(
      names.map((key) => result.gradients[key]),
      JSON.parse(model.metadata.max_norm),
    );
    losses.push(result.loss);
    norms.push(norm);
    running = result.running;
    states = Object.fromEntries(names.map((key, i) => [key, step(states[key], grads[i], lr)]));
  });
  assertClose(losses, file.f64("losses"), GOLDEN, `${name} losses`);
  assertClose(norms, file.f64("norms"), GOLDEN, `${name} norms`);
  const after = file.under("after");
  for (const [key, { p }] of Object.entries(states)) {
    assertClose(p, after.f64(key), GOLDEN, `${name} after ${key}`);
  }
  assertClose(running.mean, after.f64("FC.norm1.running_mean"), GOLDEN, `${name} running mean`);
  assertClose(running.variance, after.f64("FC.norm1.running_var"), GOLDEN, `${name} running var`);
  const counted = (golden: Golden): number => golden.get("FC.norm1.num_batches_tracked").data[0];
  assertEquals(counted(after), counted(model.under("param")) + 10);
}

Deno.test("next_location reference agrees with PyTorch: ten steps of Adam", () => {
  const settings = { lr: 0, ...JSON.parse(model.metadata.adam) };
  assertTraining<AdamState>(
    "adam",
    adamInit,
    (state, gradient, lr) => adamStep(state, gradient, { ...adamSettings(settings), lr }),
  );
});

Deno.test("next_location reference agrees with PyTorch: ten steps of SGD with Nesterov", () => {
  const { momentum, weight_decay: weightDecay } = JSON.parse(model.metadata.sgd);
  assertTraining<SgdState>(
    "sgd",
    (p) => ({ p }),
    (state, gradient, lr) => sgdStep(state, gradient, { lr, momentum, weightDecay }),
  );
});
