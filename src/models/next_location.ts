/**
 * The next-location model: from a person's visits of the last days to the place visited next.
 * Embeddings of place, time, weekday and length of stay are summed, an LSTM reads them, and its last
 * output, with a vector for the user, goes through a residual block to a logit for each place
 * (Hong, Zhang, Schindler, Raubal 2023, "Context-aware multi-head self-attentional neural network
 * model for next location prediction", arXiv:2212.01953: its LSTM baseline).
 *
 * @module
 */
import { lastRows, pack, packed, packValues } from "../core/packing.ts";
import { foldIn, type Key } from "../core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../core/tensor.ts";
import { type BiasedLstmParams, initLstm, lstmLayers } from "../nn/lstm_layers.ts";
import { ones, xavierUniform, zeros } from "../nn/init.ts";
import { batchNorm, type RunningStatistics } from "../ops/batch_norm.ts";
import { add } from "../ops/binary.ts";
import { crossEntropy } from "../ops/cross_entropy.ts";
import { dropout } from "../ops/dropout.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear } from "../ops/linear.ts";
import { rank } from "../ops/rank.ts";
import { softmax } from "../ops/softmax.ts";
import { splitKey } from "../ops/split_key.ts";
import { take } from "../ops/take.ts";
import { relu } from "../ops/unary.ts";
import type { Sample } from "../data/samples.ts";
import { stage } from "../graph/stages.ts";
import type { ForwardOptions, Model, ModelOutput, Weights } from "./model.ts";

/** Sizes and switches of the model. */
export interface NextLocationConfig {
  /** Location ids V, 0 (padding) and 1 (unknown) included. */
  readonly totalLocNum: number;
  /** User ids U, 0 included. */
  readonly totalUserNum: number;
  /** Width E of the embeddings. */
  readonly baseEmbSize: number;
  /** Hidden size H. */
  readonly lstmHiddenSize: number;
  /** LSTM layers L. */
  readonly lstmNumLayers: number;
  /** Dropout between LSTM layers. */
  readonly lstmDropout: number;
  /** Dropout in the residual block. */
  readonly fcDropout: number;
  /** Dropout after the embeddings and after the user's vector; default 0.1, as the reference has it. */
  readonly embDropout?: number;
  /** Add a vector for the user. */
  readonly ifEmbedUser: boolean;
  /** Add vectors for the time. */
  readonly ifEmbedTime: boolean;
  /** Add a vector for the length of stay. */
  readonly ifEmbedDuration: boolean;
  /** Which time tables: hour, quarter and weekday; one of 96 quarters; or weekday only. */
  readonly embInfo: "all" | "time" | "weekday";
  /**
   * Initial biases: zero, but 1 for the LSTM's forget gates (`standard`); or, as the reference's code
   * has it, 1 in the second quarter of every bias, both of each LSTM layer included (`reference`).
   */
  readonly init: "standard" | "reference";
}

/** A linear layer's parameters. */
export interface LinearParams {
  /** [out,in]. */
  readonly weight: Tensor;
  /** [out]. */
  readonly bias: Tensor;
}

/** Parameters of the model. */
export interface NextLocationParams {
  /** Tables of which a visit's vectors are summed; which there are depends on the switches. */
  readonly embedding: {
    /** [V,E]. */
    readonly location: Tensor;
    /** [24,E]. */
    readonly hour?: Tensor;
    /** [4,E]. */
    readonly minute?: Tensor;
    /** [7,E]. */
    readonly weekday?: Tensor;
    /** Quarters of an hour, [96,E]. */
    readonly time?: Tensor;
    /** Half hours, [96,E]. */
    readonly duration?: Tensor;
  };
  /** L layers, first layer first. */
  readonly lstm: readonly BiasedLstmParams[];
  /** [H] each. */
  readonly layerNorm: LinearParams;
  /** [U,H]. */
  readonly user?: Tensor;
  /** [2H,H]. */
  readonly linear1: LinearParams;
  /** [H,2H]. */
  readonly linear2: LinearParams;
  /** [H] each. */
  readonly norm: LinearParams;
  /** [V,H]. */
  readonly output: LinearParams;
}

