import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { normal, randomKey, uniform } from "../src/core/random.ts";
import { type HostTensor, sizeOf, type Tensor, tensor } from "../src/core/tensor.ts";
import { flatten, type Tree } from "../src/core/tree.ts";
import type { Sample } from "../src/data/samples.ts";
import { type Device, type OpenDevice, openDevice } from "../src/gpu/device.ts";
import { input, nodesOf, type Traced } from "../src/graph/graph.ts";
import { type NextLocation, nextLocation } from "../src/models/next_location.ts";
import { add } from "../src/ops/binary.ts";
import { crossEntropy } from "../src/ops/cross_entropy.ts";
import { globalNorm } from "../src/ops/global_norm.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { linear } from "../src/ops/linear.ts";
import { rank } from "../src/ops/rank.ts";
import { slabWindows } from "../src/ops/slab_windows.ts";
import { mean } from "../src/ops/sum.ts";
import { adam } from "../src/optim/adam.ts";
import { clipByGlobalNorm } from "../src/optim/clip.ts";
import { addDecayedWeights } from "../src/optim/decay.ts";
import { chain, descend, type Optimizer } from "../src/optim/optimizer.ts";
import { sgd, trace } from "../src/optim/sgd.ts";
import { compile, run } from "../src/plan/compile.ts";
import { dispose, put, read } from "../src/plan/device_tensor.ts";
import { readersFirst } from "../src/plan/order.ts";
import { disposeState, trainer } from "../src/train/step.ts";
import { deviceTest } from "./adapter.ts";
import { assertClose } from "./reference/compare.ts";
import { crossEntropy as oracle } from "./reference/cross_entropy.ts";

const random = (seed: number, ...shape: readonly number[]): HostTensor =>
  tensor(Float32Array.from(normal(randomKey(seed), sizeOf(shape))), shape);
const below = (seed: number, n: number, most: number): Uint32Array =>
  Uint32Array.from(uniform(randomKey(seed), n), (u) => Math.floor(u * most));
const kernelsOf = (device: Device): "straight" | "loop" =>
  device.adapter.straight ? "straight" : "loop";

type Numbers = readonly HostTensor["data"][];

/** The numbers of every leaf. */
async function numbers(tree: unknown): Promise<Numbers> {
  const there = await read(tree as Tree) as Tree;
  return flatten(there).map(({ leaf }) => (leaf as HostTensor).data);
}

/** Asserts that all numbers are the same; names the first that is not, not thousands of them. */
function assertSame(actual: Numbers, expected: Numbers): void {
  assertEquals(actual.map(({ length }) => length), expected.map(({ length }) => length));
  actual.forEach((leaf, i) => {
    const at = leaf.findIndex((value, k) => !Object.is(value, expected[i][k]));
    if (at >= 0) {
      throw new Error(`leaf ${i}, element ${at}: ${leaf[at]} instead of ${expected[i][at]}`);
    }
  });
}

/** The device, as if its kernels could bind only `bytes` of a buffer: binding more is an error. */
function withBindings(device: Device, bytes: number): Device {
  const adapter = { ...device.adapter, maxBindingBytes: bytes };
  return Object.create(device, { adapter: { value: adapter } });
}

/** The device, and the sizes of the memory that is asked of it. */
function watched(device: Device): { readonly device: Device; readonly asked: number[] } {
  const asked: number[] = [];
  const allocate = (bytes: number) => {
    asked.push(bytes);
    return (device as OpenDevice).allocate(bytes);
  };
  return { device: Object.create(device, { allocate: { value: allocate } }), asked };
}

// An output layer: B rows of K features, V classes, [B,V] of 1 MiB.
const B = 64, V = 4096, K = 8;
const layer = { weight: random(1, V, K), bias: random(2, V) };
const features = random(3, B, K);
const labels = tensor(below(4, B, V));
type Layer = typeof layer;

