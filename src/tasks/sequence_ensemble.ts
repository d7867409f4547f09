/**
 * The sequence ensemble as training and the commands know it.
 *
 * @module
 */
import { sequenceEnsemble, type SequenceEnsembleBatch } from "../models/sequence_ensemble.ts";
import { type ConfigKey, fraction, whole } from "../train/keys.ts";
import { type SequenceConfig, sequenceTask } from "./sequences.ts";

/** The configuration of a sequence ensemble. */
export interface SequenceEnsembleRunConfig extends SequenceConfig {
  /** Width D of everything inside. */
  readonly hiddenDim: number;
  /** Blocks of LSTM layers; after every second one comes attention. */
  readonly numLstmLayers: number;
  /** Attention heads. */
  readonly numHeads: number;
  /** Dropout p. */
  readonly dropout: number;
}

/**
 * The defaults train within minutes on two cores of a software adapter; the published sizes are in
 * `fixtures/configs/sequence_ensemble.yaml`.
 */
const keys: {
  readonly [Field in Exclude<keyof SequenceEnsembleRunConfig, keyof SequenceConfig>]: ConfigKey<
    SequenceEnsembleRunConfig[Field]
  >;
} = {
  hiddenDim: {
    path: "model.hidden_dim",
    default: 32,
    allowed: whole(3, 1024),
    meaning: "width of everything inside; published 256, for a GPU",
  },
  numLstmLayers: {
    path: "model.num_lstm_layers",
    default: 2,
    allowed: whole(1, 64),
    meaning: "blocks of two bidirectional LSTM layers, attention after every second; published 4",
  },
  numHeads: {
    path: "model.num_heads",
    default: 4,
    allowed: whole(1, 64),
    meaning: "attention heads; the width is a multiple of them; published 8",
  },
  dropout: {
    path: "model.dropout",
    default: 0.1,
    allowed: fraction,
    meaning: "dropout, half of it at the input and before the last layers; published 0.3",
  },
};

/** Most steps of a sequence: those whose positions are encoded. */
const mostSteps = 5000;

/** The sequence ensemble: convolutions, LSTM blocks, attention, and three heads. */
export const sequenceEnsembleTask = sequenceTask<
  SequenceEnsembleRunConfig,
  SequenceEnsembleBatch
>({
  name: "sequence_ensemble",
  meaning: "from a sequence of feature vectors to its class or to numbers, at several time scales",
  regression: true,
  mostSteps,
  leastBatch: 2,
  keys,
  // Training begins on a plateau, which must not be taken for its end.
  defaults: {
    ...{ batchSize: 32, lr: 0.003, patience: 8 },
    ...{ maxEpoch: 10, numTrainingEpochs: 10, numWarmupEpochs: 1 },
  },
  contradiction: ({ hiddenDim, numHeads }) =>
    hiddenDim % numHeads === 0
      ? undefined
      : `model.hidden_dim is ${hiddenDim}, no multiple of model.num_heads, ${numHeads}`,
  network: ({ features, classes, targets, hiddenDim, numLstmLayers, numHeads, dropout }) =>
    sequenceEnsemble({
      task: classes === undefined ? "regression" : "classification",
      inputDim: features!.length,
      outputDim: (classes ?? targets!).length,
      ...{ hiddenDim, numLstmLayers, numHeads, dropout, maxLength: mostSteps },
    }),
});
