/**
 * The stacked LSTM and the sequence classifier run on a device beside PyTorch's numbers: what their
 * tests assert and `golden_report.ts` prints.
 *
 * @module
 */
import { pack, packed } from "../src/core/packing.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import { flatten, type Tree } from "../src/core/tree.ts";
import { readSequences } from "../src/data/read_sequences.ts";
import type { SequenceSample } from "../src/data/sequences.ts";
import type { TextChunk } from "../src/data/text.ts";
import type { Device } from "../src/gpu/device.ts";
import type { Model } from "../src/models/model.ts";
import {
  sequenceClassifier,
  type SequenceClassifierBatch,
  type SequenceClassifierParams,
} from "../src/models/sequence_classifier.ts";
import {
  type CarriedState,
  stackedLstm,
  type StackedLstmBatch,
  type StackedLstmParams,
} from "../src/models/stacked_lstm.ts";
import { fromStateDict } from "../src/models/state_dict.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { adam } from "../src/optim/adam.ts";
import { compile, run } from "../src/plan/compile.ts";
import { dispose, put, read } from "../src/plan/device_tensor.ts";
import { type Comparison, tensorsOf } from "./golden_model.ts";
import { type Golden, readGolden } from "./reference/golden.ts";

const VALUES = 1e-5;
const GRADIENTS = 1e-4;

const stackedFile = await readGolden("stacked_lstm");
const classifierFile = await readGolden("sequence_classifier");

/** A model's parameters from a golden file. */
function paramsOf<P extends Tree>(model: Model<P>, golden: Golden): P {
  return fromStateDict(model, tensorsOf(golden), "golden").params;
}

/** Comparisons of a record of parameters, or of their gradients, with a golden file. */
function compareTree(
  tree: Tree,
  names: ReadonlyMap<string, string>,
  golden: Golden,
  what: (name: string) => string,
  tolerance: number,
): readonly Comparison[] {
  return flatten(tree).map(({ path, leaf }) => {
    const name = names.get(path)!;
    return {
      what: what(name),
      actual: (leaf as HostTensor).data,
      expected: golden.f64(name),
      tolerance,
    };
  });
}

const value = (what: string, { data }: HostTensor, expected: ArrayLike<number>): Comparison => ({
  what,
  actual: data,
  expected,
  tolerance: VALUES,
});

// ---- stacked LSTM

/** The model of the golden file. */
export function goldenStacked() {
  const { config } = stackedFile.metadata;
  const { input_dim, hidden_dim, num_layers, dropout } = JSON.parse(config);
  return stackedLstm({
    inputDim: input_dim,
    hiddenDim: hidden_dim,
    numLayers: num_layers,
    dropout,
  });
}

/** Its parameters. */
const stackedParams = (): StackedLstmParams =>
  paramsOf(goldenStacked(), stackedFile.under("param"));

/** Names of its parameters in PyTorch. */
export const stackedNames = (): readonly string[] => stackedFile.under("param").names;

/** Its initial states. */
const stackedStart = (): CarriedState => ({
  h: stackedFile.get("h0"),
  c: stackedFile.get("c0"),
});

/** The characters from step `from` to `to`, and those that follow, of each stream. */
function stackedChunks(from: number, to: number): readonly TextChunk[] {
  const { data, shape: [streams, length] } = stackedFile.get("characters");
  const ids = Uint32Array.from(data);
  return Array.from({ length: streams }, (_, b) => ({
    input: ids.subarray(b * length + from, b * length + to),
    target: ids.subarray(b * length + from + 1, b * length + to + 1),
  }));
}

/** [B,T,width] as packed rows, step after step. */
function timeMajor({ data, shape: [B, T, width] }: HostTensor): Float32Array {
  const rows = new Float32Array(data.length);
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < T; t++) {
      const from = (b * T + t) * width;
      rows.set(data.subarray(from, from + width), (t * B + b) * width);
    }
  }
  return rows;
}

