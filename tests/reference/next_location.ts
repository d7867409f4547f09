/**
 * The next-location model with every dropout 0 in float64, forward and backward by hand, composed
 * from the other references. Parameters carry PyTorch's names.
 *
 * @module
 */
import { lastRows, type Packing } from "../../src/core/packing.ts";
import {
  batchNorm,
  batchNormBackward,
  type RunningStatistics,
  updateRunning,
} from "./batch_norm.ts";
import { crossEntropy } from "./cross_entropy.ts";
import { embeddingSum, embeddingSumBackward } from "./embedding.ts";
import { layerNorm, layerNormBackward } from "./layer_norm.ts";
import { linear, linearBackward } from "./linear.ts";
import { lstm, lstmBackward, type LstmWeights } from "./lstm.ts";
import { relu, reluBackward } from "./relu.ts";

/** The switches that matter here, under the reference configuration's names. */
export interface NextLocationConfig {
  readonly base_emb_size: number;
  readonly lstm_hidden_size: number;
  readonly lstm_num_layers: number;
  readonly emb_info: "all" | "time" | "weekday";
  readonly if_embed_time: boolean;
  readonly if_embed_duration: boolean;
  readonly if_embed_user: boolean;
}

/** A batch: integers of every step in packed rows, of every sequence in the caller's order. */
export interface NextLocationBatch {
  readonly packing: Packing;
  /** Location, quarter of the day (0 to 95), weekday and duration bucket of each step, N each. */
  readonly location: ArrayLike<number>;
  readonly slot: ArrayLike<number>;
  readonly weekday: ArrayLike<number>;
  readonly duration: ArrayLike<number>;
  /** User and target of each sequence, B each; target 0 is ignored. */
  readonly user: ArrayLike<number>;
  readonly target: ArrayLike<number>;
}

/** Values by PyTorch's names. */
export type Named = Readonly<Record<string, Float64Array>>;

/** What {@linkcode nextLocation} computes. */
export interface NextLocationOutputs {
  /** [B,V] */
  readonly logits: Float64Array;
  readonly loss: number;
  /** Gradients of all parameters, by name. */
  readonly gradients: Named;
  /** Running statistics after the batch. */
  readonly running: RunningStatistics;
}

const NORM = "FC.norm1";

/** The running statistics among named values. */
export function runningOf(values: Named): RunningStatistics {
  return { mean: values[`${NORM}.running_mean`], variance: values[`${NORM}.running_var`] };
}

function tables(
  config: NextLocationConfig,
  batch: NextLocationBatch,
): Record<string, ArrayLike<number>> {
  const { location, slot, weekday, duration } = batch;
  const time = "Embedding.temporal_embedding";
  const used: Record<string, ArrayLike<number>> = { "Embedding.emb_loc.weight": location };
  if (config.if_embed_time) {
    if (config.emb_info === "all") {
      used[`${time}.hour_embed.weight`] = Array.from(slot, (s) => Math.floor(s / 4));
      used[`${time}.minute_embed.weight`] = Array.from(slot, (s) => s % 4);
    }
    if (config.emb_info === "time") used[`${time}.time_embed.weight`] = slot;
    else used[`${time}.weekday_embed.weight`] = weekday;
  }
  if (config.if_embed_duration) used["Embedding.emb_duration.weight"] = duration;
  return used;
}

function layer(params: Named, l: number): LstmWeights {
  return {
    weightIh: params[`lstm.weight_ih_l${l}`],
    weightHh: params[`lstm.weight_hh_l${l}`],
    biasIh: params[`lstm.bias_ih_l${l}`],
    biasHh: params[`lstm.bias_hh_l${l}`],
  };
}

const add = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value + b[i]);

/** The whole model forward and backward; `training` says which statistics BatchNorm takes. */
export function nextLocation(
  config: NextLocationConfig,
  params: Named,
  batch: NextLocationBatch,
  training: boolean,
): NextLocationOutputs {
  const { packing, user, target } = batch;
  const E = config.base_emb_size, H = config.lstm_hidden_size, L = config.lstm_num_layers;
  const B = packing.lengths.length;
  const running = runningOf(params);
  const fixed = training ? undefined : running;
  const gradients: Record<string, Float64Array> = {};

  const names = tables(config, batch);
  const lookups = Object.entries(names).map(([name, index]) => ({ table: params[name], index }));
  const inputs: Float64Array[] = [embeddingSum(lookups, E)];
  const layers = [];
  for (let l = 0; l < L; l++) {
    layers.push(lstm(inputs[l], layer(params, l), packing));
    inputs.push(layers[l].h);
  }
  const last = layers[L - 1].hN;
  const gamma = params["layer_norm.weight"];
  const normal = layerNorm(last, gamma, params["layer_norm.bias"]);
  const users = config.if_embed_user
    ? [{ table: params["FC.emb_user.weight"], index: user }]
    : undefined;
  const x = users ? add(normal, embeddingSum(users, H)) : normal;
  const dense = (name: string, value: Float64Array): Float64Array =>
    linear(value, params[`${name}.weight`], params[`${name}.bias`], B);
  const wide = dense("FC.linear1", x);
  const residual = add(x, dense("FC.linear2", relu(wide)));
  const normGamma = params[`${NORM}.weight`];
  const features = batchNorm(residual, normGamma, params[`${NORM}.bias`], fixed);
  const logits = dense("FC.fc_loc", features);
  const { loss, dlogits } = crossEntropy(logits, target, 0);

  const denseBackward = (name: string, value: Float64Array, dy: Float64Array): Float64Array => {
    const { dx, dweight, dbias } = linearBackward(value, params[`${name}.weight`], dy, B);
    gradients[`${name}.weight`] = dweight;
    gradients[`${name}.bias`] = dbias;
    return dx;
  };
  const dfeatures = denseBackward("FC.fc_loc", features, dlogits);
  const norm = batchNormBackward(residual, normGamma, dfeatures, fixed);
  gradients[`${NORM}.weight`] = norm.dgamma;
  gradients[`${NORM}.bias`] = norm.dbeta;
  const dwide = reluBackward(wide, denseBackward("FC.linear2", relu(wide), norm.dx));
  const dx = add(norm.dx, denseBackward("FC.linear1", x, dwide));
  if (users) [gradients["FC.emb_user.weight"]] = embeddingSumBackward(users, H, dx);
  const first = layerNormBackward(last, gamma, dx);
  gradients["layer_norm.weight"] = first.dgamma;
  gradients["layer_norm.bias"] = first.dbeta;

  let dh: Float64Array = new Float64Array(layers[0].h.length);
  lastRows(packing).forEach((row, b) => dh.set(first.dx.subarray(b * H, (b + 1) * H), row * H));
  for (let l = L - 1; l >= 0; l--) {
    const back = lstmBackward(inputs[l], layer(params, l), packing, layers[l], { dh });
    gradients[`lstm.weight_ih_l${l}`] = back.dweightIh;
    gradients[`lstm.weight_hh_l${l}`] = back.dweightHh;
    gradients[`lstm.bias_ih_l${l}`] = back.dbiasIh;
    gradients[`lstm.bias_hh_l${l}`] = back.dbiasHh;
    dh = back.dx;
  }
  embeddingSumBackward(lookups, E, dh).forEach((dtable, k) =>
    gradients[Object.keys(names)[k]] = dtable
  );
  return { logits, loss, gradients, running: updateRunning(running, residual) };
}
