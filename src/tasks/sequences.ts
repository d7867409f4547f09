/**
 * What models of sequences of feature vectors share: their data, scores and predictions.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { printable } from "../core/describe.ts";
import { foldIn, randomKey } from "../core/random.ts";
import { type HostTensor, tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import { batches } from "../data/batches.ts";
import type { Split } from "../data/read_samples.ts";
import {
  readSequences,
  type ReadSequencesOptions,
  readSequenceSplits,
} from "../data/read_sequences.ts";
import {
  learnStandardization,
  type SequenceData,
  type SequenceSample,
  splitSequences,
  type Standardization,
  standardize,
  unstandardize,
} from "../data/sequences.ts";
import { simulateSequences } from "../data/simulate_sequences.ts";
import {
  type ClassificationScores,
  classificationScores,
  type ClassifiedBatch,
  formatConfusion,
} from "../metrics/classification.ts";
import { featureImportance } from "../metrics/feature_importance.ts";
import { type RegressionScores, regressionScores } from "../metrics/regression.ts";
import { formatTable } from "../metrics/table.ts";
import type { Model } from "../models/model.ts";
import {
  type CommonConfig,
  type ConfigKey,
  dataPath,
  numbers,
  text,
  texts,
} from "../train/keys.ts";
import type { Answers, Baseline, PredictionLine, Task, TaskData } from "./task.ts";

/** What the configuration of every model of sequences has. */
export interface SequenceConfig extends CommonConfig {
  /** Column of the sequence's name, in CSV and Parquet. */
  readonly sequenceColumn: string;
  /** Column of the class; none takes `label`, if there is one. */
  readonly labelColumn: string | undefined;
  /** Columns of the numbers to predict; none takes `target` and those that begin with `target_`. */
  readonly targetColumns: readonly string[] | undefined;
  /** Names of the features; none takes the data's. */
  readonly features: readonly string[] | undefined;
  /** Names of the classes; none takes the data's, if they have classes. */
  readonly classes: readonly string[] | undefined;
  /** Names of the numbers to predict; none takes the data's, if they have such. */
  readonly targets: readonly string[] | undefined;
  /** Mean of each feature; none takes the training data's. */
  readonly mean: readonly number[] | undefined;
  /** Standard deviation of each feature; none takes the training data's. */
  readonly std: readonly number[] | undefined;
  /** Mean of each number to predict; none takes the training data's. */
  readonly targetMean: readonly number[] | undefined;
  /** Standard deviation of each number to predict; none takes the training data's. */
  readonly targetStd: readonly number[] | undefined;
}

/** Keys of {@linkcode SequenceConfig}. */
const sequenceKeys: {
  readonly [Field in Exclude<keyof SequenceConfig, keyof CommonConfig>]: ConfigKey<
    SequenceConfig[Field]
  >;
} = {
  sequenceColumn: {
    path: "data.sequence",
    default: "sequence",
    allowed: text,
    meaning: "column of CSV and Parquet that says which sequence a row belongs to",
  },
  labelColumn: {
    path: "data.label",
    default: undefined,
    allowed: text,
    meaning: "column of the class; none: label, if there is one",
  },
  targetColumns: {
    path: "data.targets",
    default: undefined,
    allowed: texts,
    meaning: "columns of the numbers to predict; none: target and those that begin with target_",
  },
  features: {
    path: "dataset_info.features",
    default: undefined,
    allowed: texts,
    meaning: "names of the features; none: the data's",
  },
  classes: {
    path: "dataset_info.classes",
    default: undefined,
    allowed: texts,
    meaning: "names of the classes; none: the data's",
  },
  targets: {
    path: "dataset_info.targets",
    default: undefined,
    allowed: texts,
    meaning: "names of the numbers to predict; none: the data's",
  },
  mean: {
    path: "dataset_info.mean",
    default: undefined,
    allowed: numbers,
    meaning: "mean of each feature; none: the training data's",
  },
  std: {
    path: "dataset_info.std",
    default: undefined,
    allowed: numbers,
    meaning: "standard deviation of each feature; none: the training data's",
  },
  targetMean: {
    path: "dataset_info.target_mean",
    default: undefined,
    allowed: numbers,
    meaning: "mean of each number to predict; none: the training data's",
  },
  targetStd: {
    path: "dataset_info.target_std",
    default: undefined,
    allowed: numbers,
    meaning: "standard deviation of each number to predict; none: the training data's",
  },
};

