/**
 * The next-location model as training and the commands know it.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import type { Key } from "../core/random.ts";
import { batches } from "../data/batches.ts";
import { type Floor, floorAnswers, floors } from "../data/floors.ts";
import { findSplits, readSamples, type Split } from "../data/read_samples.ts";
import { checkSamples, type Sample } from "../data/samples.ts";
import { simulate } from "../data/simulate.ts";
import {
  type BothScores,
  bothScores,
  formatScoreTable,
  type ScoredBatch,
  type TestResults,
  testResults,
} from "../metrics/scores.ts";
import { nextLocation, type NextLocationBatch } from "../models/next_location.ts";
import {
  type CommonConfig,
  type ConfigKey,
  dataPath,
  flag,
  fraction,
  oneOf,
  text,
  whole,
} from "../train/keys.ts";
import type { Baseline, PredictionLine, Task, TaskData } from "./task.ts";

/**
 * The configuration of a next-location run. In YAML its keys are nested in sections and named as the
 * reference's files name them (`embedding.base_emb_size` is `baseEmbSize`); `formatDefaults` lists
 * every key with its default, its meaning and what is allowed.
 */
export interface Config extends CommonConfig {
  /** `lstm`, as the reference's files have it, means next_location with `init: reference`. */
  readonly networkName: "lstm" | "next_location";
  /** Whether a vector for the user is added to the LSTM's output. */
  readonly ifEmbedUser: boolean;
  /** Whether vectors for time of day and weekday are added to a location's. */
  readonly ifEmbedTime: boolean;
  /** Whether a vector for the length of stay is added to a location's. */
  readonly ifEmbedDuration: boolean;
  /** Location ids of the model, 0 (padding) and 1 (unknown) included; none takes the data's. */
  readonly totalLocNum: number | undefined;
  /** User ids of the model, 0 included; none takes the data's. */
  readonly totalUserNum: number | undefined;
  /** Width E of the embeddings. */
  readonly baseEmbSize: number;
  /** Time tables: hour, quarter and weekday; 96 quarters of an hour; or weekday only. */
  readonly embInfo: "all" | "time" | "weekday";
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
}

/** A configuration whose sizes are known. */
export type SizedConfig = Config & {
  /** Location ids V, 0 (padding) and 1 (unknown) included. */
  readonly totalLocNum: number;
  /** User ids U, 0 included. */
  readonly totalUserNum: number;
};

const keys: {
  readonly [Field in Exclude<keyof Config, keyof CommonConfig>]: ConfigKey<Config[Field]>;
} = {
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
};