const logitsOf = ({ weight, bias }: Readonly<Record<keyof Layer, Tensor>>, x: Tensor): Tensor =>
  linear(x, weight, bias);

/** Loss, gradients, and what reads the logits after the gradients were asked for. */
function outputLayer(params: Layer, x: Tensor, targets: Tensor, keepLogits: string) {
  const [[loss, logits], grads] = valueAndGrad((p: Layer) => {
    const logits = logitsOf(p, x);
    return [crossEntropy(logits, targets, { ignoreIndex: 0 }), logits] as const;
  }, { hasAux: true })(params);
  const results = { loss, grads, ranking: rank(logits, targets) };
  return keepLogits === "yes" ? { results, logits } : { results };
}

deviceTest(
  "the gradient of the logits is written over them: [B,V] is there once",
  async (shared) => {
    using device = await openDevice({ kernels: kernelsOf(shared) });
    const observe = async (keepLogits: string) => {
      assertEquals(device.liveBytes, 0);
      using f = compile(device, outputLayer);
      const first = f(layer, features, labels, keepLogits);
      const got = await numbers(first.results);
      const logits = await numbers("logits" in first ? first.logits : []);
      // Again: what the first run left in the memory must not matter.
      const second = f(layer, features, labels, keepLogits);
      assertSame(await numbers(second.results), got);
      dispose([first as Tree, second as Tree]);
      return { got, logits, bytes: device.liveBytes };
    };
    const once = await observe("no"), twice = await observe("yes");
    assertSame(once.got, twice.got);
    assertEquals(twice.bytes - once.bytes, 4 * B * V);
    assertEquals(device.liveBytes, 0);

    const [loss, bias, weight] = [once.got[0], once.got[1], once.got[2]];
    const { loss: expected, dlogits } = oracle(Float64Array.from(twice.logits[0]), labels.data, 0);
    const db = new Float64Array(V), dw = new Float64Array(V * K);
    dlogits.forEach((d, i) => {
      const b = Math.floor(i / V), v = i % V;
      db[v] += d;
      for (let k = 0; k < K; k++) dw[v * K + k] += d * features.data[b * K + k];
    });
    assertClose(loss, [expected], 1e-5, "loss");
    const [one, other] = flatten(layer).map(({ path }) => path);
    assertClose(bias, one === "bias" ? db : dw, 1e-5, one);
    assertClose(weight, other === "bias" ? db : dw, 1e-5, other);
  },
);

deviceTest("logits may be used together with their gradient, and by two losses", async (device) => {
  const other = tensor(below(5, B, V));
  const gradient = (logits: Tensor, targets: Tensor): Traced => {
    const loss = crossEntropy(logits, targets) as Traced;
    return loss.node.operation.vjp!(loss.node, [tensor([1], []) as unknown as Traced])[0]!;
  };
  const alone = (targets: Tensor) =>
    run(device, (p: Layer, x: Tensor) => {
      const logits = logitsOf(p, x);
      return { logits, gradient: gradient(logits, targets) };
    })(layer, features);
  const [a, b] = [await read(alone(labels)), await read(alone(other))] as Record<
    "logits" | "gradient",
    HostTensor
  >[];
  const all = await numbers(
    run(device, (p: Layer, x: Tensor) => {
      const logits = logitsOf(p, x);
      const first = gradient(logits, labels), second = gradient(logits, other);
      return [first, second, add(logits, first), rank(logits, labels).ranks];
    })(layer, features),
  );
  const ranks = run(device, (p: Layer, x: Tensor) => rank(logitsOf(p, x), labels).ranks);
  assertSame(all, [
    a.gradient.data,
    b.gradient.data,
    a.logits.data.map((value, i) => value + a.gradient.data[i]),
    ...await numbers([ranks(layer, features)]),
  ]);
});