/** What the model sees of B samples with N visits in all. */
export interface NextLocationBatch {
  /** Location ids, packed `u32[N]`. */
  readonly location: HostTensor;
  /** Quarter of an hour of the day, 0 to 95, packed `u32[N]`. */
  readonly slot: HostTensor;
  /** Hour of the day, packed `u32[N]`. */
  readonly hour: HostTensor;
  /** Quarter of the hour, packed `u32[N]`. */
  readonly minute: HostTensor;
  /** Monday 0 to Sunday 6, packed `u32[N]`. */
  readonly weekday: HostTensor;
  /** Length of stay in half hours, 0 to 95, packed `u32[N]`. */
  readonly duration: HostTensor;
  /** Packed row of each sample's last visit, `u32[B]`. */
  readonly last: HostTensor;
  /** User ids, `u32[B]`. */
  readonly user: HostTensor;
  /** Location ids to predict, 0 where there is none, `u32[B]`. */
  readonly target: HostTensor;
}

/** Results of a forward pass. */
export interface NextLocationOutput extends ModelOutput<RunningStatistics> {
  /** [B,V]. */
  readonly logits: Tensor;
}

/** Parameters and the batch normalization's statistics, [H] each. */
export type Initial = Weights<NextLocationParams, RunningStatistics>;

/** The next-location model as pure functions over plain data. */
export interface NextLocation
  extends Model<NextLocationParams, RunningStatistics, NextLocationBatch, NextLocationOutput> {
  /** What the model was made with. */
  readonly config: NextLocationConfig;
  /** Samples as the model takes them. */
  readonly batch: (samples: readonly Sample[]) => NextLocationBatch;
}

const embeddingNames = {
  location: "Embedding.emb_loc.weight",
  hour: "Embedding.temporal_embedding.hour_embed.weight",
  minute: "Embedding.temporal_embedding.minute_embed.weight",
  weekday: "Embedding.temporal_embedding.weekday_embed.weight",
  time: "Embedding.temporal_embedding.time_embed.weight",
  duration: "Embedding.emb_duration.weight",
} as const;

type Feature = keyof typeof embeddingNames;

/** Rows of each table; the batch's field that indexes it. */
function tablesOf(
  config: NextLocationConfig,
): readonly {
  readonly feature: Feature;
  readonly rows: number;
  readonly index: keyof NextLocationBatch;
}[] {
  const { embInfo, ifEmbedTime, ifEmbedDuration, totalLocNum } = config;
  const time = !ifEmbedTime ? [] : embInfo === "all"
    ? [
      { feature: "hour", rows: 24, index: "hour" },
      { feature: "minute", rows: 4, index: "minute" },
      { feature: "weekday", rows: 7, index: "weekday" },
    ] as const
    : embInfo === "time"
    ? [{ feature: "time", rows: 96, index: "slot" }] as const
    : [{ feature: "weekday", rows: 7, index: "weekday" }] as const;
  return [
    { feature: "location", rows: totalLocNum, index: "location" },
    ...time,
    ...(ifEmbedDuration ? [{ feature: "duration", rows: 96, index: "duration" }] as const : []),
  ];
}

/**
 * The next-location model of a configuration.
 *
 * @example
 * ```ts
 * import { defaultConfig, nextLocation, randomKey, simulate } from "@gatewise/lstm";
 * import { openDevice, read, run } from "@gatewise/lstm";
 *
 * const { train, totalLocNum, totalUserNum } = simulate({ people: 3, days: 30 });
 * const model = nextLocation({ ...defaultConfig, totalLocNum, totalUserNum, lstmHiddenSize: 16 });
 * const { params, statistics } = model.init(randomKey(42));
 * using device = await openDevice();
 * const { logits } = run(device, model.forward)(params, model.batch(train.slice(0, 4)), { statistics });
 * console.log((await read(logits)).shape); // [ 4, totalLocNum ]
 * ```
 */
