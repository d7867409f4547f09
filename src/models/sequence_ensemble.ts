/**
 * The sequence ensemble: from a sequence of feature vectors to a class or to numbers. Convolutions along
 * time at several scales, blocks of bidirectional LSTM layers with attention after every second one, and
 * three heads over what is left of a sequence: its mean, its maximum and its last step.
 *
 * Sequences of different lengths are packed, so what is not there takes no part: not in a convolution, in
 * the statistics of a batch, in a recurrence, in attention or in pooling. In evaluation a sequence gets in
 * any batch what it gets alone.
 *
 * PyTorch's names of the parameters are those of the modules that the architecture is usually written
 * with; `SequenceEnsemble` in `fixtures/generate.py` is that definition, whole:
 *
 * | module | parameters |
 * | --- | --- |
 * | `input_proj` | `.0` Linear(F, D), `.1` LayerNorm(D) |
 * | `pos_encoding` | none |
 * | `temporal_conv1`, `temporal_conv2` | `.convs.N` Conv1d(D, D/3, k), `.norms.N` BatchNorm1d, one a kernel size |
 * | `fusion_gate` | `.0` Linear(2D, D) |
 * | `lstm_blocks.N` | `.lstm` LSTM(D, D, bidirectional), `.projection` Linear(2D, D), `.layer_norm` LayerNorm(D) |
 * | `attention_layers.N` | `.w_q`, `.w_k`, `.w_v`, `.w_o` Linear(D, D) |
 * | `output_heads.N` | `.0` Linear(3D, D), `.3` Linear(D, D/2), `.6` Linear(D/2, out) |
 * | `final_combiner` | `.0` Linear(heads out, D), `.3` Linear(D, out) |
 * | `gradient_scale` | [1] |
 *
 * @module
 */
import { foldIn, type Key } from "../core/random.ts";
import { type HostTensor, type Shape, type Tensor, tensor } from "../core/tensor.ts";
import { flatten } from "../core/tree.ts";
import { packSequences, type SequenceSample } from "../data/sequences.ts";
import { stage } from "../graph/stages.ts";
import { fanInUniform, ones, zeros } from "../nn/init.ts";
import { type BiasedLstmParams, lstmLayers } from "../nn/lstm_layers.ts";
import { meanSquaredError } from "../nn/mean_squared_error.ts";
import { attention } from "../ops/attention.ts";
import { batchNorm, type RunningStatistics } from "../ops/batch_norm.ts";
import { add, mul, sub } from "../ops/binary.ts";
import { concat } from "../ops/concat.ts";
import { conv1d } from "../ops/conv1d.ts";
import { crossEntropy } from "../ops/cross_entropy.ts";
import { dropout } from "../ops/dropout.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear } from "../ops/linear.ts";
import { lastStep, maxOverTime, meanOverTime } from "../ops/pool.ts";
import { positionalEncoding } from "../ops/positional_encoding.ts";
import { rank } from "../ops/rank.ts";
import { scale } from "../ops/scale.ts";
import { softmax } from "../ops/softmax.ts";
import { splitKey } from "../ops/split_key.ts";
import { relu, sigmoid } from "../ops/unary.ts";
import type { LinearParams } from "./next_location.ts";

/** Sizes and switches of the model. */
export interface SequenceEnsembleConfig {
  /** Classes to tell apart, by cross-entropy; or numbers to predict, by mean squared error. */
  readonly task?: "classification" | "regression";
  /** Width F of a feature vector; default 9. */
  readonly inputDim?: number;
  /** Width D of everything inside, a multiple of `numHeads`; default 256. */
  readonly hiddenDim?: number;
  /** Blocks of LSTM layers; default 4. After every second one comes attention. */
  readonly numLstmLayers?: number;
  /** LSTM layers in a block, each in both directions; default 2. */
  readonly layersPerBlock?: number;
  /** Attention heads; default 8. */
  readonly numHeads?: number;
  /** Classes, or numbers to predict; default 3. */
  readonly outputDim?: number;
  /** Heads whose answers are combined; default 3. */
  readonly outputHeads?: number;
  /** Dropout p; half of it after the input projection and before each head's last layer; default 0.3. */
  readonly dropout?: number;
  /** Taps of the parallel convolutions of both blocks, odd; default 3, 5, 7 and 3, 5, 9. */
  readonly kernelSizes?: readonly [readonly number[], readonly number[]];
  /** Most steps of a sequence; default 5000. */
  readonly maxLength?: number;
}