/** Sequences of a split; their values are standardized. */
type Samples = readonly SequenceSample[];

/** Scores of a task over sequences: those of classes, or those of numbers. */
export type SequenceScores = ClassificationScores | RegressionScores;

const asList = ({ data }: HostTensor): readonly number[] => Array.from(data);

/** Mean and deviation that a configuration holds. */
function standardizationOf(
  mean: readonly number[] | undefined,
  std: readonly number[] | undefined,
): Standardization | undefined {
  if (mean === undefined || std === undefined) return undefined;
  return { mean: tensor(Float32Array.from(mean)), std: tensor(Float32Array.from(std)) };
}

/** Samples whose values, and numbers to predict, are standardized as the configuration says. */
function standardized(config: SequenceConfig, samples: Samples): Samples {
  const ofValues = standardizationOf(config.mean, config.std)!;
  const ofTargets = standardizationOf(config.targetMean, config.targetStd);
  return samples.map((sample) => ({
    ...sample,
    values: standardize(sample.values, ofValues),
    ...(sample.target === undefined || ofTargets === undefined
      ? {}
      : { target: standardize(sample.target, ofTargets) }),
  }));
}

/** The configuration with what it leaves open: names from data, statistics from training data. */
function completed<C extends SequenceConfig>(config: C, train: SequenceData): C {
  const { features, classes, targets, samples, width } = train;
  const learned = config.mean !== undefined
    ? { mean: config.mean, std: config.std }
    : listsOf(learnStandardization(samples.map(({ values }) => values), width));
  const ofTargets = targets === undefined || config.targetMean !== undefined
    ? { mean: config.targetMean, std: config.targetStd }
    : listsOf(learnStandardization(samples.map(({ target }) => target!), targets.length));
  return {
    ...config,
    ...{ features, classes, targets, ...learned },
    ...{ targetMean: ofTargets.mean, targetStd: ofTargets.std },
  };
}

function listsOf({ mean, std }: Standardization): {
  readonly mean: readonly number[];
  readonly std: readonly number[];
} {
  return { mean: asList(mean), std: asList(std) };
}

/** How files are read: which columns are what, and what other sequences must be made of. */
function readingOf(
  { sequenceColumn, labelColumn, targetColumns, features, classes, targets }: SequenceConfig,
): ReadSequencesOptions {
  return {
    id: sequenceColumn,
    label: labelColumn,
    targets: targetColumns,
    like: features === undefined ? undefined : { features, classes, targets },
  };
}

async function load<C extends SequenceConfig, S extends Split>(
  config: C,
  splits: readonly S[],
): Promise<TaskData<C, Samples, S>> {
  const path = dataPath(config);
  const key = foldIn(randomKey(config.seed), 3);
  const data = path === undefined
    ? splitSequences(simulateSequences(key), key)
    : await readSequenceSplits(path, { key, ...readingOf(config) });
  const { classes, targets } = data.train;
  if (classes === undefined && targets === undefined) {
    throw new InputError(
      `${path}: has neither classes nor numbers to predict; name their column with --set ` +
        "data.label=COLUMN or --set data.targets=[COLUMN]",
    );
  }
  const sized = completed(config, data.train);
  const parts = splits.map((split) => [split, standardized(sized, data[split].samples)] as const);
  return { config: sized, samples: Object.fromEntries(parts) as Record<S, Samples> };
}

/** What a model answered to a batch of sequences, and what was right. */
interface SequenceAnswers extends Answers {
  /** Classes, or numbers [B,K] as the model has them. */
  readonly targets: ArrayLike<number>;
  /** Classes with the highest logit. */
  readonly predictions?: ArrayLike<number>;
  /** Numbers [B,K] as the model has them. */
  readonly outputs?: ArrayLike<number>;
}

/** Numbers of a batch in the units of the data. */
function inUnits(config: SequenceConfig, values: ArrayLike<number>): Float32Array {
  const standardization = standardizationOf(config.targetMean, config.targetStd);
  const rows = Float32Array.from(values);
  return standardization === undefined ? rows : unstandardize(rows, standardization);
}

function score(config: SequenceConfig, answers: readonly SequenceAnswers[]): SequenceScores {
  const { classes, targets: numbers } = config;
  if (classes !== undefined) {
    return classificationScores(answers as readonly ClassifiedBatch[], classes.length);
  }
  const batches = answers.map(({ targets, outputs, loss }) => ({
    targets: inUnits(config, targets),
    predictions: inUnits(config, outputs!),
    loss,
  }));
  return regressionScores(batches, numbers!.length);
}

