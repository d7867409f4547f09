/**
 * What training and the commands know of a model: its configuration, data, batches, scores and
 * predictions. One record a model; `tasks.ts` lists them.
 *
 * @module
 */
import type { Key } from "../core/random.ts";
import type { Tree } from "../core/tree.ts";
import type { Split } from "../data/read_samples.ts";
import type { Device } from "../gpu/device.ts";
import type { Model, Weights } from "../models/model.ts";
import type { CommonConfig, ConfigKey } from "../train/keys.ts";

/** Data by split. */
export type Splits<D = unknown, S extends Split = Split> = Readonly<Record<S, D>>;

/** Data that fit a configuration. */
export interface TaskData<C extends CommonConfig, D, S extends Split> {
  /** With the sizes of the data where it left them open. */
  readonly config: C;
  /** The splits that were asked for. */
  readonly samples: Splits<D, S>;
}

/** What a model answered to a batch, and what was right: arrays of numbers by name. */
export interface Answers {
  /** The mean loss of the batch, where it was computed. */
  readonly loss?: number;
}

/** Scores of guessing without a model. */
export interface Baseline<S> {
  /** A word, for programs. */
  readonly name: string;
  /** A few words, for people. */
  readonly label: string;
  /** What it reaches. */
  readonly scores: S;
}

/** How much predictions depend on a feature. */
export interface FeatureImportance {
  /** The feature. */
  readonly feature: string;
  /** Mean absolute change of the predictions when it is 0 throughout. */
  readonly change: number;
}

/** What to predict for. */
export interface PredictionInput<B extends Tree> {
  /** Samples without targets, or with, in order. */
  readonly batches: Iterable<B>;
  /** What each sample is called. */
  readonly names: readonly string[];
}

/** What there is to say of one sample's prediction. */
export interface PredictionLine {
  /** For people. */
  readonly text: string;
  /** For programs. */
  readonly json: Readonly<Record<string, unknown>>;
}

/**
 * A model and all that training and the commands need to know of it: `C` its configuration, `D` a
 * split of its data, `B` its batches, `S` its scores.
 */
export interface Task<
  C extends CommonConfig = CommonConfig,
  D = unknown,
  B extends Tree = Tree,
  S = unknown,
> {
  /** As `--model` and `model.networkName` have it: `next_location`. */
  readonly name: string;
  /** Another name that configuration files may have. */
  readonly alias?: string;
  /** What it does, in a few words. */
  readonly meaning: string;
  /** A word for the data that it has when none are given: `simulated`. */
  readonly generated: string;
  /** The folder that those are read from, if they are. */
  readonly generatedFrom?: string;
  /** Configuration keys of its own, by field. */
  readonly keys: Readonly<Record<string, ConfigKey<unknown>>>;
  /** Defaults of common keys where it has others. */
  readonly defaults?: Partial<CommonConfig>;
  /** Keys of other programs' files that change nothing here. */
  readonly ignoredKeys?: readonly Omit<ConfigKey<undefined>, "default">[];
  /** Values that follow from those that a file gives, by path. */
  implied?(given: ReadonlyMap<string, unknown>): readonly (readonly [string, unknown])[];
  /** What is wrong with a configuration whose single values are allowed. */
  contradiction?(config: C): string | undefined;
  /** Which sizes a configuration leaves to the data, by path; none if it can make a model. */
  openSizes(config: C): readonly string[];

  /**
   * Reads or makes the data and checks them against the configuration.
   *
   * @throws {InputError} If a file is missing or damaged, or data do not fit.
   */
  load<P extends Split>(config: C, splits: readonly P[]): Promise<TaskData<C, D, P>>;
  /** The data in a line, for people. */
  describe(config: C, samples: Splits<D>): string;
  /** What there is to count and to fingerprint in a split: samples, or pieces of a text. */
  elements(data: D): readonly object[];
  /** Fewest samples of a training batch; default 1. */
  readonly leastBatch?: number;

  /** The model of a configuration whose sizes are known. */
  model(config: C): Model<Tree, Tree, B>;
  /** Batches of an epoch: with a key shuffled and whole for training, else all in order. */
  batches(config: C, data: D, key?: Key): IteratorObject<B>;
  /** How many they are. */
  batchCount(config: C, data: D, training: boolean): number;

  /** Scores of a split's answers. */
  score(config: C, answers: readonly Answers[]): S;
  /** What an epoch's line says of them besides the loss: `acc@1 12.73, acc@10 42.81`. */
  summary(scores: S): string;
  /** Scores of guessing without a model, counting in training data. */
  baselines(config: C, train: D, evaluated: D): readonly Baseline<S>[];
  /** As `test_results.json` holds them. */
  results(scores: S, beside: readonly Baseline<S>[]): Readonly<Record<string, unknown>>;
  /** A table for people, and what it comes to. */
  format(config: C, what: string, scores: S, beside: readonly Baseline<S>[]): string;

  /**
   * How much predictions depend on each feature, for models of features.
   *
   * @param predict All predictions for data, one after the other.
   */
  importance?(
    config: C,
    data: D,
    predict: (data: D) => Promise<ArrayLike<number>>,
  ): Promise<readonly FeatureImportance[]>;

  /**
   * Reads what to predict for; `-` is standard input.
   *
   * @throws {InputError} If it cannot be read or does not fit the model.
   */
  readInput(config: C, file: string): Promise<PredictionInput<B>>;
  /** What to say of a sample's row of predictions. */
  describePrediction(config: C, name: string, row: ArrayLike<number>, top: number): PredictionLine;
  /** Continues a text, for models that can: pieces as they come. */
  generate?(
    device: Device,
    config: C,
    weights: Weights,
    options: GenerateOptions,
  ): AsyncIterable<string>;
}

/** How a text is continued. */
export interface GenerateOptions {
  /** What it begins with. */
  readonly prompt: string;
  /** Characters to add. */
  readonly length: number;
  /** Logits are divided by it; 0 takes the most probable character. */
  readonly temperature: number;
  /** Only so many of the most probable characters are drawn from. */
  readonly topK?: number;
  /** Of the random numbers. */
  readonly seed: number;
}