const defaults: Required<SequenceEnsembleConfig> = {
  task: "classification",
  inputDim: 9,
  hiddenDim: 256,
  numLstmLayers: 4,
  layersPerBlock: 2,
  numHeads: 8,
  outputDim: 3,
  outputHeads: 3,
  dropout: 0.3,
  kernelSizes: [[3, 5, 7], [3, 5, 9]],
  maxLength: 5000,
};

/** Parameters of one of the parallel convolutions of a block, with O channels. */
export interface ConvBranchParams {
  /** `weight` [O,D,k], `bias` [O]. */
  readonly conv: LinearParams;
  /** [O] each. */
  readonly norm: LinearParams;
}

/** Parameters of a block of LSTM layers. */
export interface LstmBlockParams {
  /** Layers, first one first: the one that reads from the first step on, then the other. */
  readonly lstm: readonly (readonly [BiasedLstmParams, BiasedLstmParams])[];
  /** [D,2D]. */
  readonly projection: LinearParams;
  /** [D] each. */
  readonly norm: LinearParams;
}

/** Parameters of an attention layer: [D,D] each. */
export interface AttentionParams {
  /** Of the queries. */
  readonly query: LinearParams;
  /** Of the keys. */
  readonly key: LinearParams;
  /** Of the values. */
  readonly value: LinearParams;
  /** Of what comes out. */
  readonly output: LinearParams;
}

/** Parameters of the model. */
export interface SequenceEnsembleParams {
  /** [D,F]. */
  readonly inputProjection: LinearParams;
  /** [D] each. */
  readonly inputNorm: LinearParams;
  /** Both blocks: branches, one a kernel size. */
  readonly convolutions: readonly (readonly ConvBranchParams[])[];
  /** [D,2D]. */
  readonly fusionGate: LinearParams;
  /** Blocks, first one first. */
  readonly blocks: readonly LstmBlockParams[];
  /** One after every second block. */
  readonly attention: readonly AttentionParams[];
  /** Layers of each head: [D,3D], [D/2,D] and [out,D/2]. */
  readonly heads: readonly (readonly LinearParams[])[];
  /** [D,heads out] and [out,D]. */
  readonly combiner: readonly LinearParams[];
  /** What the outputs are multiplied by, [1]. */
  readonly gradientScale: Tensor;
}

/** Of every convolution's batch normalization, by block and branch. */
export type SequenceEnsembleStatistics = readonly (readonly RunningStatistics[])[];

/** What the model sees of B sequences with N steps in all. */
export interface SequenceEnsembleBatch {
  /** Feature vectors, packed `f32[N,F]`. */
  readonly values: HostTensor;
  /** Classes, `u32[B]`, or the numbers to predict, `f32[B,out]`; 0 where none is known. */
  readonly target: HostTensor;
}

/** How a forward pass runs. */
export interface SequenceEnsembleOptions {
  /** Of the batch normalizations. */
  readonly statistics: SequenceEnsembleStatistics;
  /** Key of this step's dropout; present in training, absent in evaluation. */
  readonly key?: Tensor;
  /** Also give the attention weights, for sequences of at most this many steps T. */
  readonly attentionSteps?: number;
}

/** Results of a forward pass. */
export interface SequenceEnsembleOutput {
  /** Logits of the classes, or numbers, [B,out]. */
  readonly outputs: Tensor;
  /** Updated in training. */
  readonly statistics: SequenceEnsembleStatistics;
  /** Weights of each attention layer, [B,heads,T,T], if they were asked for. */
  readonly attention?: readonly Tensor[];
}

