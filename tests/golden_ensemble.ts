/**
 * The sequence ensemble run on a device beside PyTorch's numbers of `sequence_ensemble.safetensors`:
 * what `sequence_ensemble_test.ts` asserts and `golden_report.ts` prints.
 *
 * @module
 */
import { randomKey } from "../src/core/random.ts";
import type { HostTensor, Tensor } from "../src/core/tensor.ts";
import { flatten, type Tree } from "../src/core/tree.ts";
import type { SequenceSample } from "../src/data/sequences.ts";
import type { Device } from "../src/gpu/device.ts";
import {
  type SequenceEnsemble,
  sequenceEnsemble,
  type SequenceEnsembleBatch,
  type SequenceEnsembleParams,
  type SequenceEnsembleWeights,
} from "../src/models/sequence_ensemble.ts";
import { fromStateDict } from "../src/models/state_dict.ts";
import { globalNorm } from "../src/ops/global_norm.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { adam } from "../src/optim/adam.ts";
import { compile, run } from "../src/plan/compile.ts";
import { dispose, put, read } from "../src/plan/device_tensor.ts";
import { type Comparison, tensorsOf } from "./golden_model.ts";
import { maxAbs } from "./reference/compare.ts";
import { readGolden } from "./reference/golden.ts";

const VALUES = 1e-5;
const GRADIENTS = 1e-4;

/** What the model is trained for. */
export type Task = "classification" | "regression";

/** The golden file. */
export const ensembleFile = await readGolden("sequence_ensemble");

/** The model of the golden file, without dropout. */
export function goldenEnsemble(task: Task): SequenceEnsemble {
  const config = JSON.parse(ensembleFile.metadata.config);
  return sequenceEnsemble({
    task,
    inputDim: config.input_dim,
    hiddenDim: config.hidden_dim,
    numLstmLayers: config.num_lstm_layers,
    numHeads: config.num_heads,
    outputDim: config.output_dim,
    dropout: config.dropout,
  });
}

/** The golden file's start. */
export function ensembleStart(model: SequenceEnsemble): SequenceEnsembleWeights {
  return fromStateDict(model, tensorsOf(ensembleFile.under("param")), "golden");
}

/** The sequences of `batch_a` or `batch_b`. */
export function ensembleSamples(name: string): readonly SequenceSample[] {
  const golden = ensembleFile.under(name);
  const x = golden.get("x"), targets = golden.get("target");
  const [, T, F] = x.shape, width = targets.shape[1];
  return Array.from(golden.get("lengths").data, (steps, b) => ({
    values: x.data.slice(b * T * F, (b * T + steps) * F) as Float32Array,
    steps,
    label: golden.get("label").data[b],
    target: targets.data.slice(b * width, (b + 1) * width) as Float32Array,
  }));
}

/** Whether a gradient is zero but for rounding (fixtures/README.md). */
const isZero = (name: string): boolean => /\.convs\.\d\.bias$|\.w_k\.bias$/.test(name);

