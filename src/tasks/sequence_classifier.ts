/**
 * The sequence classifier as training and the commands know it.
 *
 * @module
 */
import { sequenceClassifier, type SequenceClassifierBatch } from "../models/sequence_classifier.ts";
import { type ConfigKey, whole } from "../train/keys.ts";
import { type SequenceConfig, sequenceTask } from "./sequences.ts";

/** The configuration of a sequence classifier. */
export interface SequenceClassifierRunConfig extends SequenceConfig {
  /** Hidden size H. */
  readonly hiddenSize: number;
}

const keys: {
  readonly [Field in Exclude<keyof SequenceClassifierRunConfig, keyof SequenceConfig>]: ConfigKey<
    SequenceClassifierRunConfig[Field]
  >;
} = {
  hiddenSize: {
    path: "model.hidden_size",
    default: 16,
    allowed: whole(1, 1024),
    meaning: "hidden size of the LSTM",
  },
};

/** The sequence classifier: one LSTM layer and a linear one. */
export const sequenceClassifierTask = sequenceTask<
  SequenceClassifierRunConfig,
  SequenceClassifierBatch
>({
  name: "sequence_classifier",
  meaning: "from a sequence of feature vectors to its class, by one LSTM layer",
  keys,
  defaults: { batchSize: 32, lr: 0.01, maxEpoch: 20, numTrainingEpochs: 20, numWarmupEpochs: 0 },
  network: ({ features, classes, hiddenSize }) =>
    sequenceClassifier({
      inputSize: features!.length,
      hiddenSize,
      numClasses: classes!.length,
    }),
});
