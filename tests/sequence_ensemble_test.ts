import { assert, assertEquals, assertThrows } from "@std/assert";
import { normal, randomKey } from "../src/core/random.ts";
import { formatShape, type HostTensor, sizeOf, type Tensor, tensor } from "../src/core/tensor.ts";
import { flatten, mapTree } from "../src/core/tree.ts";
import type { SequenceSample } from "../src/data/sequences.ts";
import { stages } from "../src/graph/stages.ts";
import { featureImportance } from "../src/metrics/feature_importance.ts";
import type { Model } from "../src/models/model.ts";
import {
  sequenceEnsemble,
  type SequenceEnsembleBatch,
  type SequenceEnsembleParams,
} from "../src/models/sequence_ensemble.ts";
import { fromStateDict, toStateDict } from "../src/models/state_dict.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { compile, run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import {
  compareEnsemble,
  compareEnsembleSteps,
  ensembleFile,
  ensembleSamples,
  ensembleStart,
  goldenEnsemble,
} from "./golden_ensemble.ts";
import { assertClose, relativeError } from "./reference/compare.ts";

for (const task of ["classification", "regression"] as const) {
  deviceTest(`outputs, loss and every gradient are PyTorch's: ${task}`, async (device) => {
    for (
      const { what, actual, expected, tolerance, floor } of await compareEnsemble(device, task)
    ) {
      assertClose(actual, expected, tolerance, what, floor);
    }
  });
}

deviceTest("ten steps of Adam end where PyTorch's end", async (device) => {
  for (const { what, actual, expected, tolerance } of await compareEnsembleSteps(device)) {
    assertClose(actual, expected, tolerance, what);
  }
});

Deno.test("at its default size the model has PyTorch's parameters, one by one", () => {
  const model = sequenceEnsemble();
  const shapes = flatten(model.shapes().params).map(({ path, leaf }) =>
    [model.names.get(path)!, [...leaf.shape]] as const
  );
  const { default_shapes, default_parameters } = ensembleFile.metadata;
  assertEquals(Object.fromEntries(shapes), JSON.parse(default_shapes));
  const count = shapes.reduce((sum, [, shape]) => sum + sizeOf(shape), 0);
  assertEquals(count, JSON.parse(default_parameters));
});

Deno.test("init makes what shapes says, of all parameters different ones", () => {
  const model: Model<SequenceEnsembleParams> = goldenEnsemble("classification");
  const shapes = (tree: object): readonly string[] =>
    flatten(tree).map(({ path, leaf }) => `${path} ${formatShape(leaf.shape)}`);
  const initial = model.init(randomKey(1));
  assertEquals(shapes(initial), shapes(model.shapes()));
  const random = flatten(initial.params).filter(({ path }) => !/[nN]orm|Scale/.test(path));
  const firsts = random.map(({ leaf }) => (leaf as HostTensor).data[0]);
  assertEquals(new Set(firsts).size, firsts.length);
});

Deno.test("a state_dict of the model has PyTorch's names and comes back", () => {
  const model = goldenEnsemble("regression");
  const start = ensembleStart(model);
  const dict = toStateDict(model, start, 3);
  const expected = ensembleFile.under("param");
  assertEquals(Object.keys(dict).sort(), [...expected.names].sort());
  assertEquals(fromStateDict(model, new Map(Object.entries(dict)), "again"), start);
});

/** Random sequences of the golden model's width. */
function sequencesOf(lengths: readonly number[], F: number): readonly SequenceSample[] {
  return lengths.map((steps, b) => ({
    values: Float32Array.from(normal(randomKey(b), steps * F)),
    steps,
    label: b % 3,
  }));
}

