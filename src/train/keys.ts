/**
 * Configuration keys: what a value may be, and the keys that every model has.
 *
 * @module
 */
import { describe } from "../core/describe.ts";

/** What a key's value may be: a test and the words for it. */
export interface Allowed {
  /** Whether a value is allowed. */
  readonly test: (value: unknown) => boolean;
  /** What is allowed, in words. */
  readonly words: string;
}

/** A key of the YAML file; `path` is `section.key`, or the key alone at the top. */
export interface ConfigKey<T> {
  /** Where it stands. */
  readonly path: string;
  /** Its value when left out; undefined if there is none. */
  readonly default: T;
  /** What is allowed. */
  readonly allowed: Allowed;
  /** What it does, in a few words. */
  readonly meaning: string;
}

/** A switch. */
export const flag: Allowed = { test: (v) => typeof v === "boolean", words: "true or false" };
/** A text that is not empty. */
export const text: Allowed = { test: (v) => typeof v === "string" && v !== "", words: "a text" };

/** A whole number. */
export function whole(least: number, most: number = Number.MAX_SAFE_INTEGER): Allowed {
  const limit = most === Number.MAX_SAFE_INTEGER ? "" : ` to ${most}`;
  return {
    test: (v) => Number.isSafeInteger(v) && (v as number) >= least && (v as number) <= most,
    words: `a whole number from ${least}${limit}`,
  };
}

/** A number that passes a test. */
export function real(test: (v: number) => boolean, words: string): Allowed {
  return {
    test: (v) => typeof v === "number" && Number.isFinite(v) && test(v),
    words: `a number ${words}`,
  };
}

/** One of a few values. */
export function oneOf(...choices: readonly unknown[]): Allowed {
  const words = choices.length === 1 ? `only ${choices[0]}` : choices.join(" or ");
  return { test: (v) => choices.includes(v), words };
}

/** A dropout probability, or a decay. */
export const fraction: Allowed = real((v) => v >= 0 && v < 1, "from 0, below 1");

/** A list of texts, none of them twice. */
export const texts: Allowed = {
  test: (v) =>
    Array.isArray(v) && v.length > 0 && v.every((one) => typeof one === "string") &&
    new Set(v).size === v.length,
  words: "a list of different texts",
};

/** A list of numbers. */
export const numbers: Allowed = {
  test: (v) => Array.isArray(v) && v.length > 0 && v.every(Number.isFinite),
  words: "a list of numbers",
};

/** What every model's configuration has. */
export interface CommonConfig {
  /** Seed of everything random: initial values, order of samples, dropout. */
  readonly seed: number;
  /** Folder of the sample files; none for the simulated data. */
  readonly dataDir: string | undefined;
  /** Start of the sample files' names, before `_train`, `_validation` and `_test`. */
  readonly datasetPrefix: string | undefined;
  /** Name of the data, in the name of the run directory. */
  readonly dataset: string | undefined;
  /** Samples in a batch. */
  readonly batchSize: number;
  /** Steps between reports of the running training scores. */
  readonly printStep: number;
  /** Steps between checkpoints, besides the one after each epoch; 0 for those alone. */
  readonly checkpointStep: number;
  /** What a loss that is not finite does: end training, or go back to the last checkpoint. */
  readonly onNan: "stop" | "rewind";
  /** Name of the model: its task's name or alias. */
  readonly networkName: string;
  /** Which optimizer. */
  readonly optimizer: "Adam" | "SGD";
  /** Epochs at most. */
  readonly maxEpoch: number;
  /** Highest learning rate, reached at the end of the warm-up. */
  readonly lr: number;
  /** L2 weight decay, added to the gradient. */
  readonly weightDecay: number;
  /** Adam: decay of the first moment. */
  readonly beta1: number;
  /** Adam: decay of the second moment. */
  readonly beta2: number;
  /** SGD: Nesterov momentum. */
  readonly momentum: number;
  /** The gradient's global norm is clipped to this. */
  readonly clipNorm: number;
  /** Epochs of linear warm-up from rate 0. */
  readonly numWarmupEpochs: number;
  /** Epochs after which the linear schedule is back at rate 0. */
  readonly numTrainingEpochs: number;
  /** Epochs without a better validation loss until the rate is reduced or training stops. */
  readonly patience: number;
  /** Factor on the rate at each reduction. */
  readonly lrGamma: number;
}

/**
 * Keys of {@linkcode CommonConfig}; that of the model's name comes with the list of models. Defaults:
 * sizes and rates that train on generated data within minutes on two cores of a software adapter.
 */