Deno.test("readers of a tensor come before what may overwrite it", () => {
  const x = input(0, { shape: [3, 4], dtype: "f32" });
  const w = input(1, { shape: [5, 4], dtype: "f32" });
  const targets = input(2, { shape: [3], dtype: "u32" });
  const logits = linear(x, w);
  const loss = crossEntropy(logits, targets) as Traced;
  const [gradient] = loss.node.operation.vjp!(loss.node, [loss]) as readonly Traced[];
  const plain = [loss, gradient];
  assertEquals(readersFirst(plain).map(({ node }) => node), plain.map(({ node }) => node));

  const sum = add(logits, gradient) as Traced;
  const ranks = rank(logits, targets).ranks as Traced;
  const ordered = readersFirst([sum, ranks, loss]);
  assertEquals(ordered.map(({ shape }) => shape), [[3, 5], [3], []]);
  const names = nodesOf(ordered).map(({ operation }) => operation.name);
  assertEquals(names.slice(-4), ["cross_entropy", "rank", "cross_entropy_backward", "add"]);
});

const vocabulary = {
  totalLocNum: 5003,
  totalUserNum: 5,
  baseEmbSize: 8,
  lstmHiddenSize: 12,
  lstmNumLayers: 2,
  lstmDropout: 0.2,
  fcDropout: 0.2,
  ifEmbedUser: true,
  ifEmbedTime: true,
  ifEmbedDuration: true,
  embInfo: "all",
  init: "standard",
} as const;

function samplesOf(count: number, seed: number): Sample[] {
  const places = below(seed, 4 * count, vocabulary.totalLocNum - 2);
  return Array.from({ length: count }, (_, i) => {
    const each = (value: number): Int32Array => new Int32Array(1 + i % 3).fill(value);
    return {
      X: each(0).map((_, t) => places[4 * i + t] + 2),
      user_X: each(i % 5),
      weekday_X: each(i % 7),
      start_min_X: each(15 * i),
      dur_X: Float64Array.from(each(31 * i)),
      diff: each(1),
      Y: places[4 * i + 3] + 2,
    };
  });
}

/** Parameters, moments and results after three steps of training. */
async function threeSteps(device: Device, model: NextLocation): Promise<Numbers> {
  using training = trainer(device, model, adam({ maxNorm: 1, weightDecay: 1e-6 }));
  let state = training.init(model.init(randomKey(1)), randomKey(2));
  const results: HostTensor["data"][] = [];
  for (let k = 0; k < 3; k++) {
    const { result } = state;
    if (result !== undefined) dispose(result as unknown as Tree);
    state = training.step({ ...state, learningRate: 0.01 }, model.batch(samplesOf(12, k)));
    results.push(...await numbers(state.result));
  }
  const end = [...results, ...await numbers([state.params, state.optimizer, state.statistics])];
  disposeState(state);
  return end;
}

deviceTest("a training step of many locations has one [B,V]", async (shared) => {
  const { device, asked } = watched(shared);
  await threeSteps(device, nextLocation(vocabulary));
  const bytes = 4 * 12 * vocabulary.totalLocNum;
  assertEquals(asked.filter((n) => n === bytes).length, 1);
});

deviceTest("training on WebGPU's default limits, in windows too, is the same", async (shared) => {
  const model = nextLocation(vocabulary);
  const expected = await threeSteps(shared, model);
  using device = await openDevice({ kernels: kernelsOf(shared), limits: "default" });
  const { limits } = (device as OpenDevice).gpu;
  assertEquals([limits.maxStorageBufferBindingSize, limits.maxBufferSize], [2 ** 27, 2 ** 28]);
  assertEquals(device.adapter.maxBindingBytes, 2 ** 27);
  assertSame(await threeSteps(device, model), expected);
  // As large as the largest tensor, so that the slab of all parameters is bound in windows.
  const largest = 4 * 12 * vocabulary.totalLocNum;
  assertSame(await threeSteps(withBindings(device, largest), model), expected);
});