/** Initial state of the model. */
export interface SequenceEnsembleWeights {
  /** What gradients change. */
  readonly params: SequenceEnsembleParams;
  /** Of the batch normalizations. */
  readonly statistics: SequenceEnsembleStatistics;
}

/** The model as pure functions over plain data. */
export interface SequenceEnsemble {
  /** What the model was made with. */
  readonly config: Required<SequenceEnsembleConfig>;
  /** Initial parameters and statistics, on the host: PyTorch's defaults for each layer. */
  readonly init: (key: Key) => SequenceEnsembleWeights;
  /** Outputs for a batch; use it inside `compile`, `run` or `grad`. */
  readonly forward: (
    params: SequenceEnsembleParams,
    batch: SequenceEnsembleBatch,
    options: SequenceEnsembleOptions,
  ) => SequenceEnsembleOutput;
  /** Mean cross-entropy or mean squared error, with what `forward` returns. */
  readonly loss: (
    params: SequenceEnsembleParams,
    batch: SequenceEnsembleBatch,
    options: SequenceEnsembleOptions,
  ) => readonly [Tensor, SequenceEnsembleOutput];
  /** Classification: the class with the highest logit and the true one's rank; regression: outputs. */
  readonly answers: (
    output: SequenceEnsembleOutput,
    batch: SequenceEnsembleBatch,
  ) => Readonly<Record<string, Tensor>>;
  /** The true classes or numbers. */
  readonly targets: (batch: SequenceEnsembleBatch) => Readonly<Record<string, HostTensor>>;
  /** Probabilities of the classes, or numbers, [B,out]. */
  readonly prediction: (output: SequenceEnsembleOutput) => Tensor;
  /**
   * Sequences as the model takes them.
   *
   * @throws {TypeError} If a sequence or a target is not of the model's width.
   */
  readonly batch: (samples: readonly SequenceSample[]) => SequenceEnsembleBatch;
  /** PyTorch's name of each parameter, by its path in the record. */
  readonly names: ReadonlyMap<string, string>;
  /** PyTorch's name of each statistic, by its path in the record. */
  readonly statisticsNames: ReadonlyMap<string, string>;
  /** Shapes of all weights, without making values. */
  readonly shapes: () => SequenceEnsembleWeights;
}

/** How a parameter begins: all of one value, or uniform within ±1/√n. */
type Start = "zeros" | "ones" | { readonly n: number };

/** Makes a weight of PyTorch's name and of a shape. */
type Make = (name: string, shape: Shape, start: Start) => Tensor;

/** Channels of each of `count` branches: D/count, the remainder to the first ones. */
function branchWidths(D: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => Math.floor(D / count) + (i < D % count ? 1 : 0));
}

function convName(block: number, part: "convs" | "norms", branch: number): string {
  return `temporal_conv${block + 1}.${part}.${branch}`;
}