export const COMMON_KEYS: {
  readonly [Field in keyof Omit<CommonConfig, "networkName">]: ConfigKey<CommonConfig[Field]>;
} = {
  seed: {
    path: "seed",
    default: 42,
    allowed: whole(0),
    meaning: "seed of everything random",
  },
  dataDir: {
    path: "data.data_dir",
    default: undefined,
    allowed: text,
    meaning: "folder of the sample files, from the working folder; none: simulated data",
  },
  datasetPrefix: {
    path: "data.dataset_prefix",
    default: undefined,
    allowed: text,
    meaning: "start of the sample files' names, before _train, _validation and _test",
  },
  dataset: {
    path: "data.dataset",
    default: undefined,
    allowed: text,
    meaning: "name of the data, used in the name of the run directory",
  },
  batchSize: {
    path: "training.batch_size",
    default: 64,
    allowed: whole(1, 1024),
    meaning: "samples in a batch",
  },
  printStep: {
    path: "training.print_step",
    default: 20,
    allowed: whole(1, 1_000_000),
    meaning: "steps between reports of the running scores",
  },
  checkpointStep: {
    path: "training.checkpoint_step",
    default: 200,
    allowed: whole(0, 1_000_000),
    meaning: "steps between checkpoints, besides those after epochs; 0: those alone",
  },
  onNan: {
    path: "training.on_nan",
    default: "stop",
    allowed: oneOf("stop", "rewind"),
    meaning: "a loss that is not finite ends training, or goes back with half the rate",
  },
  optimizer: {
    path: "optimiser.optimizer",
    default: "Adam",
    allowed: oneOf("Adam", "SGD"),
    meaning: "Adam, or SGD with Nesterov momentum",
  },
  maxEpoch: {
    path: "optimiser.max_epoch",
    default: 6,
    allowed: whole(1, 1_000_000),
    meaning: "epochs at most",
  },
  lr: {
    path: "optimiser.lr",
    default: 0.003,
    allowed: real((v) => v > 0 && v <= 10, "above 0, up to 10"),
    meaning: "highest learning rate",
  },
  weightDecay: {
    path: "optimiser.weight_decay",
    default: 0.000001,
    allowed: real((v) => v >= 0 && v <= 1, "from 0 to 1"),
    meaning: "L2 weight decay, added to the gradient",
  },
  beta1: {
    path: "optimiser.beta1",
    default: 0.9,
    allowed: fraction,
    meaning: "Adam: decay of the first moment",
  },
  beta2: {
    path: "optimiser.beta2",
    default: 0.999,
    allowed: fraction,
    meaning: "Adam: decay of the second moment",
  },
  momentum: {
    path: "optimiser.momentum",
    default: 0.98,
    allowed: real((v) => v > 0 && v < 1, "above 0, below 1"),
    meaning: "SGD: Nesterov momentum",
  },
  clipNorm: {
    path: "optimiser.clip_norm",
    default: 1,
    allowed: real((v) => v >= 1e-30 && v <= 1e30, "from 1e-30 to 1e30"),
    meaning: "the gradient's global norm is clipped to this",
  },
  numWarmupEpochs: {
    path: "optimiser.num_warmup_epochs",
    default: 1,
    allowed: whole(0, 1_000_000),
    meaning: "epochs of linear warm-up from rate 0",
  },
  numTrainingEpochs: {
    path: "optimiser.num_training_epochs",
    default: 6,
    allowed: whole(1, 1_000_000),
    meaning: "epochs until the linear schedule is back at rate 0",
  },
  patience: {
    path: "optimiser.patience",
    default: 3,
    allowed: whole(1, 1_000_000),
    meaning: "epochs without a better validation loss until the rate is reduced or training stops",
  },
  lrGamma: {
    path: "optimiser.lr_gamma",
    default: 0.1,
    allowed: real((v) => v > 0 && v <= 1, "above 0, up to 1"),
    meaning: "factor on the rate at each reduction",
  },
};

/** Where the data are: a file, a folder, or a folder and the start of files' names; else generated. */
export function dataPath({ dataDir, datasetPrefix }: CommonConfig): string | undefined {
  if (dataDir === undefined || datasetPrefix === undefined) return dataDir;
  return dataDir.endsWith("/") ? dataDir + datasetPrefix : `${dataDir}/${datasetPrefix}`;
}

/** A value in an error message. */
export function show(value: unknown): string {
  return value === null ? "empty" : describe(value);
}
