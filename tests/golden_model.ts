/**
 * The next-location model run on a device beside PyTorch's numbers of `next_location.safetensors`:
 * what `next_location_test.ts` asserts and `golden_report.ts` prints.
 *
 * @module
 */
import { lastRows, packed } from "../src/core/packing.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import { randomKey } from "../src/core/random.ts";
import { flatten, type Tree } from "../src/core/tree.ts";
import type { Device } from "../src/gpu/device.ts";
import {
  type Initial,
  type NextLocation,
  nextLocation,
  type NextLocationBatch,
} from "../src/models/next_location.ts";
import { fromStateDict, integerNames, toStateDict } from "../src/models/state_dict.ts";
import { globalNorm } from "../src/ops/global_norm.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { adam } from "../src/optim/adam.ts";
import type { Optimizer } from "../src/optim/optimizer.ts";
import { sgd } from "../src/optim/sgd.ts";
import { compile, type Compiled, run } from "../src/plan/compile.ts";
import { dispose, put, read } from "../src/plan/device_tensor.ts";
import { maxAbs } from "./reference/compare.ts";
import { type Golden, goldenBatch, readGolden } from "./reference/golden.ts";

type Params = Initial["params"];

const VALUES = 1e-5;
const GRADIENTS = 1e-4;

/** Our numbers beside PyTorch's. */
export interface Comparison {
  readonly what: string;
  readonly actual: ArrayLike<number>;
  readonly expected: ArrayLike<number>;
  readonly tolerance: number;
  /** Counts as the size of what is expected where that is zero but for rounding. */
  readonly floor?: number;
}

/** The golden file. */
export const file: Golden = await readGolden("next_location");

/** The switch variants of the golden file, by name. */
export const variants: readonly string[] = Object.keys(JSON.parse(file.metadata.variants));

/** The model of the golden file or of one of its variants, with every dropout 0. */
export function goldenModel(variant?: string): NextLocation {
  const { config, variants } = file.metadata;
  const c = { ...JSON.parse(config), ...(variant && JSON.parse(variants)[variant]) };
  return nextLocation({
    totalLocNum: c.total_loc_num,
    totalUserNum: c.total_user_num,
    baseEmbSize: c.base_emb_size,
    lstmHiddenSize: c.lstm_hidden_size,
    lstmNumLayers: c.lstm_num_layers,
    lstmDropout: 0,
    fcDropout: 0,
    embDropout: 0,
    ifEmbedUser: c.if_embed_user,
    ifEmbedTime: c.if_embed_time,
    ifEmbedDuration: c.if_embed_duration,
    embInfo: c.emb_info,
    init: "standard",
  });
}

/** The tensors of a part of the golden file by name. */
export function tensorsOf(golden: Golden): ReadonlyMap<string, HostTensor> {
  return new Map(golden.names.map((name) => [name, golden.get(name)]));
}

/** The start of the golden file or of one of its variants. */
export function goldenStart(model: NextLocation, variant?: string): Initial {
  const golden = variant === undefined ? file : file.under(variant);
  return fromStateDict(model, tensorsOf(golden.under("param")), "golden");
}

/** `batch_a` or `batch_b` as the model takes it. */
export function modelBatch(name: string): NextLocationBatch {
  const { packing, location, slot, weekday, duration, user, target } = goldenBatch(file, name);
  const steps = (values: ArrayLike<number>): HostTensor =>
    packed(packing, Uint32Array.from(values));
  const each = (values: ArrayLike<number>): HostTensor => tensor(Uint32Array.from(values));
  return {
    location: steps(location),
    slot: steps(slot),
    hour: steps(Array.from(slot, (s) => Math.floor(s / 4))),
    minute: steps(Array.from(slot, (s) => s % 4)),
    weekday: steps(weekday),
    duration: steps(duration),
    last: each(lastRows(packing)),
    user: each(user),
    target: each(target),
  };
}

/** What a training step computes, and logits in evaluation. */
export interface LossAndGradients {
  readonly loss: HostTensor;
  readonly logits: HostTensor;
  readonly evaluated: HostTensor;
  readonly grads: Tree;
}

/** Runs the model forward in both modes, and backward. */
export async function lossAndGradients(
  device: Device,
  model: NextLocation,
  { params, statistics }: Initial,
  batch: NextLocationBatch,
): Promise<LossAndGradients> {
  const all = run(device, (params: Params, batch: NextLocationBatch, key: Tensor) => {
    const loss = (params: Params) => model.loss(params, batch, { statistics, key });
    const [[value, { logits }], grads] = valueAndGrad(loss, { hasAux: true })(params);
    const evaluated = model.forward(params, batch, { statistics });
    return { loss: value, logits, evaluated: evaluated.logits, grads };
  })(params, batch, randomKey(1));
  const results = await read(all);
  dispose(all);
  return results;
}