deviceTest("a sequence gets in any batch what it gets alone", async (device) => {
  const model = goldenEnsemble("classification");
  const { params, statistics } = ensembleStart(model);
  using forward = compile(
    device,
    (params: SequenceEnsembleParams, batch: SequenceEnsembleBatch) =>
      model.forward(params, batch, { statistics, attentionSteps: 12 }),
  );
  const samples = sequencesOf([5, 1, 12, 2, 12, 7], 3);
  const together = await read(forward(params, model.batch(samples)));
  const [, heads, T] = together.attention![0].shape;
  for (const [b, sample] of samples.entries()) {
    const alone = await read(forward(params, model.batch([sample])));
    assertClose(together.outputs.data.subarray(3 * b, 3 * b + 3), alone.outputs.data, 1e-6, `${b}`);
    alone.attention!.forEach((weights, layer) => {
      const size = heads * T * T;
      const part = together.attention![layer].data.subarray(b * size, (b + 1) * size);
      assertClose(part, weights.data, 1e-6, `attention ${layer} of ${b}`);
    });
  }
});

deviceTest("attention weights of a step sum to 1, and are 0 past the ends", async (device) => {
  const model = goldenEnsemble("classification");
  const { params, statistics } = ensembleStart(model);
  const samples = ensembleSamples("batch_b");
  const T = 9;
  const { attention } = await read(
    run(
      device,
      (batch: SequenceEnsembleBatch) =>
        model.forward(params, batch, { statistics, attentionSteps: T }),
    )(model.batch(samples)),
  );
  assertEquals(attention!.length, 2);
  for (const { data, shape } of attention!) {
    assertEquals(shape, [samples.length, 2, T, T]);
    for (let row = 0; row < data.length / T; row++) {
      const { steps } = samples[Math.floor(row / T / 2)],
        weights = data.subarray(row * T, row * T + T);
      const sum = Array.from(weights).reduce((a, b) => a + b, 0);
      assert(Math.abs(sum - (row % T < steps ? 1 : 0)) < 1e-6);
      assert(weights.subarray(steps).every((weight) => weight === 0));
    }
  }
});

deviceTest("dropout depends on the key and only on it; evaluation has none", async (device) => {
  const { config } = goldenEnsemble("classification");
  const model = sequenceEnsemble({ ...config, dropout: 0.3 });
  const { params, statistics } = model.init(randomKey(3));
  const batch = model.batch(ensembleSamples("batch_a"));
  type Args = [params: SequenceEnsembleParams, batch: SequenceEnsembleBatch, key: Tensor];
  using both = compile(device, (...[params, batch, key]: Args) => {
    const loss = (params: SequenceEnsembleParams) => model.loss(params, batch, { statistics, key });
    const [[value, { outputs }], grads] = valueAndGrad(loss, { hasAux: true })(params);
    return { value, outputs, grads };
  });
  const [one, again, other] = await Promise.all(
    [1, 1, 2].map((seed) => read(both(params, batch, randomKey(seed)))),
  );
  assertEquals(one, again);
  assert(relativeError(other.outputs.data, one.outputs.data) > 0.01);
  for (const { leaf } of flatten(one.grads)) {
    assert((leaf as HostTensor).data.every(Number.isFinite));
  }
  // A step against the gradient by the same key makes the same loss smaller.
  const grads = new Map(flatten(one.grads).map(({ path, leaf }) => [path, leaf as HostTensor]));
  const moved = mapTree(params, (leaf, path) => {
    const { data } = leaf as HostTensor;
    return tensor(
      Float32Array.from(data, (v, i) => v - 0.01 * grads.get(path)!.data[i]),
      leaf.shape,
    );
  });
  const after = await read(both(moved, batch, randomKey(1)));
  assert(after.value.data[0] < one.value.data[0]);
  const [evaluated, twice] = await Promise.all(
    [0, 1].map(() =>
      read(
        run(device, (batch: SequenceEnsembleBatch) =>
          model.forward(params, batch, { statistics }).outputs)(batch),
      )
    ),
  );
  assertEquals(evaluated.data, twice.data);
});

