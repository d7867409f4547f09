/**
 * The stacked LSTM as a language model of characters, as training and the commands know it.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { foldIn, randomKey } from "../core/random.ts";
import { type Tensor, tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import { batches } from "../data/batches.ts";
import type { Split } from "../data/read_samples.ts";
import {
  decodeText,
  encodeText,
  readText,
  splitText,
  textChunkCount,
  textChunks,
  textVocabulary,
} from "../data/text.ts";
import type { Device } from "../gpu/device.ts";
import { type LanguageScores, languageScores } from "../metrics/language.ts";
import { formatTable } from "../metrics/table.ts";
import type { Model, Weights } from "../models/model.ts";
import {
  type CarriedState,
  sampleLogits,
  type StackedLstm,
  stackedLstm,
  type StackedLstmBatch,
  type StackedLstmOutput,
  type StackedLstmParams,
} from "../models/stacked_lstm.ts";
import { lastStep } from "../ops/pool.ts";
import { softmax } from "../ops/softmax.ts";
import { compile } from "../plan/compile.ts";
import { dispose, put, read } from "../plan/device_tensor.ts";
import {
  type CommonConfig,
  type ConfigKey,
  dataPath,
  fraction,
  text,
  whole,
} from "../train/keys.ts";
import type { Baseline, GenerateOptions, PredictionLine, Task, TaskData } from "./task.ts";

/** The configuration of a language model of characters. */
export interface StackedLstmRunConfig extends CommonConfig {
  /** Steps T of a chunk, through which gradients flow back. */
  readonly sequenceLength: number;
  /** Every character of the text once; none takes the data's. */
  readonly vocabulary: string | undefined;
  /** Hidden size H of every layer. */
  readonly hiddenDim: number;
  /** Number of layers L. */
  readonly numLayers: number;
  /** Dropout of every layer's outputs. */
  readonly dropout: number;
}

const keys: {
  readonly [Field in Exclude<keyof StackedLstmRunConfig, keyof CommonConfig>]: ConfigKey<
    StackedLstmRunConfig[Field]
  >;
} = {
  sequenceLength: {
    path: "training.sequence_length",
    default: 64,
    allowed: whole(1, 4096),
    meaning: "steps through which gradients flow back; the state is carried further",
  },
  vocabulary: {
    path: "dataset_info.vocabulary",
    default: undefined,
    allowed: text,
    meaning: "every character once; none: those of the text",
  },
  hiddenDim: {
    path: "model.hidden_dim",
    default: 128,
    allowed: whole(1, 1024),
    meaning: "hidden size of every layer",
  },
  numLayers: {
    path: "model.num_layers",
    default: 2,
    allowed: whole(1, 64),
    meaning: "number of layers",
  },
  dropout: {
    path: "model.dropout",
    default: 0.1,
    allowed: fraction,
    meaning: "dropout of every layer's outputs",
  },
};

/** The answers of a batch: its mean loss and its characters. */
interface TextAnswers {
  readonly loss: number;
  readonly characters: Uint32Array;
}

/** The library's folder: its README and its sources are the text that is there when none is given. */
const ROOT = new URL("../../", import.meta.url);

async function ownText(): Promise<string> {
  if (ROOT.protocol !== "file:") {
    throw new InputError("the library's own text is not on this disk: give one with --data FILE");
  }
  const files: string[] = ["README.md", "mod.ts"];
  const walk = async (folder: string): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))) {
      if (isDirectory) await walk(`${folder}${name}/`);
      else if (/\.(ts|wgsl)$/.test(name)) files.push(folder + name);
    }
  };
  await walk("src/");
  await walk("kernels/");
  const texts = files.sort().map((file) => readText(fileURLToPath(new URL(file, ROOT))));
  return (await Promise.all(texts)).join("\n");
}

async function load<S extends Split>(
  config: StackedLstmRunConfig,
  splits: readonly S[],
): Promise<TaskData<StackedLstmRunConfig, Uint32Array, S>> {
  const path = dataPath(config);
  const where = path ?? "the library's own text";
  const whole = path === undefined ? await ownText() : await readText(path);
  const vocabulary = config.vocabulary ?? textVocabulary(whole).join("");
  const parts = splitText(encodeText(whole, [...vocabulary], where), where);
  const needed = config.batchSize * config.sequenceLength + 1;
  if (splits.some((split) => split === "train") && parts.train.length < needed) {
    throw new InputError(
      `${where}: its ${parts.train.length} characters for training make no batch: ` +
        `training.batch_size times training.sequence_length takes ${needed}; lower them`,
    );
  }
  const samples = Object.fromEntries(splits.map((split) => [split, parts[split]]));
  return { config: { ...config, vocabulary }, samples: samples as Record<S, Uint32Array> };
}