/** All parameters, made in an order that is PyTorch's. */
function paramsOf(config: Required<SequenceEnsembleConfig>, make: Make): SequenceEnsembleParams {
  const { inputDim: F, hiddenDim: D, outputDim, outputHeads, kernelSizes } = config;
  const half = Math.floor(D / 2);
  const layer = (name: string, shape: readonly number[]): LinearParams => {
    const start = { n: shape.slice(1).reduce((a, b) => a * b) };
    return {
      weight: make(`${name}.weight`, shape, start),
      bias: make(`${name}.bias`, [shape[0]], start),
    };
  };
  const norm = (name: string, width: number): LinearParams => ({
    weight: make(`${name}.weight`, [width], "ones"),
    bias: make(`${name}.bias`, [width], "zeros"),
  });
  const lstm = (name: string, l: number, suffix: string): BiasedLstmParams => {
    const of = (kind: string, shape: Shape): Tensor =>
      make(`${name}.${kind}_l${l}${suffix}`, shape, { n: D });
    return {
      weightIh: of("weight_ih", [4 * D, l === 0 ? D : 2 * D]),
      weightHh: of("weight_hh", [4 * D, D]),
      biasIh: of("bias_ih", [4 * D]),
      biasHh: of("bias_hh", [4 * D]),
    };
  };
  const many = <T>(count: number, of: (i: number) => T): readonly T[] =>
    Array.from({ length: count }, (_, i) => of(i));
  return {
    inputProjection: layer("input_proj.0", [D, F]),
    inputNorm: norm("input_proj.1", D),
    convolutions: kernelSizes.map((sizes, block) => {
      const widths = branchWidths(D, sizes.length);
      return sizes.map((k, i): ConvBranchParams => ({
        conv: layer(convName(block, "convs", i), [widths[i], D, k]),
        norm: norm(convName(block, "norms", i), widths[i]),
      }));
    }),
    fusionGate: layer("fusion_gate.0", [D, 2 * D]),
    blocks: many(config.numLstmLayers, (i) => ({
      lstm: many(config.layersPerBlock, (l) =>
        [
          lstm(`lstm_blocks.${i}.lstm`, l, ""),
          lstm(`lstm_blocks.${i}.lstm`, l, "_reverse"),
        ] as const),
      projection: layer(`lstm_blocks.${i}.projection`, [D, 2 * D]),
      norm: norm(`lstm_blocks.${i}.layer_norm`, D),
    })),
    attention: many(Math.floor(config.numLstmLayers / 2), (i) => ({
      query: layer(`attention_layers.${i}.w_q`, [D, D]),
      key: layer(`attention_layers.${i}.w_k`, [D, D]),
      value: layer(`attention_layers.${i}.w_v`, [D, D]),
      output: layer(`attention_layers.${i}.w_o`, [D, D]),
    })),
    heads: many(outputHeads, (i) => [
      layer(`output_heads.${i}.0`, [D, 3 * D]),
      layer(`output_heads.${i}.3`, [half, D]),
      layer(`output_heads.${i}.6`, [outputDim, half]),
    ]),
    combiner: [
      layer("final_combiner.0", [D, outputHeads * outputDim]),
      layer("final_combiner.3", [outputDim, D]),
    ],
    gradientScale: make("gradient_scale", [1], "ones"),
  };
}

function statisticsOf(
  { hiddenDim, kernelSizes }: Required<SequenceEnsembleConfig>,
  make: Make,
): SequenceEnsembleStatistics {
  return kernelSizes.map((sizes, block) =>
    branchWidths(hiddenDim, sizes.length).map((width, i) => ({
      mean: make(`${convName(block, "norms", i)}.running_mean`, [width], "zeros"),
      variance: make(`${convName(block, "norms", i)}.running_var`, [width], "ones"),
    }))
  );
}

function checkConfig(config: Required<SequenceEnsembleConfig>): void {
  const { hiddenDim: D, numHeads, numLstmLayers, kernelSizes, dropout } = config;
  const sizes = [D, config.inputDim, config.outputDim, config.outputHeads, config.layersPerBlock];
  if (![...sizes, numHeads, numLstmLayers].every((n) => Number.isSafeInteger(n) && n > 0)) {
    throw new RangeError(
      "Cannot make a sequence ensemble: every size must be a whole number from 1",
    );
  }
  if (D % numHeads !== 0) {
    throw new RangeError(
      `Cannot make a sequence ensemble: hiddenDim ${D} is no multiple of numHeads ${numHeads}`,
    );
  }
  const least = Math.max(2, ...kernelSizes.map(({ length }) => length));
  if (D < least) {
    throw new RangeError(
      `Cannot make a sequence ensemble: hiddenDim ${D} is less than ${least}, so that a branch or ` +
        "a head would have no width",
    );
  }
  if (!kernelSizes.every((sizes) => sizes.length > 0 && sizes.every((k) => k > 0 && k % 2 === 1))) {
    throw new RangeError(
      `Cannot make a sequence ensemble: kernel sizes ${
        JSON.stringify(kernelSizes)
      } must be odd, and ` +
        "one at least in each block",
    );
  }
  if (!(dropout >= 0 && dropout < 1)) {
    throw new RangeError(
      `Cannot make a sequence ensemble: dropout ${dropout} must be from 0 to below 1`,
    );
  }
}

