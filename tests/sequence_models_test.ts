import { assert, assertEquals, assertThrows } from "@std/assert";
import { packed } from "../src/core/packing.ts";
import { foldIn, randomKey, uniform } from "../src/core/random.ts";
import type { HostTensor, Tensor } from "../src/core/tensor.ts";
import { flatten, type Tree } from "../src/core/tree.ts";
import { type TextChunk, textChunks } from "../src/data/text.ts";
import type { Device } from "../src/gpu/device.ts";
import { input, nodesOf, type Traced, type TracedPacking } from "../src/graph/graph.ts";
import {
  type CarriedState,
  fromTorchLstm,
  sampleLogits,
  stackedLstm,
  type StackedLstmBatch,
  type StackedLstmParams,
  toTorchLstm,
} from "../src/models/stacked_lstm.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { compile, run } from "../src/plan/compile.ts";
import { dispose, put, read } from "../src/plan/device_tensor.ts";
import { deviceTest, kernelForms } from "./adapter.ts";
import type { Comparison } from "./golden_model.ts";
import {
  compareClassifier,
  compareClassifierSteps,
  compareSeedRun,
  compareStacked,
  compareStackedSteps,
  goldenClassifier,
  goldenStacked,
  stackedNames,
} from "./golden_sequences.ts";
import { assertClose, maxAbs } from "./reference/compare.ts";
import { readLstmGoldens } from "./reference/golden.ts";

function assertAll(comparisons: readonly Comparison[]): void {
  assert(comparisons.length > 3);
  for (const { actual, expected, tolerance, what } of comparisons) {
    assertClose(actual, expected, tolerance, what);
  }
}

deviceTest(
  "stacked LSTM: logits, loss, states and every gradient are PyTorch's",
  async (device) => {
    assertAll(await compareStacked(device));
  },
);

deviceTest("stacked LSTM: ten steps of Adam with a carried state are PyTorch's", async (device) => {
  assertAll(await compareStackedSteps(device));
});

deviceTest("sequence classifier: logits, loss and every gradient are PyTorch's", async (device) => {
  assertAll(await compareClassifier(device));
});

deviceTest("sequence classifier: ten steps of Adam are PyTorch's", async (device) => {
  assertAll(await compareClassifierSteps(device));
});

deviceTest("sequence classifier: the seed's two epochs are PyTorch's", async (device) => {
  assertAll(await compareSeedRun(device));
});

const text = stackedLstm({ inputDim: 31, hiddenDim: 13, numLayers: 2, dropout: 0 });
const statistics = {};
const letters = Uint32Array.from(uniform(randomKey(1), 3 * 128 + 1), (u) => Math.floor(31 * u));

/** Logits of a text that is read so many steps at a time, in the order of the steps. */
async function logitsBy(device: Device, steps: number): Promise<number[]> {
  const { params } = text.init(randomKey(3));
  using forward = compile(device, text.forward);
  const logits: number[] = [];
  let carried: CarriedState | undefined;
  for (const chunks of textChunks(letters, { streams: 3, steps })) {
    const batch = text.batch(chunks);
    carried ??= put(device, text.carriedStart(batch));
    const result = forward(params, batch, { statistics, carried });
    logits.push(...(await read(result.logits) as HostTensor).data);
    dispose([result.logits, carried]);
    carried = result.carried;
  }
  dispose(carried!);
  return logits;
}

for (const form of kernelForms) {
  const how = form === "straight" ? "bit for bit" : "but for rounding";
  deviceTest(
    `stacked LSTM: chunks of 1, 7 and 64 steps give the logits of one call, ${how}`,
    async (device) => {
      const whole = await logitsBy(device, 128);
      assertEquals(whole.length, 3 * 128 * 31);
      for (const steps of [1, 7, 64]) {
        const chunked = await logitsBy(device, steps);
        // The other kernels add what the state before a chunk gives to the gates in another order.
        if (form === "straight") assertEquals(chunked, whole);
        else assertClose(chunked, whole, 1e-6, `chunks of ${steps}`);
      }
    },
    form,
  );
}

deviceTest(
  "stacked LSTM: generating step by step gives what one call over the text gives",
  async (device) => {
    const { params } = text.init(randomKey(3));
    using forward = compile(device, text.forward);
    const batchOf = (ids: readonly number[]) => text.batch([{ input: Uint32Array.from(ids) }]);
    const written = [4, 8, 15];
    const first = batchOf(written);
    let result = forward(params, first, {
      statistics,
      carried: put(device, text.carriedStart(first)),
    });
    const drawn: number[][] = [];
    for (let step = 0; step < 12; step++) {
      const { data } = await read(result.logits) as HostTensor;
      const last = [...data.slice(-31)];
      drawn.push(last);
      const next = sampleLogits(last, { key: foldIn(randomKey(7), step) });
      written.push(next);
      result = forward(params, batchOf([next]), { statistics, carried: result.carried });
    }
    const once = forward(params, batchOf(written), {
      statistics,
      carried: put(device, text.carriedStart(first)),
    });
    const { data } = await read(once.logits) as HostTensor;
    assertClose(drawn.flat(), data.slice(2 * 31, 14 * 31), 1e-6, "logits");
  },
);