/** As many streams as the batch has, or fewer of a short text. */
function chunksOf(
  { batchSize, sequenceLength: steps }: StackedLstmRunConfig,
  { length }: Uint32Array,
): { readonly streams: number; readonly steps: number } {
  return { streams: Math.max(1, Math.min(batchSize, Math.floor((length - 1) / steps))), steps };
}

function batchCount(config: StackedLstmRunConfig, data: Uint32Array, training: boolean): number {
  const options = chunksOf(config, data);
  const whole = Math.floor(Math.floor((data.length - 1) / options.streams) / options.steps);
  return training ? whole : textChunkCount(data.length, options);
}

function networkOf(
  { vocabulary, hiddenDim, numLayers, dropout }: StackedLstmRunConfig,
): StackedLstm {
  return stackedLstm({ inputDim: [...vocabulary!].length, hiddenDim, numLayers, dropout });
}

/** The network, which keeps of each batch only how many characters it had. */
function modelOf(
  config: StackedLstmRunConfig,
): Model<StackedLstmParams, Tree, StackedLstmBatch, StackedLstmOutput> {
  return {
    ...networkOf(config),
    targets: ({ target }) => ({ characters: tensor(Uint32Array.of(target.data.length)) }),
    // Of a text that is to be continued, what follows its last character.
    prediction: ({ logits }) => softmax(lastStep(logits)),
  };
}

/** Characters by their frequency, and by the one before, each counted once more than it was seen. */
function baselines(
  { vocabulary }: StackedLstmRunConfig,
  train: Uint32Array,
  evaluated: Uint32Array,
): readonly Baseline<LanguageScores>[] {
  const V = [...vocabulary!].length, n = evaluated.length - 1;
  const counts = new Float64Array(V).fill(1), pairs = new Map<number, number>();
  const before = new Float64Array(V).fill(V);
  train.forEach((id, i) => {
    counts[id]++;
    if (i === 0) return;
    const pair = train[i - 1] * V + id;
    pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
    before[train[i - 1]]++;
  });
  const total = counts.reduce((a, b) => a + b);
  let byFrequency = 0, byPair = 0;
  for (let i = 1; i <= n; i++) {
    const id = evaluated[i], previous = evaluated[i - 1];
    byFrequency -= Math.log(counts[id] / total);
    byPair -= Math.log(((pairs.get(previous * V + id) ?? 0) + 1) / before[previous]);
  }
  return [
    {
      name: "frequency",
      label: "each character by its frequency",
      scores: languageScores([{ characters: n, loss: byFrequency / n }]),
    },
    {
      name: "character_before",
      label: "each character by the one before",
      scores: languageScores([{ characters: n, loss: byPair / n }]),
    },
  ];
}

const COLUMNS = ["characters", "loss", "bits/character", "perplexity"];

function cells({ count, loss, bitsPerCharacter, perplexity }: LanguageScores): readonly string[] {
  return [String(count), loss.toFixed(3), bitsPerCharacter.toFixed(3), perplexity.toFixed(2)];
}