/** Logits in both modes, loss and every gradient of the golden file or of one of its variants. */
export async function compareGradients(
  device: Device,
  variant?: string,
): Promise<readonly Comparison[]> {
  const model = goldenModel(variant);
  const golden = variant === undefined ? file : file.under(variant);
  const start = goldenStart(model, variant);
  const { loss, logits, evaluated, grads } = await lossAndGradients(
    device,
    model,
    start,
    modelBatch("batch_a"),
  );
  const expected = golden.under("grad");
  const largest = Math.max(...expected.names.map((name) => maxAbs(expected.f64(name))));
  const value = (what: string, actual: HostTensor, name: string): Comparison => ({
    what,
    actual: actual.data,
    expected: golden.f64(name),
    tolerance: VALUES,
  });
  return [
    value("logits", logits, "logits"),
    value("logits in evaluation", evaluated, "logits_eval"),
    value("loss", loss, "loss"),
    ...flatten(grads).map(({ path, leaf }): Comparison => {
      const name = model.names.get(path)!;
      const comparison = {
        what: `gradient of ${name}`,
        actual: (leaf as HostTensor).data,
        expected: expected.f64(name),
        tolerance: GRADIENTS,
      };
      // Zero but for rounding: BatchNorm removes any shift (fixtures/README.md).
      return name === "FC.linear2.bias" ? { ...comparison, floor: largest } : comparison;
    }),
  ];
}

/** What a training step keeps. */
export interface State extends Initial {
  readonly optimizer: Tree;
}

/** A compiled training step. */
export type TrainStep = Compiled<
  [state: State, batch: NextLocationBatch, key: Tensor, rate: number],
  { readonly state: State; readonly loss: Tensor; readonly norm: Tensor }
>;

/** A whole training step in place, as a trainer has it. */
export function trainStep(device: Device, model: NextLocation, optimizer: Optimizer): TrainStep {
  function step(
    { params, statistics, optimizer: memory }: State,
    batch: NextLocationBatch,
    key: Tensor,
    rate: number,
  ): ReturnType<TrainStep> {
    const [[loss, next], grads] = valueAndGrad(
      (params: Params) => model.loss(params, batch, { statistics, key }),
      { hasAux: true },
    )(params);
    const [moved, remembered] = optimizer.step(grads, memory, params, rate);
    return {
      state: { params: moved, statistics: next.statistics, optimizer: remembered },
      loss,
      norm: globalNorm(grads),
    };
  }
  return compile(device, step, { donate: [0] });
}

/** The state before the first step, on the device. */
export function startOf(
  device: Device,
  { params, statistics }: Initial,
  optimizer: Optimizer,
): State {
  const memory = optimizer.init(params);
  return put(device, { params, statistics, optimizer: memory });
}

/** The optimizer with the golden file's settings. */
function goldenOptimizer(name: "adam" | "sgd"): Optimizer {
  const settings = JSON.parse(file.metadata[name]);
  const maxNorm = Number(file.metadata.max_norm);
  const { weight_decay: weightDecay } = settings;
  if (name === "sgd") {
    return sgd({ momentum: settings.momentum, nesterov: settings.nesterov, weightDecay, maxNorm });
  }
  const [beta1, beta2] = settings.betas;
  return adam({ beta1, beta2, eps: settings.eps, weightDecay, maxNorm });
}

/** Ten training steps in place on alternating batches: losses, norms, weights and statistics. */
export async function compareSteps(
  device: Device,
  name: "adam" | "sgd",
): Promise<readonly Comparison[]> {
  const golden = file.under(name);
  const model = goldenModel();
  const optimizer = goldenOptimizer(name);
  using step = trainStep(device, model, optimizer);
  const batches = ["batch_a", "batch_b"].map(modelBatch);
  let state = startOf(device, goldenStart(model), optimizer);
  const losses: Tensor[] = [], norms: Tensor[] = [];
  golden.f64("lr").forEach((rate, k) => {
    const result = step(state, batches[k % 2], randomKey(k), rate);
    state = result.state;
    losses.push(result.loss);
    norms.push(result.norm);
  });
  const after = await read({ losses, norms, state });
  dispose([losses, norms, state]);
  const list = (tensors: readonly HostTensor[]): number[] => tensors.map(({ data }) => data[0]);
  const weights = toStateDict(model, after.state, 0);
  const expected = golden.under("after");
  return [
    {
      what: "losses",
      actual: list(after.losses),
      expected: golden.f64("losses"),
      tolerance: VALUES,
    },
    { what: "norms", actual: list(after.norms), expected: golden.f64("norms"), tolerance: VALUES },
    ...expected.names.filter((name) => !integerNames(model).includes(name)).map((name) => ({
      what: `${name} after ten steps`,
      actual: weights[name].data,
      expected: expected.f64(name),
      tolerance: VALUES,
    })),
  ];
}