deviceTest(
  "stacked LSTM: looking characters up is the product with one-hot rows",
  async (device) => {
    const { params } = text.init(randomKey(3));
    const batch = text.batch(textChunks(letters, { streams: 3, steps: 9 }).next().value!);
    const rows = new Float32Array(27 * 31);
    batch.input.data.forEach((id, row) => rows[row * 31 + id] = 1);
    const oneHot = { ...batch, input: packed(batch.input.packing!, rows, [31]) };
    const step = (params: StackedLstmParams, batch: StackedLstmBatch) => {
      const loss = (params: StackedLstmParams) => text.loss(params, batch, { statistics });
      const [[, { logits }], grads] = valueAndGrad(loss, { hasAux: true })(params);
      return { logits, grads };
    };
    const [taken, multiplied] = await Promise.all(
      [batch, oneHot].map((one) => read(run(device, step)(params, one))),
    );
    assertClose(taken.logits.data, multiplied.logits.data, 1e-6, "logits");
    const expected = new Map(flatten(multiplied.grads).map(({ path, leaf }) => [path, leaf]));
    for (const { path, leaf } of flatten(taken.grads)) {
      assertClose(
        (leaf as HostTensor).data,
        (expected.get(path) as HostTensor).data,
        1e-5,
        path,
      );
    }
  },
);

deviceTest(
  "stacked LSTM: sequences of different lengths give what each gives alone",
  async (device) => {
    const { params } = text.init(randomKey(3));
    using forward = compile(device, text.forward);
    const chunks = [5, 1, 9].map((n, i) => ({ input: letters.subarray(10 * i, 10 * i + n) }));
    const statesOf = async (some: readonly TextChunk[]) => {
      const { carried } = forward(params, text.batch(some), { statistics });
      const { h, c } = await read(carried) as { h: HostTensor; c: HostTensor };
      return [h, c].map(({ data, shape: [L, B, H] }) =>
        Array.from({ length: B }, (_, b) =>
          Array.from(
            { length: L },
            (_, l) => [...data.slice((l * B + b) * H, (l * B + b + 1) * H)],
          ))
      );
    };
    const [h, c] = await statesOf(chunks);
    for (const [b, chunk] of chunks.entries()) {
      assertEquals(await statesOf([chunk]), [[h[b]], [c[b]]]);
    }
  },
);

deviceTest("stacked LSTM: weights of torch.nn.LSTM give its final states", async (device) => {
  const golden = (await readLstmGoldens()).find(({ name }) => name === "i4_h9_l2_state")!;
  const { I, H, L, weights, packing, x, h0, c0 } = golden;
  const model = stackedLstm({ inputDim: I, hiddenDim: H, numLayers: L, dropout: 0 });
  const layers = fromTorchLstm(Object.fromEntries(weights));
  const { params } = model.init(randomKey(1));
  const input = packed(packing, x.data, [I]);
  const batch = { input, target: packed(packing, new Uint32Array(x.shape[0])) };
  const { carried } = await read(
    run(device, model.forward)({ ...params, layers }, batch, {
      statistics,
      carried: { h: h0!, c: c0! },
    }),
  );
  assertClose((carried.h as HostTensor).data, golden.hN.data, 1e-5, "h");
  assertClose((carried.c as HostTensor).data, golden.cN.data, 1e-5, "c");
});

Deno.test("stacked LSTM: to PyTorch's layout and back", () => {
  const { params: { layers } } = text.init(randomKey(3));
  const torch = toTorchLstm(layers);
  assertEquals(
    Object.entries(torch).map(([name, { shape }]) => [name, shape]),
    [0, 1].flatMap((l) => [
      [`weight_ih_l${l}`, [52, l === 0 ? 31 : 13]],
      [`weight_hh_l${l}`, [52, 13]],
      [`bias_ih_l${l}`, [52]],
      [`bias_hh_l${l}`, [52]],
    ]),
  );
  assertEquals(fromTorchLstm(torch), layers);
  // Row 13 + 2 of weight_hh is unit 2 of the forget gate; it is column 2 of W_hf.
  const { data } = layers[1].forget.weightH as HostTensor;
  const row = torch.weight_hh_l1.data.slice((13 + 2) * 13, (13 + 3) * 13);
  assertEquals([...row], Array.from({ length: 13 }, (_, k) => data[k * 13 + 2]));
  assertThrows(() => fromTorchLstm({}), TypeError, "weight_ih_l0 is missing");
  const { bias_hh_l1: _, ...fewer } = torch;
  assertThrows(() => fromTorchLstm(fewer), TypeError, "bias_hh_l1");
});