Deno.test("windows cover a slab once, begin where a binding may and are no larger", () => {
  for (const size of [64, 8192, 8256, 20_032, 2 ** 25, 2 ** 25 + 64, 40_000_000, 200_000_000]) {
    for (const maxBindingBytes of [2 ** 15, 2 ** 15 + 4, 2 ** 16, 10 ** 8, 2 ** 27, 2 ** 31 - 1]) {
      const windows = slabWindows(size, { maxBindingBytes });
      let next = 0;
      for (const { offset, size } of windows) {
        assertEquals([offset, offset % 64, size % 4], [next, 0, 0]);
        assert(size > 0 && 4 * size <= maxBindingBytes);
        next = offset + size;
      }
      assertEquals(next, size);
      assert(windows.length <= Math.ceil(4 * size / maxBindingBytes) * 2);
    }
  }
});

/** One leaf larger than a window of 8192 elements, and smaller ones before and after it. */
const shapes = { a: [3, 7], b: [201, 101], c: [8192], d: [5] } as const;

function leaves(seed: number): Record<keyof typeof shapes, HostTensor> {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape], i) => [name, random(10 * seed + i, ...shape)]),
  ) as Record<keyof typeof shapes, HostTensor>;
}

const optimizers: Readonly<Record<string, Optimizer>> = {
  "adam with clipping": adam({ maxNorm: 1, weightDecay: 0.01 }) as Optimizer,
  "adam without clipping": adam() as Optimizer,
  "sgd with momentum": sgd({ momentum: 0.9, nesterov: true, maxNorm: 1 }) as Optimizer,
  "plain sgd": sgd({}) as Optimizer,
  "composed": descend(
    chain(clipByGlobalNorm(1), addDecayedWeights(0.01), trace(0.9)),
  ) as Optimizer,
};

for (const [name, optimizer] of Object.entries(optimizers)) {
  deviceTest(`slabs larger than a binding: ${name} is the same`, async (shared) => {
    const steps = async (device: Device) => {
      const init = { params: leaves(1) as Tree, optimizer: optimizer.init(leaves(1)) };
      using step = compile(device, (state: typeof init, grads: Tree, rate: number) => {
        const [params, next] = optimizer.step(grads, state.optimizer, state.params, rate);
        return { params, optimizer: next };
      }, { donate: [0] });
      let state = put(device, init as Tree) as typeof init;
      for (let k = 0; k < 3; k++) state = step(state, leaves(2 + k), 0.1);
      const end = await numbers(state);
      dispose(state as Tree);
      return end;
    };
    const expected = await steps(shared);
    assertSame(await steps(withBindings(shared, 2 ** 15)), expected);
  });
}

deviceTest("the global norm of slabs larger than a binding", async (device) => {
  const grads = leaves(7);
  const norm = (on: Device) => read(run(on, globalNorm)(grads)) as Promise<HostTensor>;
  const all = flatten(grads).flatMap(({ leaf }) => [...(leaf as HostTensor).data]);
  const got = (await norm(withBindings(device, 2 ** 15))).data;
  assertClose(got, [Math.hypot(...all)], 1e-6, "norm");
  assertEquals(got, (await norm(device)).data);
});

deviceTest("what cannot be bound or held is an error that says so", async (shared) => {
  const narrow = withBindings(shared, 2 ** 15);
  const message = assertThrows(
    () => run(narrow, mean)(random(1, 8193)),
    InputError,
  ).message;
  assert(/needs 32772 bytes in one binding, but .* allows 32768/.test(message), message);

  using device = await openDevice({ kernels: kernelsOf(shared), limits: "default" });
  const open = device as OpenDevice;
  // Memory is made larger than asked, to be of use again, but not larger than a buffer may be.
  const memory = open.allocate(250_000_000);
  assert(memory.bytes >= 250_000_000 && memory.buffer.size <= 2 ** 28);
  open.release(memory);
  assertThrows(() => open.allocate(2 ** 28), InputError, "a buffer of 268435456 bytes is needed");
  assertEquals(device.liveBytes, 0);
});
