/**
 * The sequence classifier: one LSTM layer reads a sequence of feature vectors, and its last hidden state
 * goes through a linear layer to a logit for each class.
 *
 * @module
 */
import { foldIn, type Key } from "../core/random.ts";
import { type HostTensor, type Shape, type Tensor, tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import { packSequences, type SequenceSample } from "../data/sequences.ts";
import { stage } from "../graph/stages.ts";
import { fanInUniform } from "../nn/init.ts";
import type { BiasedLstmParams } from "../nn/lstm_layers.ts";
import { crossEntropy } from "../ops/cross_entropy.ts";
import { linear } from "../ops/linear.ts";
import { lstm } from "../ops/lstm.ts";
import { rank } from "../ops/rank.ts";
import { softmax } from "../ops/softmax.ts";
import type { Model, ModelOutput } from "./model.ts";
import type { LinearParams } from "./next_location.ts";

/** Sizes of the model. */
export interface SequenceClassifierConfig {
  /** Width F of a feature vector; default 1. */
  readonly inputSize?: number;
  /** Hidden size H; default 16. */
  readonly hiddenSize?: number;
  /** Classes C; default 2. */
  readonly numClasses?: number;
}

/** Parameters of the model. */
export interface SequenceClassifierParams {
  /** `weightIh` [4H,F], `weightHh` [4H,H], biases [4H]. */
  readonly lstm: BiasedLstmParams;
  /** [C,H] and [C]. */
  readonly output: LinearParams;
}

/** What the model sees of B sequences with N steps in all. */
export interface SequenceClassifierBatch {
  /** Feature vectors, packed `f32[N,F]`. */
  readonly values: HostTensor;
  /** Classes, 0 where none is known, `u32[B]`. */
  readonly target: HostTensor;
}

/** Results of a forward pass. */
export interface SequenceClassifierOutput extends ModelOutput {
  /** [B,C]. */
  readonly logits: Tensor;
}

/**
 * The sequence classifier as pure functions over plain data. Initial parameters are uniform within ±1/√H,
 * as PyTorch's; the loss is the mean cross-entropy, the prediction probabilities of the classes, [B,C].
 */
export interface SequenceClassifier
  extends Model<SequenceClassifierParams, Tree, SequenceClassifierBatch, SequenceClassifierOutput> {
  /** What the model was made with. */
  readonly config: Required<SequenceClassifierConfig>;
  /** Sequences as the model takes them. */
  readonly batch: (samples: readonly SequenceSample[]) => SequenceClassifierBatch;
}

const NAMES: ReadonlyMap<string, string> = new Map([
  ["lstm.weightIh", "rnn.weight_ih_l0"],
  ["lstm.weightHh", "rnn.weight_hh_l0"],
  ["lstm.biasIh", "rnn.bias_ih_l0"],
  ["lstm.biasHh", "rnn.bias_hh_l0"],
  ["output.weight", "fc.weight"],
  ["output.bias", "fc.bias"],
]);

/**
 * The sequence classifier of a configuration.
 *
 * @example
 * ```ts
 * import { openDevice, randomKey, read, run, sequenceClassifier } from "@gatewise/lstm";
 *
 * const model = sequenceClassifier({ inputSize: 1, hiddenSize: 16, numClasses: 2 });
 * const { params, statistics } = model.init(randomKey(42));
 * const batch = model.batch([
 *   { values: Float32Array.of(1, 3, 2, 6), steps: 4 },
 *   { values: Float32Array.of(4, 1), steps: 2 },
 * ]);
 * using device = await openDevice();
 * const { logits } = run(device, model.forward)(params, batch, { statistics });
 * console.log((await read(logits)).shape); // [ 2, 2 ]
 * ```
 */
export function sequenceClassifier(
  { inputSize: F = 1, hiddenSize: H = 16, numClasses: C = 2 }: SequenceClassifierConfig = {},
): SequenceClassifier {
  const statistics = {};
  const layout = (make: (shape: Shape) => Tensor): SequenceClassifierParams => ({
    lstm: {
      weightIh: make([4 * H, F]),
      weightHh: make([4 * H, H]),
      biasIh: make([4 * H]),
      biasHh: make([4 * H]),
    },
    output: { weight: make([C, H]), bias: make([C]) },
  });

  function forward(
    params: SequenceClassifierParams,
    batch: SequenceClassifierBatch,
  ): SequenceClassifierOutput {
    const { output, final } = lstm(stage("input", batch.values), params.lstm);
    stage("hidden states", output);
    const last = stage("last hidden state", final.h);
    const logits = stage("logits", linear(last, params.output.weight, params.output.bias));
    return { logits, statistics };
  }

  return Object.freeze({
    config: { inputSize: F, hiddenSize: H, numClasses: C },
    init(key: Key) {
      let uses = 0;
      return { params: layout((shape) => fanInUniform(foldIn(key, uses++), shape, H)), statistics };
    },
    forward,
    loss(params: SequenceClassifierParams, batch: SequenceClassifierBatch) {
      const output = forward(params, batch);
      return [crossEntropy(output.logits, batch.target), output] as const;
    },
    answers: ({ logits }: SequenceClassifierOutput, { target }: SequenceClassifierBatch) => ({
      predictions: rank(logits, target).predictions,
    }),
    targets: ({ target }: SequenceClassifierBatch) => ({ targets: target }),
    prediction: ({ logits }: SequenceClassifierOutput) => softmax(logits),
    batch: (samples: readonly SequenceSample[]) => ({
      values: packSequences(samples, F),
      target: tensor(Uint32Array.from(samples, ({ label }) => label ?? 0)),
    }),
    names: NAMES,
    statisticsNames: new Map<string, string>(),
    shapes: () => ({ params: layout((shape) => ({ shape, dtype: "f32" })), statistics }),
  });
}