Deno.test("stacked LSTM: names are the seed's, shapes those of the initial values", () => {
  const model = goldenStacked();
  const { params } = model.init(randomKey(1));
  assertEquals(
    flatten(params).map(({ path }) => model.names.get(path)).toSorted(),
    stackedNames().toSorted(),
  );
  const shapes = (tree: Tree) => flatten(tree).map(({ path, leaf }) => [path, leaf.shape]);
  assertEquals(shapes(params), shapes(model.shapes().params));
  const drawn = new Set<number>();
  for (const { path, leaf } of flatten(params)) {
    const { data, shape: [rows, columns] } = leaf as HostTensor;
    if (columns === undefined) assert(data.every((v) => v === 0), path);
    else {
      const bound = Math.sqrt(6 / (rows + columns)), most = maxAbs(data);
      assert(most <= Math.fround(bound) && most > 0.8 * bound, path);
      drawn.add(data[0]);
    }
  }
  assertEquals(drawn.size, 3 * 8 + 1);
});

Deno.test("stacked LSTM: in training the outputs of every layer are dropped by a key of its own", () => {
  const model = stackedLstm({ inputDim: 5, hiddenDim: 4, numLayers: 3, dropout: 0.3 });
  const { params } = model.init(randomKey(2));
  const packing: TracedPacking = { kind: "packing", batch: 2, capacity: 8 };
  const batch = {
    input: input(0, { shape: [8], dtype: "u32", packing }),
    target: input(1, { shape: [8], dtype: "u32", packing }),
  } as unknown as StackedLstmBatch;
  const dropouts = (key?: Tensor) =>
    nodesOf([model.forward(params, batch, { statistics, key }).logits as Traced])
      .filter(({ operation }) => operation.name === "dropout");
  const found = dropouts(randomKey(1));
  assertEquals(found.map(({ attributes }) => attributes.rate), [0.3, 0.3, 0.3]);
  assertEquals(new Set(found.map(({ inputs: [, key] }) => key)).size, 3);
  assertEquals(dropouts(), []);
});

Deno.test("sampling: frequencies are those of the softmax at the temperature", () => {
  const logits = [0.5, -1, 2, -Infinity, 1];
  for (const temperature of [0.5, 1, 2]) {
    const weights = logits.map((z) => Math.exp(z / temperature));
    const sum = weights.reduce((a, b) => a + b);
    const counts = logits.map(() => 0), draws = 20_000;
    for (let i = 0; i < draws; i++) {
      counts[sampleLogits(logits, { temperature, key: foldIn(randomKey(9), i) })]++;
    }
    counts.forEach((count, i) => {
      const p = weights[i] / sum;
      // Five standard deviations of a binomial count.
      const allowed = 5 * Math.sqrt(draws * p * (1 - p));
      assert(Math.abs(count - draws * p) <= allowed, `${temperature}: ${counts}`);
    });
  }
});

Deno.test("sampling: the first k only, the likeliest at temperature 0, refusals", () => {
  const drawn = (logits: readonly number[], options: object) =>
    new Set(
      Array.from({ length: 300 }, (_, i) =>
        sampleLogits(logits, { ...options, key: foldIn(randomKey(4), i) })),
    );
  assertEquals(drawn([1, 3, 2, 3], { topK: 1 }), new Set([1]));
  assertEquals(drawn([1, 3, 2, 3], { topK: 2 }), new Set([1, 3]));
  assertEquals(drawn([1, 3, 2, 3], { topK: 3, temperature: 5 }), new Set([1, 2, 3]));
  assertEquals(drawn([1, 3, 2, 3], { topK: 99, temperature: 50 }), new Set([0, 1, 2, 3]));
  assertEquals(drawn([1, 3, 2, 3], { temperature: 0 }), new Set([1]));
  assertEquals(drawn([1e30, 0], { temperature: 1e-30 }), new Set([0]));
  const key = randomKey(1);
  assertThrows(() => sampleLogits([1, NaN], { key }), RangeError, "not finite");
  assertThrows(() => sampleLogits([-Infinity], { key }), RangeError, "not finite");
  assertThrows(() => sampleLogits([], { key }), RangeError, "not finite");
  assertThrows(() => sampleLogits([1], { temperature: -1, key }), RangeError, "-1");
  assertThrows(() => sampleLogits([1], { topK: 0, key }), RangeError, "first 0");
});

Deno.test("sequence classifier: names are the seed's, initial values PyTorch's ranges", () => {
  const model = goldenClassifier("seed_config");
  const { params } = model.init(randomKey(1));
  const shapes = (tree: Tree) => flatten(tree).map(({ path, leaf }) => [path, leaf.shape]);
  assertEquals(shapes(params), shapes(model.shapes().params));
  assertEquals(
    flatten(params).map(({ path }) => model.names.get(path)),
    ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"].concat(
      ...["fc.weight", "fc.bias"],
    ),
  );
  for (const { path, leaf } of flatten(params)) {
    const most = maxAbs((leaf as HostTensor).data);
    assert(most <= 0.25 && most > (path === "output.bias" ? 0 : 0.2), `${path}: ${most}`);
  }
  const samples = [{ values: Float32Array.of(1, 2, 3), steps: 2 }];
  assertThrows(() => model.batch(samples), TypeError, "3 numbers in 2 steps");
});