/** Outputs in both modes, attention weights, loss, statistics and every gradient. */
export async function compareEnsemble(
  device: Device,
  task: Task,
): Promise<readonly Comparison[]> {
  const model = goldenEnsemble(task);
  const { params, statistics } = ensembleStart(model);
  const attentionSteps = ensembleFile.get("attention_0").shape[2];
  const all = run(
    device,
    (params: SequenceEnsembleParams, batch: SequenceEnsembleBatch, key: Tensor) => {
      const loss = (params: SequenceEnsembleParams) =>
        model.loss(params, batch, { statistics, key });
      const [[value, trained], grads] = valueAndGrad(loss, { hasAux: true })(params);
      const evaluated = model.forward(params, batch, { statistics, attentionSteps });
      return { value, trained, grads, evaluated };
    },
  )(params, model.batch(ensembleSamples("batch_a")), randomKey(1));
  const { value, trained, grads, evaluated } = await read(all);
  dispose(all);
  const of = (what: string, actual: Tensor, name: string): Comparison => ({
    what,
    actual: (actual as HostTensor).data,
    expected: ensembleFile.f64(name),
    tolerance: VALUES,
  });
  const expected = ensembleFile.under(`${task}/grad`);
  const largest = Math.max(...expected.names.map((name) => maxAbs(expected.f64(name))));
  return [
    of("outputs", trained.outputs, "outputs"),
    of("outputs in evaluation", evaluated.outputs, "outputs_eval"),
    of("loss", value, `${task}/loss`),
    ...evaluated.attention!.map((weights, i) =>
      of(`attention weights ${i}`, weights, `attention_${i}`)
    ),
    ...flatten(trained.statistics).map(({ path, leaf }) => {
      const name = model.statisticsNames.get(path)!;
      return of(name, leaf, `running/${name}`);
    }),
    ...flatten(grads).map(({ path, leaf }): Comparison => {
      const name = model.names.get(path)!;
      return {
        what: `gradient of ${name}`,
        actual: (leaf as HostTensor).data,
        expected: expected.f64(name),
        tolerance: GRADIENTS,
        ...(isZero(name) ? { floor: largest } : {}),
      };
    }),
  ];
}

/** Ten Adam steps in place on alternating batches: losses, norms, weights and statistics. */
export async function compareEnsembleSteps(device: Device): Promise<readonly Comparison[]> {
  const model = goldenEnsemble("classification");
  const golden = ensembleFile.under("adam");
  const { betas: [beta1, beta2], eps, weight_decay: weightDecay } = JSON.parse(
    ensembleFile.metadata.adam,
  );
  const maxNorm = Number(ensembleFile.metadata.max_norm);
  const optimizer = adam({ beta1, beta2, eps, weightDecay, maxNorm });
  type State = SequenceEnsembleWeights & { readonly memory: Tree };
  using step = compile(
    device,
    (
      { params, statistics, memory }: State,
      batch: SequenceEnsembleBatch,
      key: Tensor,
      rate: number,
    ) => {
      const loss = (params: SequenceEnsembleParams) =>
        model.loss(params, batch, { statistics, key });
      const [[value, next], grads] = valueAndGrad(loss, { hasAux: true })(params);
      const [moved, remembered] = optimizer.step(grads, memory as never, params, rate);
      const state: State = { params: moved, statistics: next.statistics, memory: remembered };
      return { state, loss: value, norm: globalNorm(grads) };
    },
    { donate: [0] },
  );
  const start = ensembleStart(model);
  let state: State = put(device, { ...start, memory: optimizer.init(start.params) });
  const batches = ["batch_a", "batch_b"].map((name) => model.batch(ensembleSamples(name)));
  const losses: Tensor[] = [], norms: Tensor[] = [];
  golden.f64("lr").forEach((rate, k) => {
    const result = step(state, batches[k % 2], randomKey(k), rate);
    state = result.state;
    losses.push(result.loss);
    norms.push(result.norm);
  });
  const after = await read({ losses, norms, state });
  dispose([losses, norms, state]);
  const list = (tensors: readonly Tensor[]): number[] =>
    tensors.map((tensor) => (tensor as HostTensor).data[0]);
  const weights = (tree: Tree, names: ReadonlyMap<string, string>): readonly Comparison[] =>
    flatten(tree).map(({ path, leaf }) => ({
      what: `${names.get(path)!} after ten steps`,
      actual: (leaf as HostTensor).data,
      expected: golden.f64(`after/${names.get(path)!}`),
      tolerance: VALUES,
    }));
  return [
    {
      what: "losses",
      actual: list(after.losses),
      expected: golden.f64("losses"),
      tolerance: VALUES,
    },
    { what: "norms", actual: list(after.norms), expected: golden.f64("norms"), tolerance: VALUES },
    ...weights(after.state.params, model.names),
    ...weights(after.state.statistics, model.statisticsNames),
  ];
}