/**
 * The sequence ensemble of a configuration.
 *
 * @throws {RangeError} If the sizes do not fit each other.
 *
 * @example
 * ```ts
 * import { openDevice, randomKey, read, run, sequenceEnsemble } from "@gatewise/lstm";
 *
 * const model = sequenceEnsemble({ inputDim: 2, hiddenDim: 16, numHeads: 2, outputDim: 3 });
 * const { params, statistics } = model.init(randomKey(42));
 * const batch = model.batch([
 *   { values: Float32Array.of(0.1, 1, 0.2, 2, 0.3, 3), steps: 3 },
 *   { values: Float32Array.of(0.4, 4), steps: 1 },
 * ]);
 * using device = await openDevice();
 * const options = { statistics, attentionSteps: 3 };
 * const forward = run(device, (of: typeof batch) => model.forward(params, of, options));
 * const { outputs, attention } = await read(forward(batch));
 * console.log(outputs.shape, attention!.map(({ shape }) => shape)); // [ 2, 3 ], twice [ 2, 2, 3, 3 ]
 * ```
 */
export function sequenceEnsemble(given: SequenceEnsembleConfig = {}): SequenceEnsemble {
  const config = Object.freeze({ ...defaults, ...given });
  checkConfig(config);
  const { inputDim: F, outputDim, numHeads: heads, dropout: p, maxLength } = config;
  const classifies = config.task === "classification";
  const blocks = config.numLstmLayers, attentions = Math.floor(blocks / 2);
  const branches = config.kernelSizes.flat().length;
  const uses = 1 + branches + 2 * blocks + attentions + 2 * config.outputHeads + 1;

  function forward(
    params: SequenceEnsembleParams,
    batch: SequenceEnsembleBatch,
    { statistics, key, attentionSteps }: SequenceEnsembleOptions,
  ): SequenceEnsembleOutput {
    const training = key !== undefined;
    const keys = training ? splitKey(key, uses).values() : undefined;
    const nextKey = (): Tensor | undefined => keys?.next().value;
    const drop = (x: Tensor, rate: number): Tensor => {
      const of = nextKey();
      return of === undefined ? x : dropout(x, rate, of);
    };
    const dropping = (): { readonly rate: number; readonly key: Tensor } | undefined => {
      const of = nextKey();
      return of === undefined ? undefined : { rate: p, key: of };
    };
    const dense = (x: Tensor, { weight, bias }: LinearParams): Tensor => linear(x, weight, bias);
    const normalize = (x: Tensor, { weight, bias }: LinearParams): Tensor =>
      layerNorm(x, weight, bias);
    const after: RunningStatistics[][] = [];
    const convolve = (x: Tensor, block: number): Tensor => {
      const results = params.convolutions[block].map(({ conv, norm }, i) =>
        batchNorm(
          conv1d(x, conv.weight, conv.bias),
          norm.weight,
          norm.bias,
          statistics[block][i],
          { training },
        )
      );
      after.push(results.map(({ running }) => running));
      const wide = concat(results.map(({ y }) => drop(relu(y), p)), 1);
      return stage(`temporal convolutions ${block + 1}`, wide);
    };

    const projected = normalize(
      dense(stage("input", batch.values), params.inputProjection),
      params.inputNorm,
    );
    const embedded = stage("input projection", drop(relu(projected), p / 2));
    const placed = stage("positional encoding", positionalEncoding(embedded, { maxLength }));
    const first = convolve(placed, 0);
    const second = convolve(first, 1);
    const gate = stage(
      "fusion gate",
      sigmoid(dense(concat([first, second], 1), params.fusionGate)),
    );
    // gate first + (1 - gate) second
    let h = stage("fusion", add(second, mul(gate, sub(first, second))));

    const weights: Tensor[] = [];
    params.blocks.forEach((block, i) => {
      const { output } = lstmLayers(h, block.lstm, { dropout: dropping() });
      const narrow = drop(dense(output, block.projection), p);
      h = stage(`LSTM block ${i + 1}`, normalize(add(narrow, h), block.norm));
      if (i % 2 === 0) return;
      const layer = params.attention[(i - 1) / 2];
      const attended = attention(
        dense(h, layer.query),
        dense(h, layer.key),
        dense(h, layer.value),
        {
          heads,
          dropout: dropping(),
          weightSteps: attentionSteps,
        },
      );
      if (attended.weights !== undefined) weights.push(attended.weights);
      h = stage(`attention ${(i + 1) / 2}`, add(h, dense(attended.y, layer.output)));
    });

    const features = stage("features", concat([meanOverTime(h), maxOverTime(h), lastStep(h)], 1));
    const answers = params.heads.map((head, i) => {
      const wide = drop(relu(dense(features, head[0])), p);
      const narrow = drop(relu(dense(wide, head[1])), p / 2);
      return stage(`head ${i + 1}`, dense(narrow, head[2]));
    });
    const combined = drop(relu(dense(concat(answers, 1), params.combiner[0])), p);
    const outputs = scale(dense(combined, params.combiner[1]), params.gradientScale);
    return {
      outputs: stage("outputs", outputs),
      statistics: training ? after : statistics,
      ...(attentionSteps === undefined ? {} : { attention: weights }),
    };
  }

  const shaped = (name: string, shape: Shape): Tensor & { readonly name: string } => ({
    shape,
    dtype: "f32",
    name,
  });
  const shapes = {
    params: paramsOf(config, shaped),
    statistics: statisticsOf(config, shaped),
  };
  const namesOf = (tree: object): ReadonlyMap<string, string> =>
    new Map(
      flatten(tree).map(({ path, leaf }) => [path, (leaf as ReturnType<typeof shaped>).name]),
    );

  return Object.freeze({
    config,
    init(key: Key): SequenceEnsembleWeights {
      let uses = 0;
      const make: Make = (_, shape, start) =>
        start === "zeros"
          ? zeros(shape)
          : start === "ones"
          ? ones(shape)
          : fanInUniform(foldIn(key, uses++), shape, start.n);
      return { params: paramsOf(config, make), statistics: statisticsOf(config, make) };
    },
    forward,
    loss(
      params: SequenceEnsembleParams,
      batch: SequenceEnsembleBatch,
      options: SequenceEnsembleOptions,
    ): readonly [Tensor, SequenceEnsembleOutput] {
      const output = forward(params, batch, options);
      const of = classifies ? crossEntropy : meanSquaredError;
      return [of(output.outputs, batch.target), output] as const;
    },
    answers: (
      { outputs }: SequenceEnsembleOutput,
      { target }: SequenceEnsembleBatch,
    ): Readonly<Record<string, Tensor>> => classifies ? { ...rank(outputs, target) } : { outputs },
    targets: ({ target }: SequenceEnsembleBatch) => ({ targets: target }),
    prediction: ({ outputs }: SequenceEnsembleOutput) => classifies ? softmax(outputs) : outputs,
    batch: (samples: readonly SequenceSample[]) => ({
      values: packSequences(samples, F),
      target: classifies
        ? tensor(Uint32Array.from(samples, ({ label }) => label ?? 0))
        : numbersOf(samples, outputDim),
    }),
    names: namesOf(shapes.params),
    statisticsNames: namesOf(shapes.statistics),
    shapes: () => shapes,
  });
}

/** The numbers to predict of each sequence, [B,width]; 0 where there are none. */
function numbersOf(samples: readonly SequenceSample[], width: number): HostTensor {
  const data = new Float32Array(samples.length * width);
  samples.forEach(({ target }, b) => {
    if (target === undefined) return;
    if (target.length !== width) {
      throw new TypeError(
        `Cannot predict ${target.length} numbers of a sequence: the model has ${width} outputs`,
      );
    }
    data.set(target, b * width);
  });
  return tensor(data, [samples.length, width]);
}