/** Always the most frequent class of the training data, or always their mean. */
function baselines(
  config: SequenceConfig,
  train: Samples,
  evaluated: Samples,
): readonly Baseline<SequenceScores>[] {
  const { classes, targets } = config;
  if (classes !== undefined) {
    const counts = classes.map((_, c) => train.filter(({ label }) => label === c).length);
    const most = counts.indexOf(Math.max(...counts));
    const batch = {
      targets: evaluated.map(({ label }) => label!),
      predictions: evaluated.map(() => most),
    };
    return [{
      name: "most_frequent",
      label: `the most frequent class (${printable(classes[most], 40)})`,
      scores: classificationScores([batch], classes.length),
    }];
  }
  const zeros = new Float32Array(evaluated.length * targets!.length);
  const batch = {
    targets: inUnits(config, evaluated.flatMap(({ target }) => Array.from(target!))),
    predictions: inUnits(config, zeros),
  };
  return [{
    name: "mean",
    label: "the training data's mean",
    scores: regressionScores([batch], targets!.length),
  }];
}

const isClassification = (scores: SequenceScores): scores is ClassificationScores =>
  "accuracy" in scores;

const number = (value: number | undefined, digits: number): string =>
  value === undefined || Number.isNaN(value) ? "-" : value.toFixed(digits);

function columnsOf(scores: SequenceScores): readonly (readonly [string, string])[] {
  const { count, loss } = scores;
  const both = [["sequences", String(count)], ["loss", number(loss, 3)]] as const;
  return isClassification(scores)
    ? [
      ...both,
      ["accuracy", number(scores.accuracy, 2)],
      ["macro F1", number(scores.macroF1, 2)],
      ["weighted F1", number(scores.weightedF1, 2)],
    ]
    : [
      ...both,
      ["MSE", scores.mse.toPrecision(4)],
      ["MAE", scores.mae.toPrecision(4)],
      ["R2", number(scores.r2, 4)],
    ];
}

/** More classes make a confusion matrix that nobody reads in a terminal. */
const MOST_SHOWN_CLASSES = 20;

function format(
  { classes }: SequenceConfig,
  what: string,
  scores: SequenceScores,
  beside: readonly Baseline<SequenceScores>[],
): string {
  const line = (name: string, of: SequenceScores): string[] => [
    name,
    ...columnsOf(of).map(([, cell]) => cell),
  ];
  const parts = [formatTable([
    ["", ...columnsOf(scores).map(([heading]) => heading)],
    line(`${what}: this model`, scores),
    ...beside.map((other) => line(`  ${other.label}`, other.scores)),
  ])];
  if (isClassification(scores) && classes!.length <= MOST_SHOWN_CLASSES) {
    parts.push(formatConfusion(scores.confusion, classes!));
  }
  for (const { label, scores: other } of beside) {
    const [ours, theirs, unit] = isClassification(scores) && isClassification(other)
      ? [scores.accuracy, other.accuracy, "points of accuracy"]
      : [-(scores as RegressionScores).mse, -(other as RegressionScores).mse, "in squared error"];
    const by = Math.abs(ours - theirs).toPrecision(4);
    parts.push(
      ours > theirs
        ? `The model beats guessing ${label} by ${by} ${unit}.`
        : ours === theirs
        ? `The model is no better than guessing ${label}.`
        : `The model does not beat guessing ${label}: it is behind by ${by} ${unit}.`,
    );
  }
  return parts.join("\n\n");
}

function describePrediction(
  config: SequenceConfig,
  name: string,
  row: ArrayLike<number>,
  top: number,
): PredictionLine {
  const { classes, targets } = config;
  if (classes !== undefined) {
    const choices = Array.from(row, (probability, c) => ({ class: classes[c], probability }))
      .sort((a, b) => b.probability - a.probability)
      .slice(0, top);
    const parts = choices.map(({ class: chosen, probability }) =>
      `${chosen} ${(100 * probability).toFixed(1)}%`
    );
    return { text: `${name}: ${parts.join(", ")}`, json: { sequence: name, classes: choices } };
  }
  const values = Object.fromEntries(Array.from(inUnits(config, row), (v, i) => [targets![i], v]));
  const parts = Object.entries(values).map(([target, v]) => `${target} ${v.toPrecision(6)}`);
  return { text: `${name}: ${parts.join(", ")}`, json: { sequence: name, values } };
}