const ignoredKeys: readonly Omit<ConfigKey<undefined>, "default">[] = [
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

function largest(
  parts: readonly (readonly Sample[])[],
  ids: (sample: Sample) => Iterable<number>,
): number {
  let most = 0;
  for (const part of parts) {
    for (const sample of part) for (const id of ids(sample)) if (id > most) most = id;
  }
  return most;
}

async function load<S extends Split>(
  config: Config,
  splits: readonly S[],
): Promise<TaskData<SizedConfig, readonly Sample[], S>> {
  const path = dataPath(config);
  const samples: Partial<Record<S, readonly Sample[]>> = {};
  let files: Partial<Record<S, string>> = {};
  let { totalLocNum, totalUserNum } = config;
  if (path === undefined) {
    const made = simulate();
    for (const split of splits) samples[split] = made[split];
    totalLocNum ??= made.totalLocNum;
    totalUserNum ??= made.totalUserNum;
  } else {
    files = await findSplits(path, splits);
    for (const split of splits) samples[split] = await readSamples(files[split]!);
    const parts = Object.values(samples) as (readonly Sample[])[];
    totalLocNum ??= 1 + Math.max(1, largest(parts, ({ X, Y }) => Y === undefined ? X : [...X, Y]));
    totalUserNum ??= 1 + largest(parts, ({ user_X }) => user_X);
  }
  for (const split of splits) {
    const file = files[split] ?? `simulated ${split} data`;
    if (samples[split]!.length === 0) throw new InputError(`${file}: there is no sample in it`);
    checkSamples(samples[split]!, { file, totalLocNum, totalUserNum });
  }
  return {
    config: { ...config, totalLocNum, totalUserNum },
    samples: samples as Record<S, readonly Sample[]>,
  };
}

/** Which floors the model beats, by acc@1 over all targets, and by how much it beats the best one. */
function verdict(model: BothScores, beside: readonly Baseline<BothScores>[]): string {
  const best = beside.reduce((a, b) => b.scores.all.acc1 > a.scores.all.acc1 ? b : a);
  const ahead = model.all.acc1 - best.scores.all.acc1;
  const beaten = beside.filter(({ scores }) => model.all.acc1 > scores.all.acc1).length;
  const by = `by ${Math.abs(ahead).toFixed(2)} points of acc@1`;
  return ahead > 0
    ? `The model beats all ${beside.length} ways to guess without it, the best (${best.label}) ${by}.`
    : `The model does not beat guessing ${best.label}: it is behind ${by}, and beats ` +
      `${beaten} of ${beside.length} ways to guess.`;
}

interface Choice {
  readonly location: number;
  readonly probability: number;
}

/** The `count` most probable locations; padding (0) is no place. */
function topOf(probabilities: ArrayLike<number>, count: number): readonly Choice[] {
  return Array.from(probabilities, (probability, location) => ({ location, probability }))
    .slice(1)
    .sort((a, b) => b.probability - a.probability || a.location - b.location)
    .slice(0, count);
}

/** The next-location model: its data, scores and predictions. */
export const nextLocationTask: Task<Config, readonly Sample[], NextLocationBatch, BothScores> = {
  name: "next_location",
  alias: "lstm",
  meaning: "from a person's visits of the last days to the place visited next",
  generated: "simulated",
  keys,
  ignoredKeys,
  leastBatch: 2,

  // The reference's files name the model `lstm` and expect its initial values.
  implied: (given) =>
    given.get("model.networkName") === "lstm" && !given.has(keys.init.path)
      ? [[keys.init.path, "reference"]]
      : [],
  openSizes: ({ totalLocNum, totalUserNum }) => [
    ...(totalLocNum === undefined ? [keys.totalLocNum.path] : []),
    ...(totalUserNum === undefined ? [keys.totalUserNum.path] : []),
  ],

  load,
  describe: ({ totalLocNum, totalUserNum }, { train, validation, test }) =>
    `${train.length} training, ${validation.length} validation and ${test.length} test samples; ` +
    `${totalLocNum} locations, ${totalUserNum} users`,
  elements: (samples) => samples,

  model: (config) => nextLocation(config as SizedConfig),
  batches(config, samples, key?: Key) {
    const model = nextLocation(config as SizedConfig);
    return batches(samples, { batchSize: config.batchSize, key, dropLast: key !== undefined })
      .map((part) => model.batch(part));
  },
  batchCount: ({ batchSize }, { length }, training) =>
    training ? Math.floor(length / batchSize) : Math.ceil(length / batchSize),

  score: (_, answers) => bothScores(answers as readonly ScoredBatch[]),
  summary: ({ all }) => `acc@1 ${all.acc1.toFixed(2)}, acc@10 ${all.acc10.toFixed(2)}`,
  baselines: (_, train, evaluated) =>
    floors.map((floor: Floor) => ({
      name: floor.name,
      label: floor.label,
      scores: bothScores([floorAnswers(floor, train, evaluated)]),
    })),
  results: ({ all, known }, beside) => ({
    ...testResults(all, known),
    floors: Object.fromEntries(
      beside.map(({ name, scores }) => [name, testResults(scores.all, scores.known)]),
    ) satisfies Record<string, TestResults>,
  }),
  format(_, what, scores, beside): string {
    const tables = ([["all", "all targets"], ["known", "known places"]] as const).map(
      ([which, targets]) =>
        formatScoreTable([
          { name: `${what}, ${targets}: this model`, scores: scores[which] },
          ...beside.map((other) => ({ name: `  ${other.label}`, scores: other.scores[which] })),
        ]),
    );
    return [...tables, ...(beside.length === 0 ? [] : [verdict(scores, beside)])].join("\n\n");
  },

  async readInput(config, input) {
    const { totalLocNum, totalUserNum, batchSize } = config as SizedConfig;
    const samples = await readSamples(input, { targets: "optional" });
    const file = input === "-" ? "standard input" : input;
    checkSamples(samples, { file, totalLocNum, totalUserNum });
    const model = nextLocation(config as SizedConfig);
    return {
      batches: batches(samples, { batchSize }).map((part) => model.batch(part)),
      names: samples.map((_, number) => String(number)),
    };
  },
  describePrediction(_, name, row, top): PredictionLine {
    const next = topOf(row, top);
    const parts = next.map(({ location, probability }) =>
      `${location === 1 ? "an unknown place" : location} ${(100 * probability).toFixed(1)}%`
    );
    return { text: `sample ${name}: ${parts.join(", ")}`, json: { sample: Number(name), next } };
  },
};