deviceTest("the stages of [8,50,9] are as wide as the architecture says", async (device) => {
  const model = sequenceEnsemble();
  const { params, statistics } = model.init(randomKey(1));
  const batch = model.batch(sequencesOf(Array(8).fill(50), 9));
  const forward = stages((batch: SequenceEnsembleBatch) =>
    model.forward(params, batch, { statistics })
  );
  const { stages: named } = await read(run(device, forward)(batch));
  const shapes = Object.entries(named).map(([name, { shape }]) => `${name} ${formatShape(shape)}`);
  assertEquals(shapes, [
    "input [400,9]",
    "input projection [400,256]",
    "positional encoding [400,256]",
    "temporal convolutions 1 [400,256]",
    "temporal convolutions 2 [400,256]",
    "fusion gate [400,256]",
    "fusion [400,256]",
    "LSTM block 1 [400,256]",
    "LSTM block 2 [400,256]",
    "attention 1 [400,256]",
    "LSTM block 3 [400,256]",
    "LSTM block 4 [400,256]",
    "attention 2 [400,256]",
    "features [8,768]",
    "head 1 [8,3]",
    "head 2 [8,3]",
    "head 3 [8,3]",
    "outputs [8,3]",
  ]);
  for (const [name, { data }] of Object.entries(named)) assert(data.every(Number.isFinite), name);
});

deviceTest(
  "sizes may be odd, and blocks, layers, heads and branches of any number",
  async (device) => {
    const model = sequenceEnsemble({
      inputDim: 1,
      hiddenDim: 7,
      numLstmLayers: 1,
      layersPerBlock: 1,
      numHeads: 7,
      outputDim: 1,
      outputHeads: 2,
      kernelSizes: [[1], [3, 5]],
      task: "regression",
    });
    const { params, statistics } = model.init(randomKey(1));
    const samples = [3, 1].map((steps) => ({
      values: new Float32Array(steps).fill(0.5),
      steps,
      target: Float32Array.of(2),
    }));
    const [value, { outputs }] = await read(
      run(device, (batch: SequenceEnsembleBatch) => model.loss(params, batch, { statistics }))(
        model.batch(samples),
      ),
    );
    assertEquals([outputs.shape, params.attention.length], [[2, 1], 0]);
    const error = Array.from(outputs.data, (y) => (y - 2) ** 2);
    assertClose(value.data, [(error[0] + error[1]) / 2], 1e-6, "loss");
  },
);

deviceTest("a feature that the model does not read is of no importance", async (device) => {
  const { config } = goldenEnsemble("classification");
  const model = sequenceEnsemble(config);
  const { params, statistics } = model.init(randomKey(1));
  const weight = params.inputProjection.weight as HostTensor;
  const blind = {
    ...params,
    inputProjection: {
      ...params.inputProjection,
      weight: tensor(
        (weight.data as Float32Array).map((v, i) => i % 3 === 1 ? 0 : v),
        weight.shape,
      ),
    },
  };
  using forward = compile(
    device,
    (batch: SequenceEnsembleBatch) => model.forward(blind, batch, { statistics }).outputs,
  );
  const importance = await featureImportance(
    ensembleSamples("batch_a"),
    3,
    async (samples) => (await read(forward(model.batch(samples)))).data,
  );
  assertEquals(importance.length, 3);
  assertEquals(importance[1], 0);
  assert(importance[0] > 1e-4 && importance[2] > 1e-4);
});

Deno.test("the model says what does not fit", () => {
  assertThrows(() => sequenceEnsemble({ hiddenDim: 10 }), RangeError, "no multiple of numHeads 8");
  assertThrows(() => sequenceEnsemble({ hiddenDim: 2, numHeads: 1 }), RangeError, "less than 3");
  assertThrows(() => sequenceEnsemble({ outputDim: 0 }), RangeError, "every size");
  assertThrows(() => sequenceEnsemble({ dropout: 1 }), RangeError, "dropout 1");
  assertThrows(() => sequenceEnsemble({ kernelSizes: [[3], [4]] }), RangeError, "must be odd");
  const model = sequenceEnsemble({ task: "regression" });
  const sample = { values: new Float32Array(9), steps: 1, target: Float32Array.of(1) };
  assertThrows(() => model.batch([sample]), TypeError, "the model has 3 outputs");
  assertThrows(() => model.batch([{ ...sample, steps: 2 }]), TypeError, "9 a step are needed");
});
