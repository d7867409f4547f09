import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { foldIn, randomKey, uniform } from "../src/core/random.ts";
import { type HostTensor, sizeOf, type Tensor, tensor } from "../src/core/tensor.ts";
import { flatten, mapLeaves, type Tree } from "../src/core/tree.ts";
import type { Sample } from "../src/data/samples.ts";
import { input, nodesOf, type Traced, type TracedPacking } from "../src/graph/graph.ts";
import { type Device, openDevice } from "../src/gpu/device.ts";
import {
  type Initial,
  type NextLocation,
  nextLocation,
  type NextLocationBatch,
  type NextLocationConfig,
} from "../src/models/next_location.ts";
import { fromStateDict, toStateDict } from "../src/models/state_dict.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { adam } from "../src/optim/adam.ts";
import type { Optimizer } from "../src/optim/optimizer.ts";
import { compile, type Compiled, run } from "../src/plan/compile.ts";
import { dispose, put, read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import {
  compareGradients,
  compareSteps,
  type Comparison,
  file,
  goldenModel,
  goldenStart,
  lossAndGradients,
  startOf,
  tensorsOf,
  trainStep,
  variants,
} from "./golden_model.ts";
import { assertClose, maxAbs } from "./reference/compare.ts";
import { nextLocation as oracle } from "./reference/next_location.ts";

function assertAll(comparisons: readonly Comparison[]): void {
  assert(comparisons.length > 3);
  for (const { actual, expected, tolerance, what, floor } of comparisons) {
    assertClose(actual, expected, tolerance, what, floor);
  }
}

deviceTest("next location: logits, loss and gradients are PyTorch's", async (device) => {
  assertAll(await compareGradients(device));
});

for (const variant of variants) {
  deviceTest(`next location, ${variant} variant: PyTorch's numbers`, async (device) => {
    assertAll(await compareGradients(device, variant));
  });
}

for (const name of ["adam", "sgd"] as const) {
  deviceTest(`next location: ten steps of ${name} are PyTorch's`, async (device) => {
    assertAll(await compareSteps(device, name));
  });
}

const geolife: NextLocationConfig = {
  totalLocNum: 1187,
  totalUserNum: 46,
  baseEmbSize: 32,
  lstmHiddenSize: 128,
  lstmNumLayers: 2,
  lstmDropout: 0.2,
  fcDropout: 0.2,
  ifEmbedUser: true,
  ifEmbedTime: true,
  ifEmbedDuration: true,
  embInfo: "all",
  init: "standard",
};

/** Everything on, no size a multiple of a tile. */
const small: NextLocationConfig = {
  ...geolife,
  totalLocNum: 41,
  totalUserNum: 6,
  baseEmbSize: 9,
  lstmHiddenSize: 13,
};

Deno.test("parameter counts of the GeoLife and DIY configurations", () => {
  const count = (config: NextLocationConfig): number =>
    flatten(nextLocation(config).shapes().params).reduce(
      (sum, { leaf }) => sum + sizeOf(leaf.shape),
      0,
    );
  assertEquals(count(geolife), 482_659);
  const diy = { baseEmbSize: 96, lstmHiddenSize: 192, totalLocNum: 7038, totalUserNum: 693 };
  assertEquals(count({ ...geolife, ...diy, fcDropout: 0.1 }), 2_847_582);
});

Deno.test("initial weights have the shapes that shapes() gives", () => {
  const shapes = (tree: unknown): unknown =>
    flatten(tree as Tree).map(({ path, leaf }) => [path, leaf.shape]);
  const configs: Partial<NextLocationConfig>[] = [
    {},
    { embInfo: "time", ifEmbedUser: false },
    { embInfo: "weekday", ifEmbedDuration: false, lstmNumLayers: 1 },
    { ifEmbedTime: false, lstmNumLayers: 3, init: "reference" },
  ];
  for (const changes of configs) {
    const config = { ...small, ...changes };
    const model = nextLocation(config);
    assertEquals(shapes(model.init(randomKey(1))), shapes(model.shapes()));
  }
});

Deno.test("names are PyTorch's", () => {
  for (const variant of [undefined, ...variants]) {
    const golden = (variant === undefined ? file : file.under(variant)).under("param");
    const model = goldenModel(variant);
    const names = Object.keys(toStateDict(model, model.init(randomKey(1)), 0));
    assertEquals(names.toSorted(), golden.names.toSorted());
  }
});

Deno.test("a state dict brings back what was made one", () => {
  const model = nextLocation(small);
  const initial = model.init(randomKey(5));
  const dict = toStateDict(model, initial, 7);
  assertEquals([...dict["FC.norm1.num_batches_tracked"].data], [7]);
  assertEquals(fromStateDict(model, new Map(Object.entries(dict)), "a.safetensors"), initial);
  const golden = goldenStart(goldenModel());
  const again = toStateDict(goldenModel(), golden, 3);
  for (const [name, { data, shape }] of tensorsOf(file.under("param"))) {
    assertEquals([...again[name].data], [...data], name);
    assertEquals(again[name].shape, shape, name);
  }
});

Deno.test("a state dict that does not fit is an error that names the file and the tensor", () => {
  const model = nextLocation(small);
  const dict = new Map(Object.entries(toStateDict(model, model.init(randomKey(5)), 7)));
  const assertFails = (change: (dict: Map<string, HostTensor>) => void, ...parts: string[]) => {
    const changed = new Map(dict);
    change(changed);
    const error = assertThrows(() => fromStateDict(model, changed, "a.safetensors"), InputError);
    for (const part of ["a.safetensors", ...parts]) {
      assert(error.message.includes(part), `${error.message}: no ${part}`);
    }
    assertEquals(error.message.split("\n").length, 1);
  };
  assertFails((d) => d.delete("lstm.weight_hh_l1"), "lstm.weight_hh_l1");
  assertFails((d) => d.delete("FC.norm1.running_var"), "FC.norm1.running_var");
  assertFails((d) => d.set("lstm.bias_ih_l2", tensor([0])), "lstm.bias_ih_l2");
  assertFails((d) => d.set("FC.fc_loc.bias", tensor([1, 2])), "FC.fc_loc.bias", "[2]", "[41]");
  const transposed = tensor(new Float32Array(13 * 41), [13, 41]);
  assertFails((d) => d.set("FC.fc_loc.weight", transposed), "[13,41]", "[41,13]");
  const integers = tensor(new Int32Array(41));
  assertFails((d) => d.set("FC.fc_loc.bias", integers), "FC.fc_loc.bias", "i32", "f32");
});

Deno.test("initial weights are Xavier-uniform or orthogonal, and all different", () => {
  for (const init of ["standard", "reference"] as const) {
    const model = nextLocation({ ...small, init });
    const { params, statistics } = model.init(randomKey(3));
    const firsts = new Set<number>();
    let matrices = 0;
    for (const { path, leaf } of flatten(params)) {
      const data = [...(leaf as HostTensor).data];
      if (leaf.shape.length < 2) continue;
      const [rows, columns] = leaf.shape;
      matrices++;
      firsts.add(data[0]);
      if (path.endsWith("weightHh")) {
        for (let a = 0; a < columns; a++) {
          for (let b = 0; b <= a; b++) {
            let dot = 0;
            for (let r = 0; r < rows; r++) dot += data[r * columns + a] * data[r * columns + b];
            assert(Math.abs(dot - (a === b ? 1 : 0)) < 1e-6, `${path}: columns ${a} and ${b}`);
          }
        }
        continue;
      }
      const bound = Math.sqrt(6 / (rows + columns));
      const largest = data.reduce((max, v) => Math.max(max, Math.abs(v)), 0);
      assert(largest <= Math.fround(bound) && largest > 0.85 * bound, `${path}: ${largest}`);
      // The mean of n uniform numbers has the standard deviation bound / sqrt(3 n).
      const mean = data.reduce((sum, v) => sum + v, 0) / data.length;
      assert(Math.abs(mean) < 5 * bound / Math.sqrt(3 * data.length), `${path}: mean ${mean}`);
    }
    assertEquals(firsts.size, matrices);
    for (const norm of [params.layerNorm, params.norm]) {
      assert((norm.weight as HostTensor).data.every((v) => v === 1));
    }
    assert((statistics.mean as HostTensor).data.every((v) => v === 0));
    assert((statistics.variance as HostTensor).data.every((v) => v === 1));
    assertEquals(model.init(randomKey(3)).params, params);
    const other = model.init(randomKey(4)).params.output.weight as HostTensor;
    assertNotEquals(other.data, (params.output.weight as HostTensor).data);
  }
});

Deno.test("initial biases: the forget gate's sum to 1, or the reference's second quarters", () => {
  const biases = (init: "standard" | "reference"): (readonly [string, Float32Array])[] =>
    flatten(nextLocation({ ...small, init }).init(randomKey(3)).params)
      .filter(({ path }) => /bias(Ih|Hh)?$/.test(path))
      .map(({ path, leaf }) => [path, (leaf as HostTensor).data as Float32Array]);
  const H = small.lstmHiddenSize;
  for (const [path, data] of biases("standard")) {
    const isForget = (i: number): boolean => path.endsWith("biasIh") && i >= H && i < 2 * H;
    data.forEach((v, i) => assertEquals(v, isForget(i) ? 1 : 0, `${path} ${i}`));
  }
  const reference = biases("reference");
  assertEquals(reference.length, 9);
  for (const [path, data] of reference) {
    const n = data.length;
    const inside = (i: number): boolean => i >= Math.floor(n / 4) && i < Math.floor(n / 2);
    data.forEach((v, i) => assertEquals(v, inside(i) ? 1 : 0, `${path} ${i}`));
  }
});

/** Samples of the given lengths that fit a configuration. */
function samplesOf(
  lengths: readonly number[],
  { totalLocNum, totalUserNum }: NextLocationConfig,
  seed = 1,
): readonly Sample[] {
  return lengths.map((length, b) => {
    const key = foldIn(randomKey(seed), b);
    const series = (use: number, low: number, high: number): Int32Array =>
      Int32Array.from(
        uniform(foldIn(key, use), length),
        (u) => low + Math.floor(u * (high - low)),
      );
    const person = Math.floor(uniform(key, 1)[0] * totalUserNum);
    return {
      X: series(1, 1, totalLocNum),
      user_X: new Int32Array(length).fill(person),
      weekday_X: series(2, 0, 7),
      start_min_X: series(3, 0, 1440),
      dur_X: Float64Array.from(series(4, 0, 2880)),
      diff: new Int32Array(length),
      Y: 1 + Math.floor(uniform(key, 2)[1] * (totalLocNum - 1)),
    };
  });
}

Deno.test("every dropout of training has its rate and a key of its own", () => {
  const rates = { lstmDropout: 0.3, fcDropout: 0.4 };
  const model = nextLocation({ ...small, ...rates, lstmNumLayers: 3 });
  const { params, statistics } = model.init(randomKey(2));
  // A batch as it is when a compiled function is traced.
  const packing: TracedPacking = { kind: "packing", batch: 2, capacity: 8 };
  let slot = 0;
  const batch = mapLeaves(model.batch(samplesOf([3, 5], small)), (leaf) => {
    const { shape, dtype, ...rest } = leaf as HostTensor;
    const spec = { shape, dtype };
    return input(slot++, rest.packing === undefined ? spec : { ...spec, packing });
  }) as NextLocationBatch;
  const dropouts = (key?: Tensor) =>
    nodesOf([model.forward(params, batch, { statistics, key }).logits as Traced])
      .filter(({ operation }) => operation.name === "dropout");
  const found = dropouts(randomKey(1));
  assertEquals(found.map(({ attributes }) => attributes.rate), [0.1, 0.3, 0.3, 0.1, 0.4, 0.4]);
  assertEquals(new Set(found.map(({ inputs: [, key] }) => key)).size, 6);
  assertEquals(dropouts(), []);
});

deviceTest("next location at GeoLife's sizes agrees with the float64 reference", async (device) => {
  const config = { ...geolife, lstmDropout: 0, fcDropout: 0, embDropout: 0 };
  const model = nextLocation(config);
  const initial = trained(model);
  const lengths = Array.from({ length: 32 }, (_, b) => 1 + 7 * b % 23);
  const batch = model.batch(samplesOf(lengths, config));
  const { location, slot, weekday, duration, user, target } = batch;
  const expected = oracle(
    {
      base_emb_size: config.baseEmbSize,
      lstm_hidden_size: config.lstmHiddenSize,
      lstm_num_layers: config.lstmNumLayers,
      emb_info: config.embInfo,
      if_embed_time: config.ifEmbedTime,
      if_embed_duration: config.ifEmbedDuration,
      if_embed_user: config.ifEmbedUser,
    },
    Object.fromEntries(
      Object.entries(toStateDict(model, initial, 0))
        .map(([name, { data }]) => [name, Float64Array.from(data)]),
    ),
    {
      packing: location.packing!,
      location: location.data,
      slot: slot.data,
      weekday: weekday.data,
      duration: duration.data,
      user: user.data,
      target: target.data,
    },
    true,
  );
  const { loss, logits, grads } = await lossAndGradients(device, model, initial, batch);
  assertClose(logits.data, expected.logits, 1e-5, "logits");
  assertClose(loss.data, [expected.loss], 1e-5, "loss");
  const largest = Math.max(...Object.values(expected.gradients).map(maxAbs));
  for (const { path, leaf } of flatten(grads)) {
    const name = model.names.get(path)!;
    // Zero but for rounding, as in the golden file.
    const floor = name === "FC.linear2.bias" ? largest : 0;
    assertClose((leaf as HostTensor).data, expected.gradients[name], 1e-4, name, floor);
  }
});

/** Copies of all numbers of a tree of host tensors. */
const numbers = (tree: unknown): number[][] =>
  flatten(tree as Tree).map(({ leaf }) => [...(leaf as HostTensor).data]);

deviceTest("next location: forward and gradients leave parameters unchanged", async (device) => {
  const model = nextLocation(small);
  const initial = model.init(randomKey(2));
  const batch = model.batch(samplesOf([3, 5], small));
  const before = numbers(initial);
  const step = (initial: Initial, batch: NextLocationBatch, key: Tensor) => {
    const { params, statistics } = initial;
    const loss = (params: Initial["params"]): Tensor =>
      model.loss(params, batch, { statistics, key })[0];
    return {
      evaluated: model.forward(params, batch, { statistics }).logits,
      trained: model.forward(params, batch, { statistics, key }),
      gradients: valueAndGrad(loss)(params),
    };
  };
  await read(run(device, step)(initial, batch, randomKey(1)));
  assertEquals(numbers(initial), before);
  const there: Initial = put(device, initial);
  dispose(run(device, step)(there, batch, randomKey(1)));
  assertEquals(numbers(await read(there)), before);
  dispose(there);
});

/** Logits in evaluation. */
async function evaluate(
  forward: Compiled<[Initial, NextLocationBatch], Tensor>,
  initial: Initial,
  batch: NextLocationBatch,
): Promise<Float32Array> {
  const logits = forward(initial, batch);
  const { data } = await read(logits);
  dispose(logits);
  return data as Float32Array;
}

function evaluation(
  device: Device,
  model: NextLocation,
): Compiled<[Initial, NextLocationBatch], Tensor> {
  return compile(
    device,
    ({ params, statistics }: Initial, batch: NextLocationBatch) =>
      model.forward(params, batch, { statistics }).logits,
  );
}

/** Parameters, and statistics that are not the identity. */
function trained(model: NextLocation): Initial {
  const { params } = model.init(randomKey(2));
  const H = model.config.lstmHiddenSize;
  const mean = tensor(Float32Array.from(uniform(randomKey(8), H), (u) => u - 0.5));
  const variance = tensor(Float32Array.from(uniform(randomKey(9), H), (u) => 0.5 + u));
  return { params, statistics: { mean, variance } };
}

deviceTest("next location: each sequence of a batch gives bit for bit what it gives alone", async (
  device,
) => {
  const model = nextLocation(small);
  const initial = trained(model);
  const samples = samplesOf([1, 7, 2, 19, 3, 7, 40, 1, 12, 5, 4, 26, 9, 1, 2, 8, 6], small);
  using forward = evaluation(device, model);
  const together = await evaluate(forward, initial, model.batch(samples));
  const V = small.totalLocNum;
  for (const [b, sample] of samples.entries()) {
    const alone = await evaluate(forward, initial, model.batch([sample]));
    assertEquals(together.subarray(b * V, (b + 1) * V), alone, `sequence ${b}`);
  }
});

deviceTest(
  "next location: the loss of a batch is the mean of its halves' losses",
  async (device) => {
    const model = nextLocation(small);
    const { params, statistics } = trained(model);
    const samples = samplesOf([4, 1, 9, 3, 3, 17, 2, 6], small);
    using loss = compile(
      device,
      (params: Initial["params"], batch: NextLocationBatch) =>
        model.loss(params, batch, { statistics })[0],
    );
    const of = async (part: readonly Sample[]): Promise<number> => {
      const value = loss(params, model.batch(part));
      return (await read(value)).data[0];
    };
    const halves = [await of(samples.slice(0, 4)), await of(samples.slice(4))];
    assertClose([await of(samples)], [(halves[0] + halves[1]) / 2], 1e-6, "loss");
  },
);

const optimizer: Optimizer = adam({ weightDecay: 1e-6, maxNorm: 1 });

deviceTest(
  "next location: a training step repeats bit for bit with its key only",
  async (device) => {
    const model = nextLocation(small);
    const batch = model.batch(samplesOf([3, 8, 1, 5], small));
    using step = trainStep(device, model, optimizer);
    const after = async (key: number): Promise<number[][]> => {
      const result = step(
        startOf(device, model.init(randomKey(2)), optimizer),
        batch,
        randomKey(key),
        1e-3,
      );
      const all = await read(result);
      dispose(result);
      return numbers([all.state, all.loss]);
    };
    const first = await after(1);
    assertEquals(await after(1), first);
    assertNotEquals(await after(2), first);
  },
);

deviceTest("next location: a state given to a step is an error to use, naming the call", async (
  device,
) => {
  const model = nextLocation(small);
  const batch = model.batch(samplesOf([3, 8], small));
  using step = trainStep(device, model, optimizer);
  const given = startOf(device, model.init(randomKey(2)), optimizer);
  const { state, loss, norm } = step(given, batch, randomKey(1), 1e-3);
  const call = /given to step \(call 1\)/;
  assert(call.test(assertThrows(() => step(given, batch, randomKey(1), 1e-3), TypeError).message));
  assert(call.test((await assertRejects(() => read(given), TypeError)).message));
  assert(call.test(assertThrows(() => put(device, given), TypeError).message));
  const forward = evaluation(device, model);
  assert(call.test(assertThrows(() => forward(given, batch), TypeError).message));
  // What took its place is whole.
  await read(state);
  dispose([state, loss, norm]);
});

deviceTest(
  "next location: training takes no more memory with time and gives all of it back",
  async (
    shared,
  ) => {
    using device = await openDevice({ kernels: shared.adapter.straight ? "straight" : "loop" });
    const model = nextLocation(small);
    const step = trainStep(device, model, optimizer);
    const forward = evaluation(device, model);
    let state = startOf(device, model.init(randomKey(2)), optimizer);
    const live: number[] = [];
    for (let k = 0; k < 60; k++) {
      const lengths = [1 + 7 * k % 11, 2, 1 + 5 * k % 17, 40 - k % 20];
      const batch = model.batch(samplesOf(lengths, small, k));
      const result = step(state, batch, foldIn(randomKey(1), k), 1e-3);
      state = result.state;
      if (k % 10 === 9) {
        await evaluate(forward, state, batch);
        assert(Number.isFinite((await read(result.loss)).data[0]));
      }
      dispose([result.loss, result.norm]);
      live.push(device.liveBytes);
    }
    assert(live[19] > 0);
    assertEquals(live[59], live[19]);
    dispose(state);
    step[Symbol.dispose]();
    forward[Symbol.dispose]();
    assertEquals(device.liveBytes, 0);
  },
);