/** Logits, loss, every gradient, also of the initial states, and the final states. */
export async function compareStacked(device: Device): Promise<readonly Comparison[]> {
  const model = goldenStacked();
  const steps = Number(stackedFile.metadata.steps);
  const statistics = {};
  type Given = { params: StackedLstmParams; carried: CarriedState };
  const all = run(device, (given: Given, batch: StackedLstmBatch) => {
    const loss = ({ params, carried }: Given) => model.loss(params, batch, { statistics, carried });
    const [[value, { logits, carried }], grads] = valueAndGrad(loss, { hasAux: true })(given);
    return { loss: value, logits, carried, grads };
  })({ params: stackedParams(), carried: stackedStart() }, model.batch(stackedChunks(0, steps)));
  const { loss, logits, carried, grads } = await read(all);
  dispose(all);
  const golden = stackedFile, dense = golden.under("dense");
  const { params, carried: states } = grads as unknown as Given;
  const grad = golden.under("grad");

  // Real values in place of characters.
  const given = golden.get("values");
  const [B, T, width] = given.shape;
  const input = packed(pack(new Uint32Array(B).fill(T)), timeMajor(given), [width]);
  const target = packed(input.packing!, new Uint32Array(B * T));
  const real = run(device, model.forward)(stackedParams(), { input, target }, {
    statistics,
    carried: stackedStart(),
  });
  const results = await read(real);
  dispose(real);
  return [
    value("logits", logits, timeMajor(golden.get("logits"))),
    value("loss", loss, golden.f64("loss")),
    value("final hidden states", carried.h as HostTensor, golden.f64("h_n")),
    value("final cell states", carried.c as HostTensor, golden.f64("c_n")),
    ...compareTree(params, model.names, grad, (name) => `gradient of ${name}`, GRADIENTS),
    ...compareTree(
      states,
      new Map([["h", "h0"], ["c", "c0"]]),
      grad,
      (name) => `gradient of ${name}`,
      GRADIENTS,
    ),
    value("logits of real values", results.logits as HostTensor, timeMajor(dense.get("logits"))),
    value("hidden states after real values", results.carried.h as HostTensor, dense.f64("h_n")),
    value("cell states after real values", results.carried.c as HostTensor, dense.f64("c_n")),
  ];
}

/** Ten steps of Adam over consecutive chunks, the state carried, its gradient not. */
export async function compareStackedSteps(device: Device): Promise<readonly Comparison[]> {
  const model = goldenStacked(), optimizer = adam();
  const { metadata } = stackedFile;
  const steps = Number(metadata.steps), rate = Number(metadata.lr);
  type State = {
    params: StackedLstmParams;
    optimizer: ReturnType<typeof optimizer.init>;
    carried: CarriedState;
  };
  using step = compile(device, (state: State, batch: StackedLstmBatch, rate: Tensor) => {
    const loss = (params: StackedLstmParams) =>
      model.loss(params, batch, { statistics: {}, carried: state.carried });
    const [[value, { carried }], grads] = valueAndGrad(loss, { hasAux: true })(state.params);
    const [params, memory] = optimizer.step(grads, state.optimizer, state.params, rate);
    return { loss: value, state: { params, optimizer: memory, carried } };
  });
  const params = stackedParams();
  const first = model.batch(stackedChunks(0, steps));
  let state = put(device, {
    params,
    optimizer: optimizer.init(params),
    carried: model.carriedStart(first),
  }) as unknown as State;
  const losses: Tensor[] = [];
  const golden = stackedFile.under("adam");
  for (let k = 0; k < golden.f64("losses").length; k++) {
    const batch = model.batch(stackedChunks(k * steps, (k + 1) * steps));
    const result = step(state, batch, tensor([rate], []));
    dispose(state);
    state = result.state as State;
    losses.push(result.loss);
  }
  const after = await read({ losses, state });
  dispose([losses, state]);
  const expected = golden.under("after");
  const { params: trained, carried } = after.state as unknown as State;
  return [
    {
      what: "losses",
      actual: (after.losses as readonly HostTensor[]).map(({ data }) => data[0]),
      expected: golden.f64("losses"),
      tolerance: VALUES,
    },
    value("carried hidden states", carried.h as HostTensor, expected.f64("h_n")),
    value("carried cell states", carried.c as HostTensor, expected.f64("c_n")),
    ...compareTree(trained, model.names, expected, (name) => `${name} after ten steps`, VALUES),
  ];
}

// ---- sequence classifier

/** The model of the golden file. */
export function goldenClassifier(key: "config" | "seed_config" = "config") {
  const { input_size, hidden_size, num_classes } = JSON.parse(classifierFile.metadata[key]);
  return sequenceClassifier({
    inputSize: input_size,
    hiddenSize: hidden_size,
    numClasses: num_classes,
  });
}

/** `batch_a` or `batch_b`. */
function classifierSamples(name: string): readonly SequenceSample[] {
  const batch = classifierFile.under(name);
  const x = batch.get("x"), [, T, width] = x.shape;
  return Array.from(batch.get("lengths").data, (steps, b) => ({
    values: x.data.slice(b * T * width, (b * T + steps) * width) as Float32Array,
    steps,
    label: batch.get("label").data[b],
  }));
}