/** The most probable next characters of a text. */
function describePrediction(
  { vocabulary }: StackedLstmRunConfig,
  name: string,
  row: ArrayLike<number>,
  top: number,
): PredictionLine {
  const characters = [...vocabulary!];
  const next = Array.from(row, (probability, i) => ({ character: characters[i], probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, top);
  const parts = next.map(({ character, probability }) =>
    `${JSON.stringify(character)} ${(100 * probability).toFixed(1)}%`
  );
  return { text: `${printable(name)}: ${parts.join(", ")}`, json: { text: name, next } };
}

/** What the text goes on with, character by character. */
async function* generate(
  device: Device,
  config: StackedLstmRunConfig,
  { params }: Weights,
  { prompt, length, temperature, topK, seed }: GenerateOptions,
): AsyncGenerator<string> {
  const vocabulary = [...config.vocabulary!];
  const network = networkOf(config);
  const key = randomKey(seed);
  using step = compile(
    device,
    (params: StackedLstmParams, batch: StackedLstmBatch, carried: CarriedState) => {
      const output = network.forward(params, batch, { statistics: {}, carried });
      return { logits: lastStep(output.logits), carried: output.carried };
    },
    { donate: [2], name: "generation" },
  );
  const onDevice = put(device, params as StackedLstmParams);
  let input = encodeText(prompt, vocabulary, "--prompt");
  let carried: CarriedState | undefined;
  try {
    for (let i = 0; i < length; i++) {
      const batch = network.batch([{ input }]);
      const before: CarriedState = carried ?? put(device, network.carriedStart(batch));
      const { logits, carried: after } = step(onDevice, batch, before);
      carried = after as CarriedState;
      const { data } = await read(logits as Tensor);
      dispose(logits as Tensor);
      const id = sampleLogits(data, { temperature, topK, key: foldIn(key, i) });
      input = Uint32Array.of(id);
      yield decodeText(input, vocabulary);
    }
  } finally {
    dispose([onDevice, ...(carried === undefined ? [] : [carried])]);
  }
}

/** The language model of characters: its data, scores and texts. */
export const stackedLstmTask: Task<
  StackedLstmRunConfig,
  Uint32Array,
  StackedLstmBatch,
  LanguageScores
> = {
  name: "stacked_lstm",
  meaning: "from the characters of a text to the next one",
  generated: "own_text",
  generatedFrom: ROOT.protocol === "file:" ? fileURLToPath(ROOT) : undefined,
  keys,
  defaults: { batchSize: 32, lr: 0.004, maxEpoch: 4, numTrainingEpochs: 4, numWarmupEpochs: 0 },
  openSizes: ({ vocabulary }) => vocabulary === undefined ? [keys.vocabulary.path] : [],

  load,
  describe: ({ vocabulary }, { train, validation, test }) =>
    `${train.length} characters for training, ${validation.length} for validation and ` +
    `${test.length} for the test; ${[...vocabulary!].length} different ones`,
  elements: (ids) => [{ ids }],

  model: (config) => modelOf(config),
  batches(config, data, key) {
    const network = networkOf(config);
    // In order: the state is carried from chunk to chunk.
    const chunks = textChunks(data, chunksOf(config, data)).map((part) => network.batch(part));
    return key === undefined ? chunks : chunks.take(batchCount(config, data, true));
  },
  batchCount,

  score: (_, answers) =>
    languageScores(
      (answers as readonly TextAnswers[]).map(({ loss, characters: [characters] }) => ({
        loss,
        characters,
      })),
    ),
  summary: ({ bitsPerCharacter }) => `bits/character ${bitsPerCharacter.toFixed(3)}`,
  baselines,
  results: (scores, beside) => ({
    ...scores,
    baselines: Object.fromEntries(beside.map(({ name, scores }) => [name, scores])),
  }),
  format(_, what, scores, beside) {
    const table = formatTable([
      ["", ...COLUMNS],
      [`${what}: this model`, ...cells(scores)],
      ...beside.map((other) => [`  ${other.label}`, ...cells(other.scores)]),
    ]);
    if (beside.length === 0) return table;
    const best = beside.reduce((a, b) => b.scores.loss < a.scores.loss ? b : a);
    const ahead = best.scores.bitsPerCharacter - scores.bitsPerCharacter;
    return `${table}\n\n` +
      (ahead > 0
        ? `The model beats guessing ${best.label} by ${ahead.toFixed(3)} bits a character.`
        : `The model does not beat guessing ${best.label}: it is behind by ${
          (-ahead).toFixed(3)
        } bits a character.`);
  },

  async readInput(config, file) {
    const source = file === "-"
      ? await new Response(Deno.stdin.readable).text()
      : await readText(file);
    const lines = source.split("\n").filter((line) => line !== "");
    if (lines.length === 0) throw new InputError(`${file}: there is no text in it`);
    const vocabulary = [...config.vocabulary!], network = networkOf(config);
    const prompts = lines.map((line, i) => ({
      input: encodeText(
        line,
        vocabulary,
        `${file === "-" ? "standard input" : file}: text ${i + 1}`,
      ),
    }));
    return {
      batches: batches(prompts, { batchSize: config.batchSize }).map((part) => network.batch(part)),
      names: lines,
    };
  },
  describePrediction,
  generate,
};
