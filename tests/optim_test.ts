import { assert, assertEquals, assertThrows } from "@std/assert";
import { normal, randomKey } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import { flatten, mapTree, type Tree } from "../src/core/tree.ts";
import type { Device } from "../src/gpu/device.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { globalNorm } from "../src/ops/global_norm.ts";
import { add } from "../src/ops/binary.ts";
import { sum } from "../src/ops/sum.ts";
import { adam, type AdamOptions, scaleByAdam } from "../src/optim/adam.ts";
import { clipByGlobalNorm } from "../src/optim/clip.ts";
import { addDecayedWeights } from "../src/optim/decay.ts";
import { chain, descend, type Optimizer, type Transform } from "../src/optim/optimizer.ts";
import { sgd, type SgdOptions, trace } from "../src/optim/sgd.ts";
import { compile, run } from "../src/plan/compile.ts";
import { type DeviceTensor, dispose, put, read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import { adamInit, type AdamState, adamStep } from "./reference/adam.ts";
import { clipByGlobalNorm as clipOracle } from "./reference/clip.ts";
import { assertClose } from "./reference/compare.ts";
import { readGolden } from "./reference/golden.ts";
import { type SgdState, sgdStep } from "./reference/sgd.ts";

const ops = await readGolden("ops");
const settings = (name: string) => JSON.parse(ops.metadata[name]);

interface State {
  readonly params: Tree;
  readonly optimizer: Tree;
}

/** Leaves of sizes that are multiples of nothing, one of a multiple of 64, one scalar. */
const odd = {
  encoder: { weight: [7, 13], bias: [1] },
  layers: [[64, 3], [193]],
  scale: [] as number[],
  table: [67, 31],
};

type Shapes = readonly number[] | readonly Shapes[] | { readonly [name: string]: Shapes };

/** Random numbers of the given shapes, times `scale`. */
function values(shapes: Shapes, seed: number, scale = 1): Tree {
  if (Array.isArray(shapes) && shapes.every((n) => typeof n === "number")) {
    const n = shapes.reduce((a, b) => a * b, 1);
    return tensor(Float32Array.from(normal(randomKey(seed), n), (x) => x * scale), shapes);
  }
  const inner = Object.entries(shapes).map(([name, shape], i) => [
    name,
    values(shape as Shapes, 1000 * seed + i + 1, scale),
  ]);
  return Array.isArray(shapes) ? inner.map(([, leaf]) => leaf as Tree) : Object.fromEntries(inner);
}

/** Trees of any form: the types of `read` know the form of what is read. */
const fetch = read as <T>(tree: unknown) => Promise<T>;
const free = dispose as (tree: unknown) => void;

/** All numbers of a host tree in order. */
function flat(tree: unknown): Float64Array {
  return Float64Array.from(
    flatten(tree as Tree).flatMap(({ leaf }) => [...(leaf as HostTensor).data]),
  );
}

/** A compiled step of an optimizer alone: gradients are given. */
function stepper(device: Device, optimizer: Optimizer, donate: readonly number[] = [0]) {
  const step = (state: State, grads: Tree, learningRate: number): State => {
    const [params, next] = optimizer.step(grads, state.optimizer, state.params, learningRate);
    return { params, optimizer: next };
  };
  return compile(device, step, { donate });
}

const adamSettings = (golden: string): { options: Required<AdamOptions>; lr: number } => {
  const { lr, betas: [beta1, beta2], eps, weight_decay: weightDecay } = settings(golden);
  return { options: { beta1, beta2, eps, weightDecay, maxNorm: settings("max_norm") }, lr };
};

function composedAdam(options: Required<AdamOptions>): Optimizer {
  return descend(
    chain(
      clipByGlobalNorm(options.maxNorm),
      addDecayedWeights(options.weightDecay),
      scaleByAdam(options),
    ),
  );
}

function composedSgd(options: Required<SgdOptions>): Optimizer {
  return descend(
    chain(
      clipByGlobalNorm(options.maxNorm),
      addDecayedWeights(options.weightDecay),
      trace(options.momentum, options),
    ),
  );
}

/** The one state of a list that remembers something. */
function memoryOf(state: Tree): Record<string, HostTensor> {
  const list = (Array.isArray(state) ? state : [state]) as Tree[];
  return list.find((part) => flatten(part).length > 0) as Record<string, HostTensor>;
}

for (const form of ["in one", "composed"]) {
  deviceTest(`adam ${form} makes the five steps of torch.optim.Adam`, async (device) => {
    const { options: { maxNorm: _, ...options }, lr } = adamSettings("adam");
    const optimizer: Optimizer = form === "in one"
      ? adam(options)
      : descend(chain(addDecayedWeights(options.weightDecay), scaleByAdam(options)));
    const golden = ops.under("adam");
    const p = golden.get("p");
    const size = p.data.length;
    using step = stepper(device, optimizer);
    let state: State = put(device, { params: { p }, optimizer: optimizer.init({ p }) });
    for (let k = 0; k < 5; k++) {
      const part = (name: string) => golden.get(name).data.slice(k * size, (k + 1) * size);
      state = step(state, { p: tensor(part("grads"), p.shape) }, lr);
      assertClose(flat(await fetch(state.params)), part("after"), 1e-6, `step ${k + 1}`);
    }
    const { count, m, v } = memoryOf(await fetch<Tree>(state.optimizer));
    assertEquals([...count.data], [5]);
    assertClose(m.data.subarray(0, size), golden.f64("m"), 1e-6, "m");
    assertClose(v.data.subarray(0, size), golden.f64("v"), 1e-6, "v");
    free(state);
  });

  deviceTest(`sgd ${form} makes the five steps of torch.optim.SGD`, async (device) => {
    const { lr, momentum, nesterov, weight_decay: weightDecay } = settings("sgd");
    const optimizer: Optimizer = form === "in one"
      ? sgd({ momentum, nesterov, weightDecay })
      : descend(chain(addDecayedWeights(weightDecay), trace(momentum, { nesterov })));
    const golden = ops.under("sgd");
    const p = golden.get("p");
    const size = p.data.length;
    using step = stepper(device, optimizer);
    let state: State = put(device, { params: { p }, optimizer: optimizer.init({ p }) });
    for (let k = 0; k < 5; k++) {
      const part = (name: string) => golden.get(name).data.slice(k * size, (k + 1) * size);
      state = step(state, { p: tensor(part("grads"), p.shape) }, lr);
      assertClose(flat(await fetch(state.params)), part("after"), 1e-6, `step ${k + 1}`);
    }
    const memory = memoryOf(await fetch<Tree>(state.optimizer));
    assertClose(memory.momentum.data.subarray(0, size), golden.f64("momentum"), 1e-6, "momentum");
    free(state);
  });
}

type Grads = Readonly<Record<"a" | "b" | "c", Tensor>>;

for (const name of ["clip_active", "clip_inactive", "clip_zero"]) {
  deviceTest(`clipByGlobalNorm does what clip_grad_norm_ does: ${name}`, async (device) => {
    const golden = ops.under(name);
    const grads: Grads = { a: golden.get("a"), b: golden.get("b"), c: golden.get("c") };
    const transform = clipByGlobalNorm(settings("max_norm"));
    const out = await read(
      run(device, (grads: Grads) => ({
        norm: globalNorm(grads) as Tensor,
        clipped: transform.update(grads, {}, grads)[0],
      }))(grads),
    );
    assertEquals(out.norm.shape, []);
    assertClose(out.norm.data, golden.f64("norm"), 1e-6, "norm");
    for (const key of ["a", "b", "c"] as const) {
      assertClose(out.clipped[key].data, golden.f64(`clipped_${key}`), 1e-6, key);
    }
  });
}

for (const form of ["in one", "composed"]) {
  deviceTest(`adam ${form} with clipping on leaves of odd sizes, in place`, async (device) => {
    const { options } = adamSettings("adam");
    const optimizer: Optimizer = form === "in one" ? adam(options) : composedAdam(options);
    const before = device.liveBytes;
    const params = values(odd, 1);
    let expected: AdamState = adamInit(flat(params));
    const step = stepper(device, optimizer);
    let state: State = put(device, { params, optimizer: optimizer.init(params) });
    const used: number[] = [];
    const memories = new Set<unknown>();
    for (let k = 0; k < 6; k++) {
      // Norms above and below the one to clip to, gradients with zeros, rates that change.
      const grads = values(odd, 10 + k, k % 2 === 0 ? 3 : 1e-3);
      (flatten(grads)[0].leaf as HostTensor).data.fill(0, 0, 50);
      const lr = 0.01 * (k + 1);
      const old = state;
      state = step(state, grads, lr);
      const { grads: [clipped] } = clipOracle([flat(grads)], options.maxNorm);
      expected = adamStep(expected, clipped, { ...options, lr });
      const got = await fetch<State>(state);
      assertClose(flat(got.params), expected.p, 1e-6, `step ${k + 1}`);
      used.push(device.liveBytes);
      for (const { leaf } of flatten(state as unknown as Tree)) {
        memories.add((leaf as DeviceTensor).storage.memory);
      }
      let message = "";
      await fetch(old.params).catch((error: Error) => message = error.message);
      assert(message.includes("it was given to step"), message);
      assertThrows(() => step(old, grads, lr), TypeError, `(call ${k + 1})`);
    }
    assertEquals(used, used.map(() => used[0]));
    assertEquals(memories.size, 1);
    free(state);
    step[Symbol.dispose]();
    assertEquals(device.liveBytes, before);
  });

  for (const nesterov of [true, false]) {
    deviceTest(
      `sgd ${form} with clipping on leaves of odd sizes, nesterov ${nesterov}`,
      async (device) => {
        const options = { momentum: 0.98, nesterov, weightDecay: 0.01, maxNorm: 1.5 };
        const optimizer: Optimizer = form === "in one" ? sgd(options) : composedSgd(options);
        const before = device.liveBytes;
        const params = values(odd, 2);
        let expected: SgdState = { p: flat(params) };
        let velocity: Float64Array | undefined;
        const step = stepper(device, optimizer);
        let state: State = put(device, { params, optimizer: optimizer.init(params) });
        for (let k = 0; k < 5; k++) {
          const grads = values(odd, 20 + k, k % 2 === 0 ? 3 : 1e-3);
          state = step(state, grads, 0.1);
          const { grads: [clipped] } = clipOracle([flat(grads)], options.maxNorm);
          if (nesterov) {
            expected = sgdStep(expected, clipped, { ...options, lr: 0.1 });
          } else {
            const p = expected.p;
            velocity = clipped.map((g, i) =>
              g + 0.01 * p[i] + 0.98 * (velocity === undefined ? 0 : velocity[i])
            );
            expected = { p: p.map((x, i) => x - 0.1 * velocity![i]) };
          }
          assertClose(flat(await fetch(state.params)), expected.p, 1e-6, `step ${k + 1}`);
        }
        free(state);
        step[Symbol.dispose]();
        assertEquals(device.liveBytes, before);
      },
    );
  }
}

deviceTest(
  "sgd without momentum remembers nothing and moves against the gradient",
  async (device) => {
    const optimizer = sgd({ weightDecay: 0.5 });
    const params = { w: tensor([1, -2, 3]) };
    assertEquals(optimizer.init(params), {});
    const out = await read(
      run(device, (p: typeof params, g: typeof params) => optimizer.step(g, {}, p, 0.125)[0])(
        params,
        { w: tensor([8, 0, -8]) },
      ),
    );
    assertEquals([...out.w.data], [1 - 1 - 0.0625, -2 + 0.125, 3 + 1 - 0.1875]);
  },
);

deviceTest("without donation a step leaves what it was given as it was", async (device) => {
  const optimizer = adam({ maxNorm: 1 });
  const params = values(odd, 3), grads = values(odd, 4);
  using step = stepper(device, optimizer, []);
  const first: State = put(device, { params, optimizer: optimizer.init(params) });
  const second = step(first, grads, 0.1);
  const third = step(second, grads, 0.1);
  const [a, b, c] = await fetch<State[]>([first, second, third]);
  assertEquals(flat(a.params), flat(params));
  assertEquals(flat(a.optimizer), flat(optimizer.init(params)));
  let expected = adamInit(flat(params));
  const { grads: [clipped] } = clipOracle([flat(grads)], 1);
  for (const state of [b, c]) {
    const settings = { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 };
    expected = adamStep(expected, clipped, settings);
    assertClose(flat(state.params), expected.p, 1e-6, `step ${expected.step}`);
  }
  for (const state of [first, second, third]) free(state);
});

deviceTest("a donated state that is still needed after the step is kept", async (device) => {
  const optimizer = adam();
  const params = values(odd, 5), grads = values(odd, 6);
  using both = compile(
    device,
    (state: State, grads: Tree) => {
      const [params, next] = optimizer.step(grads, state.optimizer as never, state.params, 0.1);
      const doubled = mapTree(state.params, (leaf) => add(leaf, leaf));
      return { params, next, before: state.params, doubled };
    },
    { donate: [0] },
  );
  const state: State = put(device, { params, optimizer: optimizer.init(params) });
  const made = both(state, grads);
  const { params: after, before, doubled } = await fetch<Record<string, Tree>>(made);
  assertEquals(flat(before), flat(params));
  assertEquals(flat(doubled), flat(params).map((x) => 2 * x));
  const settings = { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 };
  assertClose(flat(after), adamStep(adamInit(flat(params)), flat(grads), settings).p, 1e-6, "p");
  free(made);
});

deviceTest(
  "a step follows gradients that the same function computes, bit for bit",
  async (device) => {
    const optimizer = adam({ maxNorm: 1, weightDecay: 1e-3 });
    const params = values(odd, 7);
    const loss = (params: Tree, target: Tensor): Tensor => {
      const totals = flatten(params).map(({ leaf }) => sum(add(leaf, leaf)));
      return totals.reduce((a, b) => add(a, b), target);
    };
    const train = async (): Promise<Float64Array> => {
      using step = compile(device, (state: State, target: Tensor, rate: number) => {
        const [value, grads] = valueAndGrad(loss)(state.params, target);
        const [params, next] = optimizer.step(grads, state.optimizer as never, state.params, rate);
        return { value, state: { params, optimizer: next } };
      }, { donate: [0] });
      let state: State = put(device, { params, optimizer: optimizer.init(params) });
      for (let k = 0; k < 3; k++) ({ state } = step(state, tensor([1], []), 0.1));
      const result = flat(await fetch(state.params));
      free(state);
      return result;
    };
    const first = await train();
    const settings = { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 1e-3 };
    let expected = adamInit(flat(params));
    const { grads: [clipped] } = clipOracle([expected.p.map(() => 2)], 1);
    for (let k = 0; k < 3; k++) expected = adamStep(expected, clipped, settings);
    assertClose(first, expected.p, 1e-6, "params");
    assertEquals(await train(), first);
  },
);

for (const count of [1, 2, 9, 99, 999, 12_345, 10_000_000]) {
  deviceTest(`adam corrects its means exactly at step ${count + 1}`, async (device) => {
    // Gradients of one size: the root of the mean square is exact, the correction is all there is.
    const options = { beta1: 0.999, beta2: 0.99999, eps: 1e-8 };
    const p = new Float64Array(5), g = Float64Array.of(1e-3, -2, 30, 0, 7);
    const state = { p, m: g.map((x) => x / 2), v: g.map((x) => x * x / 3), step: count };
    const expected = adamStep(state, g, { ...options, lr: 1, weightDecay: 0 });
    const slab = (x: Float64Array) => {
      const data = new Float32Array(64);
      data.set(x);
      return tensor(data);
    };
    const optimizer = adam(options);
    const out = await fetch<{ readonly p: HostTensor }>(
      run(
        device,
        (state: State, g: Tree) => optimizer.step(g, state.optimizer as never, state.params, 1)[0],
      )(
        {
          params: { p: tensor([...p]) },
          optimizer: {
            count: tensor(Uint32Array.of(count), []),
            m: slab(state.m),
            v: slab(state.v),
          },
        },
        { p: tensor([...g]) },
      ),
    );
    assertClose(out.p.data, expected.p, 1e-6, "p");
  });
}

deviceTest("adam without memory of the mean, beta1 = beta2 = 0", async (device) => {
  const optimizer = adam({ beta1: 0, beta2: 0, eps: 1 });
  const params = { w: tensor([1, 1, 1]) };
  const out = await read(
    run(
      device,
      (p: typeof params, g: typeof params) => optimizer.step(g, optimizer.init(p), p, 1)[0],
    )(params, { w: tensor([1, 3, -1]) }),
  );
  assertClose(out.w.data, [0.5, 0.25, 1.5], 1e-7, "w");
});

const sizeLists = [[1], [63], [64], [65], [8191], [8192], [8193], [1, 130, 3, 5000], [300_007]];
for (const sizes of sizeLists) {
  deviceTest(`globalNorm of ${sizes.join(" + ")} elements`, async (device) => {
    for (const scale of sizes[0] > 300_000 ? [1e20] : [0, 1e-12, 1, 1e15, 3e17, 1e18, 1e20, 1e30]) {
      const tree = values(sizes.map((n) => [n]), 8, scale);
      const norm = await fetch<HostTensor>(run(device, globalNorm)(tree));
      const { norm: expected } = clipOracle([flat(tree)], 1);
      assertClose(norm.data, [expected], 2e-6, `elements near ${scale}`);
    }
  });
}

deviceTest("what lies between the leaves of a slab is zero, whatever was there", async (device) => {
  const tree = values([[3], [65], [700], [1]], 9);
  using norm = compile(device, (tree: Tree, noise: Tensor) => {
    // Memory with other numbers in it, free before the gradients are computed.
    const spent = sum(add(noise, noise));
    const grads = mapTree(tree, (leaf) => add(leaf, add(leaf, leaf)));
    return { norm: globalNorm(grads) as Tensor, copied: globalNorm(tree) as Tensor, spent };
  });
  const n = clipOracle([flat(tree)], 1).norm;
  for (const noise of [1e3, 1e4]) {
    const result = norm(tree, tensor(new Float32Array(1024).fill(noise)));
    const out = await read(result);
    assertClose(out.norm.data, [3 * n], 1e-6, "norm of computed leaves");
    assertClose(out.copied.data, [n], 1e-6, "norm of copied leaves");
    assertEquals(out.spent.data[0], 2048 * noise);
    free(result);
  }
});

deviceTest("results that lie in memory used before give the same norm", async (device) => {
  free(put(device, tensor(new Float32Array(64).fill(1e6))));
  const g = run(device, (x: Tensor) => ({ x: add(x, x) }))(tensor([1, 2, 2]));
  const norm = await fetch<HostTensor>(run(device, globalNorm)(g));
  assertEquals(norm.data[0], 6);
});

deviceTest("a step refuses gradients and states of another form", async (device) => {
  const optimizer = adam();
  const params = { a: tensor([1, 2]), b: tensor([3]) };
  const step = (grads: Tree, state: Tree = optimizer.init(params), rate: Tensor | number = 1) =>
    run(
      device,
      (p: Tree, g: Tree, s: Tree) => optimizer.step(g, s as never, p, rate)[0],
    )(params, grads, state);
  const good = { a: tensor([0, 0]), b: tensor([0]) };
  step(good);
  assertThrows(() => step({ a: tensor([0, 0]) }), TypeError, "there is no gradient");
  assertThrows(() => step({ ...good, c: tensor([1]) }), TypeError, "the gradient c");
  assertThrows(() => step({ ...good, b: tensor([1, 2]) }), TypeError, "gradient of shape [2]");
  assertThrows(() => step(good, optimizer.init({ a: params.a })), TypeError, "[64]");
  assertThrows(() => step(good, undefined, tensor([1, 2])), TypeError, "learning rate");
  const counted = { n: tensor(Int32Array.of(1)) };
  assertThrows(
    () => run(device, (p: Tree) => optimizer.step(p, optimizer.init(p), p, 1)[0])(counted),
    TypeError,
    "parameters are f32",
  );
  await Promise.resolve();
});

Deno.test("optimizers refuse settings out of range", () => {
  const wrong: (() => Optimizer | Transform)[] = [
    () => adam({ beta1: 1 }),
    () => adam({ beta2: -0.1 }),
    () => adam({ eps: 0 }),
    () => adam({ weightDecay: NaN }),
    () => adam({ maxNorm: 0 }),
    () => scaleByAdam({ beta2: 1 }),
    () => sgd({ momentum: 1 }),
    () => sgd({ nesterov: true }),
    () => sgd({ maxNorm: Infinity }),
    () => trace(-1),
    () => clipByGlobalNorm(-1),
    () => addDecayedWeights(-1),
  ];
  for (const make of wrong) assertThrows(make, RangeError, "Cannot make an optimizer");
});