export function nextLocation(config: NextLocationConfig): NextLocation {
  const tables = tablesOf(config);
  const { embDropout = 0.1, fcDropout, lstmDropout } = config;

  function forward(
    params: NextLocationParams,
    batch: NextLocationBatch,
    { statistics, key }: ForwardOptions<RunningStatistics>,
  ): NextLocationOutput {
    const keys = key === undefined ? undefined : splitKey(key, 5);
    const drop = (x: Tensor, rate: number, use: number): Tensor =>
      keys === undefined ? x : dropout(x, rate, keys[use]);
    const embedded = tables
      .map(({ feature, index }) => take(params.embedding[feature]!, batch[index]))
      .reduce(add);
    const between = keys === undefined ? undefined : { rate: lstmDropout, key: keys[1] };
    stage("embedded visits", embedded);
    const { output: states } = lstmLayers(drop(embedded, embDropout, 0), params.lstm, {
      dropout: between,
    });
    const last = stage("last output of the LSTM", take(stage("LSTM", states), batch.last));
    const { weight, bias } = params.layerNorm;
    const normed = stage("layer norm", layerNorm(last, weight, bias));
    const personal = params.user === undefined
      ? normed
      : add(normed, take(params.user, batch.user));
    const x = drop(stage("with the user's vector", personal), embDropout, 2);
    const hidden = relu(linear(x, params.linear1.weight, params.linear1.bias));
    const block = linear(drop(hidden, fcDropout, 3), params.linear2.weight, params.linear2.bias);
    const { y, running } = batchNorm(
      add(x, drop(block, fcDropout, 4)),
      params.norm.weight,
      params.norm.bias,
      statistics,
      { training: key !== undefined },
    );
    stage("residual block", y);
    return {
      logits: linear(y, params.output.weight, params.output.bias),
      statistics: running,
    };
  }

  return Object.freeze({
    config,
    init: (key: Key): Initial => init(config, key),
    forward,
    loss(
      params: NextLocationParams,
      batch: NextLocationBatch,
      options: ForwardOptions<RunningStatistics>,
    ): readonly [Tensor, NextLocationOutput] {
      const output = forward(params, batch, options);
      return [crossEntropy(output.logits, batch.target, { ignoreIndex: 0 }), output] as const;
    },
    answers: ({ logits }: NextLocationOutput, { target }: NextLocationBatch) => ({
      ...rank(logits, target),
    }),
    targets: ({ target }: NextLocationBatch) => ({ targets: target }),
    prediction: ({ logits }: NextLocationOutput) => softmax(logits),
    batch: makeBatch,
    names: namesOf(config),
    statisticsNames,
    shapes: () => shapesOf(config),
  });
}

function makeBatch(samples: readonly Sample[]): NextLocationBatch {
  const packing = pack(samples.map(({ X }) => X.length));
  const values = (value: (sample: Sample, t: number) => number): HostTensor =>
    packed(packing, packValues(packing, (b, t) => value(samples[b], t)));
  const each = (value: (sample: Sample) => number): HostTensor =>
    tensor(Uint32Array.from(samples, value));
  return {
    location: values(({ X }, t) => X[t]),
    slot: values(({ start_min_X }, t) => Math.floor(start_min_X[t] / 15)),
    hour: values(({ start_min_X }, t) => Math.floor(start_min_X[t] / 60)),
    minute: values(({ start_min_X }, t) => Math.floor(start_min_X[t] % 60 / 15)),
    weekday: values(({ weekday_X }, t) => weekday_X[t]),
    duration: values(({ dur_X }, t) => Math.floor(dur_X[t] / 30)),
    last: tensor(lastRows(packing)),
    user: each(({ user_X }) => user_X[0]),
    target: each(({ Y }) => Y ?? 0),
  };
}