/** What is a model's own: the rest follows from its data being sequences. */
export interface SequenceTaskParts<C extends SequenceConfig, B extends Tree>
  extends Pick<Task<C>, "name" | "meaning" | "keys" | "defaults" | "leastBatch" | "contradiction"> {
  /** The network of a configuration whose sizes are known. */
  network(config: C): Model<Tree, Tree, B> & { batch(samples: Samples): B };
  /** Whether it can predict numbers; default only classes. */
  readonly regression?: boolean;
  /** Most steps of a sequence that it takes; default any number. */
  readonly mostSteps?: number;
}

/** Checks that no sequence is longer than a model takes. */
function checkSteps(samples: Samples, file: string | undefined, mostSteps: number): void {
  samples.forEach(({ steps, id }, i) => {
    if (steps <= mostSteps) return;
    throw new InputError(
      `${file}: sequence ${
        printable(id ?? String(i))
      } has ${steps} steps, and the model takes at ` +
        `most ${mostSteps}: cut it into shorter ones`,
    );
  });
}

/** The task of a model of sequences of feature vectors. */
export function sequenceTask<C extends SequenceConfig, B extends Tree>(
  { network, regression = false, mostSteps = Infinity, keys, ...parts }: SequenceTaskParts<C, B>,
): Task<C, Samples, B, SequenceScores> {
  return {
    ...parts,
    generated: "simulated",
    keys: { ...sequenceKeys, ...keys },
    openSizes: ({ features, classes, targets }) => [
      ...(features === undefined ? [sequenceKeys.features.path] : []),
      ...(classes === undefined && targets === undefined ? [sequenceKeys.classes.path] : []),
    ],
    contradiction(config) {
      const { features, mean, std } = config;
      if (features !== undefined && (mean?.length ?? features.length) !== features.length) {
        return `dataset_info.mean has ${mean!.length} numbers for ${features.length} features`;
      }
      if ((mean === undefined) !== (std === undefined) || mean?.length !== std?.length) {
        return "dataset_info.mean and dataset_info.std must be lists of one length";
      }
      return parts.contradiction?.(config);
    },

    async load(config, splits) {
      const loaded = await load(config, splits);
      if (loaded.config.classes === undefined && !regression) {
        throw new InputError(
          `${
            dataPath(config)
          }: has numbers to predict, and ${parts.name} tells classes apart: name a ` +
            "column with --set data.label=COLUMN, or train sequence_ensemble",
        );
      }
      for (const split of splits) {
        checkSteps(loaded.samples[split], dataPath(config), mostSteps);
      }
      return loaded;
    },
    describe: ({ features, classes, targets }, { train, validation, test }) =>
      `${train.length} training, ${validation.length} validation and ${test.length} test sequences ` +
      `of ${features!.length} features; to predict: ` +
      printable((classes ?? targets!).join(", "), 100),
    elements: (samples) => samples,

    model: (config) => network(config),
    batches(config, samples, key) {
      const model = network(config);
      return batches(samples, { batchSize: config.batchSize, key, dropLast: key !== undefined })
        .map((part) => model.batch(part));
    },
    batchCount: ({ batchSize }, { length }, training) =>
      training ? Math.floor(length / batchSize) : Math.ceil(length / batchSize),

    score: (config, answers) => score(config, answers as readonly SequenceAnswers[]),
    summary: (scores) =>
      isClassification(scores)
        ? `accuracy ${number(scores.accuracy, 2)}, macro F1 ${number(scores.macroF1, 2)}`
        : `R2 ${number(scores.r2, 4)}`,
    baselines,
    results: (scores, beside) => ({
      ...scores,
      baselines: Object.fromEntries(beside.map(({ name, scores }) => [name, scores])),
    }),
    format,

    async importance({ features }, samples, predict) {
      const changes = await featureImportance(samples, features!.length, predict);
      return features!.map((feature, i) => ({ feature, change: changes[i] }))
        .sort((a, b) => b.change - a.change);
    },

    async readInput(config, file) {
      const { samples } = await readSequences(file, { ...readingOf(config), answers: "optional" });
      checkSteps(samples, file, mostSteps);
      const model = network(config);
      const parts = batches(standardized(config, samples), { batchSize: config.batchSize });
      return {
        batches: parts.map((part) => model.batch(part)),
        names: samples.map(({ id }, i) => id ?? String(i)),
      };
    },
    describePrediction,
  };
}