/** Logits, loss and every gradient. */
export async function compareClassifier(device: Device): Promise<readonly Comparison[]> {
  const model = goldenClassifier();
  const batch = model.batch(classifierSamples("batch_a"));
  const all = run(device, (params: SequenceClassifierParams, batch: SequenceClassifierBatch) => {
    const loss = (params: SequenceClassifierParams) =>
      model.loss(params, batch, { statistics: {} });
    const [[value, { logits }], grads] = valueAndGrad(loss, { hasAux: true })(params);
    return { loss: value, logits, grads };
  })(paramsOf(model, classifierFile.under("param")), batch);
  const { loss, logits, grads } = await read(all);
  dispose(all);
  return [
    value("logits", logits, classifierFile.f64("logits")),
    value("loss", loss, classifierFile.f64("loss")),
    ...compareTree(
      grads,
      model.names,
      classifierFile.under("grad"),
      (name) => `gradient of ${name}`,
      GRADIENTS,
    ),
  ];
}

/** Steps of Adam over batches from the golden file's start: the losses and the parameters. */
async function trainClassifier(
  device: Device,
  model: ReturnType<typeof goldenClassifier>,
  start: SequenceClassifierParams,
  batches: readonly SequenceClassifierBatch[],
) {
  const optimizer = adam();
  const rate = Number(classifierFile.metadata.lr);
  type State = {
    params: SequenceClassifierParams;
    optimizer: ReturnType<typeof optimizer.init>;
  };
  using step = compile(device, (state: State, batch: SequenceClassifierBatch, rate: Tensor) => {
    const loss = (params: SequenceClassifierParams) =>
      model.loss(params, batch, { statistics: {} })[0];
    const [value, grads] = valueAndGrad(loss)(state.params);
    const [params, memory] = optimizer.step(grads, state.optimizer, state.params, rate);
    return { loss: value, state: { params, optimizer: memory } };
  });
  let state = put(device, { params: start, optimizer: optimizer.init(start) }) as unknown as State;
  const losses: Tensor[] = [];
  for (const batch of batches) {
    const result = step(state, batch, tensor([rate], []));
    dispose(state);
    state = result.state as State;
    losses.push(result.loss);
  }
  const after = await read({ losses, params: state.params });
  dispose([losses, state]);
  return {
    losses: (after.losses as readonly HostTensor[]).map(({ data }) => data[0]),
    params: after.params as SequenceClassifierParams,
  };
}

/** Ten steps of Adam on alternating batches. */
export async function compareClassifierSteps(device: Device): Promise<readonly Comparison[]> {
  const model = goldenClassifier(), golden = classifierFile.under("adam");
  const expected = golden.f64("losses");
  const two = ["batch_a", "batch_b"].map((name) => model.batch(classifierSamples(name)));
  const { losses, params } = await trainClassifier(
    device,
    model,
    paramsOf(model, classifierFile.under("param")),
    Array.from(expected, (_, k) => two[k % 2]),
  );
  return [
    { what: "losses", actual: losses, expected, tolerance: VALUES },
    ...compareTree(
      params,
      model.names,
      golden.under("after"),
      (name) => `${name} after ten steps`,
      VALUES,
    ),
  ];
}

/** The seed's run: two epochs over its five sequences, in PyTorch's order. */
export async function compareSeedRun(device: Device): Promise<readonly Comparison[]> {
  const model = goldenClassifier("seed_config"), golden = classifierFile.under("seed");
  const { samples } = await readSequences(
    new URL("../fixtures/sequences/seed.json", import.meta.url).pathname,
  );
  const { data, shape: [, count] } = golden.get("order");
  const batches: SequenceClassifierBatch[] = [];
  for (let i = 0; i < data.length; i += count) {
    const epoch = data.slice(i, i + count);
    for (let j = 0; j < count; j += 2) {
      batches.push(model.batch(Array.from(epoch.slice(j, j + 2), (row) => samples[row])));
    }
  }
  const start = paramsOf(model, golden.under("param"));
  const { losses, params } = await trainClassifier(device, model, start, batches);
  const all = run(device, model.loss)(params, model.batch(samples), { statistics: {} });
  const [loss, { logits }] = await read(all) as unknown as [HostTensor, { logits: HostTensor }];
  dispose(all);
  return [
    {
      what: "losses of the batches",
      actual: losses,
      expected: golden.f64("losses"),
      tolerance: VALUES,
    },
    value("loss after two epochs", loss, golden.f64("loss")),
    value("logits after two epochs", logits, golden.f64("logits")),
    ...compareTree(params, model.names, golden.under("after"), (name) => `${name} after`, VALUES),
  ];
}