function init(config: NextLocationConfig, key: Key): Initial {
  const { baseEmbSize: E, lstmHiddenSize: H, lstmNumLayers, totalUserNum, totalLocNum } = config;
  const reference = config.init === "reference";
  let uses = 0;
  const matrix = (rows: number, columns: number): HostTensor =>
    xavierUniform(foldIn(key, uses++), [rows, columns]);
  const bias = (n: number): HostTensor =>
    reference
      ? tensor(new Float32Array(n).fill(1, Math.floor(n / 4), Math.floor(n / 2)))
      : zeros([n]);
  const layer = (out: number, from: number): LinearParams => ({
    weight: matrix(out, from),
    bias: bias(out),
  });
  const embedding = Object.fromEntries(
    tablesOf(config).map(({ feature, rows }) => [feature, matrix(rows, E)]),
  ) as { location: HostTensor };
  const params: NextLocationParams = {
    embedding,
    lstm: initLstm(
      foldIn(key, uses++),
      { inputSize: E, hiddenSize: H, layers: lstmNumLayers },
      { forgetBias: reference ? [1, 1] : [1, 0] },
    ),
    layerNorm: { weight: ones([H]), bias: bias(H) },
    ...(config.ifEmbedUser ? { user: matrix(totalUserNum, H) } : {}),
    linear1: layer(2 * H, H),
    linear2: layer(H, 2 * H),
    norm: { weight: ones([H]), bias: bias(H) },
    output: layer(totalLocNum, H),
  };
  return { params, statistics: { mean: zeros([H]), variance: ones([H]) } };
}

function namesOf(config: NextLocationConfig): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const { feature } of tablesOf(config)) {
    names.set(`embedding.${feature}`, embeddingNames[feature]);
  }
  for (let l = 0; l < config.lstmNumLayers; l++) {
    names.set(`lstm.${l}.weightIh`, `lstm.weight_ih_l${l}`);
    names.set(`lstm.${l}.weightHh`, `lstm.weight_hh_l${l}`);
    names.set(`lstm.${l}.biasIh`, `lstm.bias_ih_l${l}`);
    names.set(`lstm.${l}.biasHh`, `lstm.bias_hh_l${l}`);
  }
  if (config.ifEmbedUser) names.set("user", "FC.emb_user.weight");
  const layers = {
    layerNorm: "layer_norm",
    linear1: "FC.linear1",
    linear2: "FC.linear2",
    norm: "FC.norm1",
    output: "FC.fc_loc",
  };
  for (const [path, name] of Object.entries(layers)) {
    names.set(`${path}.weight`, `${name}.weight`);
    names.set(`${path}.bias`, `${name}.bias`);
  }
  return names;
}

/** PyTorch's names of the batch normalization's statistics. */
const statisticsNames: ReadonlyMap<string, string> = new Map([
  ["mean", "FC.norm1.running_mean"],
  ["variance", "FC.norm1.running_var"],
]);

function shapesOf(config: NextLocationConfig): Initial {
  const { baseEmbSize: E, lstmHiddenSize: H, totalLocNum: V, totalUserNum: U } = config;
  const of = (...shape: number[]): Tensor => ({ shape, dtype: "f32" });
  const layer = (out: number, from: number): LinearParams => ({
    weight: of(out, from),
    bias: of(out),
  });
  const embedding = Object.fromEntries(
    tablesOf(config).map(({ feature, rows }) => [feature, of(rows, E)]),
  ) as { location: Tensor };
  const params: NextLocationParams = {
    embedding,
    lstm: Array.from({ length: config.lstmNumLayers }, (_, l) => ({
      weightIh: of(4 * H, l === 0 ? E : H),
      weightHh: of(4 * H, H),
      biasIh: of(4 * H),
      biasHh: of(4 * H),
    })),
    layerNorm: { weight: of(H), bias: of(H) },
    ...(config.ifEmbedUser ? { user: of(U, H) } : {}),
    linear1: layer(2 * H, H),
    linear2: layer(H, 2 * H),
    norm: { weight: of(H), bias: of(H) },
    output: layer(V, H),
  };
  return { params, statistics: { mean: of(H), variance: of(H) } };
}
