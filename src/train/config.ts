import { parse, stringify } from "@std/yaml";
import { describe, printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { suggestion } from "../core/suggestion.ts";
import { readWholeFile } from "../core/whole_file.ts";

/**
 * The configuration of a next-location run. In YAML its keys are nested in sections and named as the
 * reference's files name them (`embedding.base_emb_size` is `baseEmbSize`); {@linkcode formatDefaults}
 * lists every key with its default, its meaning and what is allowed.
 */
export interface Config {
  /** Seed of everything random: initial values, order of samples, dropout. */
  readonly seed: number;
  /** Folder of the sample files; none for the simulated data. */
  readonly dataDir: string | undefined;
  /** Start of the sample files' names, before `_train`, `_validation` and `_test`. */
  readonly datasetPrefix: string | undefined;
  /** Name of the data, in the name of the run directory. */
  readonly dataset: string | undefined;
  /** Whether a vector for the user is added to the LSTM's output. */
  readonly ifEmbedUser: boolean;
  /** Whether vectors for time of day and weekday are added to a location's. */
  readonly ifEmbedTime: boolean;
  /** Whether a vector for the length of stay is added to a location's. */
  readonly ifEmbedDuration: boolean;
  /** Samples in a batch. */
  readonly batchSize: number;
  /** Steps between reports of the running training scores. */
  readonly printStep: number;
  /** Steps between checkpoints, besides the one after each epoch; 0 for those alone. */
  readonly checkpointStep: number;
  /** What a loss that is not finite does: end training, or go back to the last checkpoint. */
  readonly onNan: "stop" | "rewind";
  /** Location ids of the model, 0 (padding) and 1 (unknown) included; none takes the data's. */
  readonly totalLocNum: number | undefined;
  /** User ids of the model, 0 included; none takes the data's. */
  readonly totalUserNum: number | undefined;
  /** Width E of the embeddings. */
  readonly baseEmbSize: number;
  /** Time tables: hour, quarter and weekday; 96 quarters of an hour; or weekday only. */
  readonly embInfo: "all" | "time" | "weekday";
  /** The model; `lstm`, as the reference's files have it, means next_location with `init: reference`. */
  readonly networkName: "lstm" | "next_location";
  /** Hidden size H of every LSTM layer. */
  readonly lstmHiddenSize: number;
  /** Number of LSTM layers. */
  readonly lstmNumLayers: number;
  /** Dropout between LSTM layers. */
  readonly lstmDropout: number;
  /** Dropout in the fully connected block. */
  readonly fcDropout: number;
  /** Initial biases: `standard` sums each LSTM forget bias to 1; `reference` as the reference does. */
  readonly init: "standard" | "reference";
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

/** What a key's value may be: a test and the words for it. */
interface Allowed {
  readonly test: (value: unknown) => boolean;
  readonly words: string;
}

/** A key of the YAML file; `path` is `section.key`, or the key alone at the top. */
interface Key<T> {
  readonly path: string;
  readonly default: T;
  readonly allowed: Allowed;
  readonly meaning: string;
}

const flag: Allowed = { test: (v) => typeof v === "boolean", words: "true or false" };
const text: Allowed = { test: (v) => typeof v === "string" && v !== "", words: "a text" };

function whole(least: number, most: number = Number.MAX_SAFE_INTEGER): Allowed {
  const limit = most === Number.MAX_SAFE_INTEGER ? "" : ` to ${most}`;
  return {
    test: (v) => Number.isSafeInteger(v) && (v as number) >= least && (v as number) <= most,
    words: `a whole number from ${least}${limit}`,
  };
}

function real(test: (v: number) => boolean, words: string): Allowed {
  return {
    test: (v) => typeof v === "number" && Number.isFinite(v) && test(v),
    words: `a number ${words}`,
  };
}

function oneOf(...choices: readonly unknown[]): Allowed {
  const words = choices.length === 1 ? `only ${choices[0]}` : choices.join(" or ");
  return { test: (v) => choices.includes(v), words };
}

const fraction = real((v) => v >= 0 && v < 1, "from 0, below 1");

/**
 * Every key of {@linkcode Config}. Defaults: sizes and rates that train on the simulated data within
 * minutes on two cores of a software adapter.
 */
const KEYS: { readonly [Field in keyof Config]: Key<Config[Field]> } = {
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
  ifEmbedUser: {
    path: "training.if_embed_user",
    default: true,
    allowed: flag,
    meaning: "add a vector for the user",
  },
  ifEmbedTime: {
    path: "training.if_embed_time",
    default: true,
    allowed: flag,
    meaning: "add vectors for time of day and weekday",
  },
  ifEmbedDuration: {
    path: "training.if_embed_duration",
    default: true,
    allowed: flag,
    meaning: "add a vector for the length of stay",
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
  totalLocNum: {
    path: "dataset_info.total_loc_num",
    default: undefined,
    allowed: whole(2, 200_000),
    meaning: "location ids, 0 (padding) and 1 (unknown) included; none: the data's",
  },
  totalUserNum: {
    path: "dataset_info.total_user_num",
    default: undefined,
    allowed: whole(1, 10_000_000),
    meaning: "user ids, 0 included; none: the data's",
  },
  baseEmbSize: {
    path: "embedding.base_emb_size",
    default: 32,
    allowed: whole(1, 1024),
    meaning: "width of the embeddings",
  },
  embInfo: {
    path: "embedding.emb_info",
    default: "all",
    allowed: oneOf("all", "time", "weekday"),
    meaning: "time tables: hour, quarter and weekday; 96 quarters of an hour; weekday only",
  },
  networkName: {
    path: "model.networkName",
    default: "next_location",
    allowed: oneOf("lstm", "next_location"),
    meaning: "the model; lstm, the reference's name for it, makes init: reference the default",
  },
  lstmHiddenSize: {
    path: "model.lstm_hidden_size",
    default: 64,
    allowed: whole(1, 1024),
    meaning: "hidden size of every LSTM layer",
  },
  lstmNumLayers: {
    path: "model.lstm_num_layers",
    default: 2,
    allowed: whole(1, 64),
    meaning: "number of LSTM layers",
  },
  lstmDropout: {
    path: "model.lstm_dropout",
    default: 0.2,
    allowed: fraction,
    meaning: "dropout between LSTM layers",
  },
  fcDropout: {
    path: "model.fc_dropout",
    default: 0.2,
    allowed: fraction,
    meaning: "dropout in the fully connected block",
  },
  init: {
    path: "model.init",
    default: "standard",
    allowed: oneOf("standard", "reference"),
    meaning: "initial biases: LSTM forget biases summing to 1, or the reference's on every layer",
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

/** Keys of the reference's files that change nothing here, or that allow only what happens anyway. */
const WITHOUT_EFFECT: readonly Omit<Key<undefined>, "default">[] = [
  { path: "data.experiment_root", allowed: text, meaning: "--out says where a run is written" },
  { path: "training.if_embed_poi", allowed: oneOf(false), meaning: "there is no POI input" },
  {
    path: "training.previous_day",
    allowed: whole(1, 366),
    meaning: "the samples hold their days of history",
  },
  { path: "training.verbose", allowed: flag, meaning: "--quiet turns progress off" },
  { path: "training.debug", allowed: oneOf(false), meaning: "--epochs 1 makes a short run" },
  { path: "training.num_workers", allowed: whole(0, 1024), meaning: "samples are held in memory" },
  {
    path: "training.day_selection",
    allowed: oneOf("default"),
    meaning: "all days of the history are used",
  },
  {
    path: "embedding.poi_original_size",
    allowed: whole(1, 1_000_000),
    meaning: "there is no POI input",
  },
  {
    path: "optimiser.lr_step_size",
    allowed: oneOf(1),
    meaning: "the rate is reduced at every trigger of early stopping",
  },
];

/** Characters of a configuration file: far beyond an honest one, little enough for any YAML in it. */
const MAX_CHARACTERS = 2 ** 16;
const TOO_LONG = `is no configuration: it has more than ${MAX_CHARACTERS} characters`;

const FIELDS = Object.keys(KEYS) as readonly (keyof Config)[];
const ALL_KEYS = new Map<string, { readonly allowed: Allowed; readonly meaning: string }>(
  [...FIELDS.map((field) => KEYS[field]), ...WITHOUT_EFFECT].map((key) => [key.path, key]),
);
const SECTIONS: readonly string[] = [
  ...new Set([...ALL_KEYS.keys()].filter((path) => path.includes(".")).map(sectionOf)),
];

/**
 * The configuration that a run has when nothing is configured: simulated data, and the recipe that
 * the reference publishes for GeoLife.
 */
export const defaultConfig: Config = Object.fromEntries(
  FIELDS.map((field) => [field, KEYS[field].default]),
) as unknown as Config;

/**
 * The configuration that a YAML text describes; keys that it leaves out have their defaults.
 *
 * @param source The YAML text, nested in sections as the reference's files are.
 * @param file Its name, for error messages.
 * @throws {InputError} If it is no YAML, has an unknown key, a value that is not allowed, or values
 * that contradict each other.
 */
export function parseConfig(source: string, file: string): Config {
  const values = new Map<string, unknown>();
  for (const [name, value] of entriesOf(parseYaml(source, file), file, "the file")) {
    if (SECTIONS.includes(name)) {
      for (const [key, inner] of entriesOf(value, file, name)) values.set(`${name}.${key}`, inner);
    } else if (!ALL_KEYS.has(name) && value !== null && typeof value === "object") {
      const hint = suggestion(name, SECTIONS) || `; the sections are ${SECTIONS.join(", ")}`;
      throw new InputError(`${file}: unknown section ${printable(name)}${hint}`);
    } else {
      values.set(name, value);
    }
  }
  for (const [path, value] of values) checkValue(file, path, value);
  // The reference's files name the model `lstm` and expect its initial values.
  if (values.get(KEYS.networkName.path) === "lstm" && !values.has(KEYS.init.path)) {
    values.set(KEYS.init.path, "reference");
  }
  const config = Object.fromEntries(FIELDS.map((field) => {
    const key = KEYS[field];
    return [field, values.get(key.path) ?? key.default];
  })) as unknown as Config;
  checkTogether(file, config);
  return config;
}

/**
 * Reads a configuration file; see {@linkcode parseConfig}.
 *
 * @throws {InputError} If the file cannot be read or is not a valid configuration.
 */
export async function readConfig(path: string): Promise<Config> {
  let bytes: Uint8Array | undefined;
  try {
    bytes = await readWholeFile(path, 4 * MAX_CHARACTERS);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new InputError(`${path}: there is no such configuration file`);
    }
    throw new InputError(`${path}: cannot read the configuration: ${(error as Error).message}`);
  }
  if (bytes === undefined) throw new InputError(`${path}: ${TOO_LONG}`);
  let source: string;
  try {
    source = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InputError(`${path}: is no text in UTF-8`);
  }
  return parseConfig(source, path);
}

/** What a command line changes in a configuration. */
export interface Overrides {
  /** Another seed. */
  readonly seed?: number;
  /** Another number of epochs at most. */
  readonly epochs?: number;
  /** Other data: a folder of sample files, or a folder and the start of their names. */
  readonly data?: string;
  /** Another answer to a loss that is not finite. */
  readonly onNan?: Config["onNan"];
}

/**
 * The configuration with what a command line changes. Sizes of other data (`totalLocNum`,
 * `totalUserNum`) stay as configured.
 *
 * @throws {InputError} If a value is not allowed.
 */
export function withOverrides(config: Config, overrides: Overrides): Config {
  const { seed = config.seed, epochs = config.maxEpoch, onNan = config.onNan, data } = overrides;
  checkValue("command line", KEYS.seed.path, seed);
  checkValue("command line", KEYS.maxEpoch.path, epochs);
  const changed = { ...config, seed, maxEpoch: epochs, onNan };
  if (data === undefined) return changed;
  if (data === "") throw new InputError("command line: --data is empty; give a folder or a prefix");
  const [, dataDir, datasetPrefix] = /^(.*?)\/?([^/]*)$/s.exec(data) as RegExpExecArray;
  const folder = dataDir !== "" ? dataDir : data.startsWith("/") ? "/" : ".";
  const prefix = datasetPrefix === "" ? undefined : datasetPrefix;
  return { ...changed, dataDir: folder, datasetPrefix: prefix, dataset: undefined };
}

/** Keys that may differ when a training goes on: they do not change what a step computes. */
const FREE: readonly (keyof Config)[] = [
  "dataDir",
  "datasetPrefix",
  "dataset",
  "maxEpoch",
  "printStep",
  "checkpointStep",
  "onNan",
];

/**
 * The keys in which two configurations compute different things, as `section.key` with both values.
 */
export function differences(
  ours: Config,
  theirs: Config,
): readonly { readonly path: string; readonly ours: unknown; readonly theirs: unknown }[] {
  return FIELDS
    .filter((field) => !FREE.includes(field) && ours[field] !== theirs[field])
    .map((field) => ({ path: KEYS[field].path, ours: ours[field], theirs: theirs[field] }));
}

/**
 * Where the sample files are: a folder, or a folder and the start of the files' names; undefined for
 * the simulated data.
 */
export function dataPath(config: Config): string | undefined {
  const { dataDir, datasetPrefix } = config;
  if (dataDir === undefined || datasetPrefix === undefined) return dataDir;
  return dataDir.endsWith("/") ? dataDir + datasetPrefix : `${dataDir}/${datasetPrefix}`;
}

/** A short name of the data, as a run directory's name begins: `geolife`, `simulated`. */
export function dataName(config: Config): string {
  const lastPart = config.dataDir?.split("/").findLast((part) => part !== "" && part !== ".");
  const name = config.dataset ?? config.datasetPrefix ?? lastPart ?? "simulated";
  return name.replaceAll(/[^\w.-]+/g, "_");
}

/** The configuration as YAML in the reference's form; {@linkcode parseConfig} gives it back. */
export function formatConfig(config: Config): string {
  const nested: Record<string, unknown> = {};
  for (const field of FIELDS) {
    const { path } = KEYS[field], value = config[field], section = sectionOf(path);
    if (value === undefined) continue;
    const inner = nested[section] as Record<string, unknown> | undefined;
    if (section === "") nested[path] = value;
    else nested[section] = { ...inner, [nameOf(path)]: value };
  }
  return stringify(nested);
}

/**
 * Every key with its default, meaning and what is allowed, as YAML that is itself a configuration
 * file; keys without a default, or without effect here, are commented out.
 */
export function formatDefaults(): string {
  const lines = ["# Every key of a configuration, with its default."];
  const write = (indent: string, setting: string, path: string): void => {
    const { meaning, allowed } = ALL_KEYS.get(path) as { meaning: string; allowed: Allowed };
    lines.push(`${(indent + setting).padEnd(34)} # ${meaning} (${allowed.words})`);
  };
  const settings = (section: string): void => {
    const indent = section === "" ? "" : "  ";
    for (const field of FIELDS) {
      const { path, default: value } = KEYS[field];
      if (sectionOf(path) !== section) continue;
      write(indent, value === undefined ? `# ${nameOf(path)}:` : `${nameOf(path)}: ${value}`, path);
    }
    for (const { path } of WITHOUT_EFFECT) {
      if (sectionOf(path) === section) write(indent, `# ${nameOf(path)}: no effect;`, path);
    }
  };
  settings("");
  for (const section of SECTIONS) {
    lines.push("", `${section}:`);
    settings(section);
  }
  return lines.join("\n") + "\n";
}

function sectionOf(path: string): string {
  return path.slice(0, Math.max(0, path.indexOf(".")));
}

function nameOf(path: string): string {
  return path.slice(path.indexOf(".") + 1);
}

function parseYaml(source: string, file: string): unknown {
  if (source.length > MAX_CHARACTERS) throw new InputError(`${file}: ${TOO_LONG}`);
  try {
    return parse(source);
  } catch (error) {
    const [place] = (error as Error).message.split("\n");
    throw new InputError(`${file}: is not valid YAML: ${printable(place.replace(/:$/, ""), 200)}`);
  }
}

/** The entries of a YAML mapping; none for an empty one. */
function entriesOf(value: unknown, file: string, what: string): [string, unknown][] {
  if (value === null) return [];
  if (typeof value !== "object" || Array.isArray(value) || value instanceof Date) {
    throw new InputError(`${file}: ${what} holds ${show(value)}; it must hold keys with values`);
  }
  return Object.entries(value as Record<string, unknown>);
}

function checkValue(file: string, path: string, value: unknown): void {
  const key = ALL_KEYS.get(path);
  if (key === undefined) {
    throw new InputError(`${file}: unknown key ${printable(path)}${placeFor(path)}`);
  }
  const { allowed, meaning } = key;
  const optional = FIELDS.some((field) =>
    KEYS[field].path === path && KEYS[field].default === undefined
  );
  if (allowed.test(value) || optional && value === null) return;
  const reason = WITHOUT_EFFECT.some((other) => other.path === path) ? ` (${meaning})` : "";
  throw new InputError(`${file}: ${path} is ${show(value)}; allowed: ${allowed.words}${reason}`);
}

/** Where an unknown key may belong: its section, or the key it is a slip of. */
function placeFor(path: string): string {
  const name = nameOf(path);
  const elsewhere = [...ALL_KEYS.keys()].find((known) => nameOf(known) === name);
  if (elsewhere !== undefined) return `; it belongs at ${elsewhere}`;
  const names = [...ALL_KEYS.keys(), ...SECTIONS];
  return suggestion(path, names) || "; `deno task train --defaults` lists the keys";
}

function show(value: unknown): string {
  return value === null ? "empty" : describe(value);
}

function checkTogether(file: string, config: Config): void {
  if (config.datasetPrefix !== undefined && config.dataDir === undefined) {
    throw new InputError(
      `${file}: data.dataset_prefix needs data.data_dir, the folder of the files; give both or neither`,
    );
  }
  if (config.numWarmupEpochs > config.numTrainingEpochs) {
    throw new InputError(
      `${file}: optimiser.num_warmup_epochs is ${config.numWarmupEpochs}; ` +
        `allowed: at most num_training_epochs, ${config.numTrainingEpochs}`,
    );
  }
}
