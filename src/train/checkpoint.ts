/**
 * Checkpoints: all that training goes on from, in one safetensors file. A training that is resumed
 * from one ends with the same bits as if it had never stopped.
 *
 * @module
 */
import { describe, printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import {
  formatShape,
  type HostTensor,
  isHostTensor,
  type Tensor,
  tensor,
  type TensorData,
} from "../core/tensor.ts";
import { leavesOf, mapTree, type Tree } from "../core/tree.ts";
import type { Weights } from "../models/model.ts";
import type { Answers } from "../tasks/task.ts";
import type { StoppingState } from "./early_stopping.ts";
import type { Epoch } from "./fit.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  readSafetensors,
  type Safetensors,
} from "./safetensors.ts";

/** Where a training is, between two steps. */
export interface Progress {
  /** The running epoch, from 1. */
  readonly epoch: number;
  /** Batches of that epoch that have been trained on. */
  readonly done: number;
  /** Steps made in all. */
  readonly step: number;
  /** Rate of the last step. */
  readonly learningRate: number;
  /** The rate that a reduction holds; null while the schedule is followed. */
  readonly heldRate: number | null;
  /** Factor on the rate: halved at each rewind. */
  readonly rateFactor: number;
  /** Times that training went back to a checkpoint because its loss was not finite. */
  readonly rewinds: number;
  /** Of early stopping. */
  readonly stopping: StoppingState;
  /** Whether early stopping ended training. */
  readonly stopped: boolean;
  /** The epoch with the best validation loss; 0 before the first. */
  readonly bestEpoch: number;
  /** Steps made when the best weights were. */
  readonly bestStep: number;
  /** Results of the epochs before the running one. */
  readonly epochs: readonly Epoch<unknown>[];
  /** Seconds spent on the running epoch. */
  readonly epochSeconds: number;
  /** Seconds spent in all. */
  readonly seconds: number;
}

/** All that training goes on from, on the host. */
export interface Checkpoint {
  /** Where training is. */
  readonly progress: Progress;
  /** Parameters and running statistics. */
  readonly weights: Weights;
  /** What the optimizer remembers. */
  readonly optimizer: Tree;
  /** What the model carries from batch to batch within the running epoch; absent for nothing. */
  readonly carried?: Tree;
  /** The weights with the best validation loss, once there are any. */
  readonly best?: Weights;
  /** Answers of the running epoch so far, of which its training scores are made. */
  readonly answers: readonly Answers[];
}

/** What a checkpoint file holds besides the checkpoint, and what it must fit. */
export type Labels = Readonly<Record<string, string>>;

const FORMAT = "gatewise checkpoint";
/** Another one wherever a release could not go on from what an earlier one wrote. */
const VERSION = "2";

/** JSON has no word for numbers that are not finite. */
const replacer = (_: string, value: unknown): unknown =>
  typeof value === "number" && !Number.isFinite(value) ? `number ${value}` : value;
const reviver = (_: string, value: unknown): unknown =>
  typeof value === "string" && value.startsWith("number ") ? Number(value.slice(7)) : value;

function named(prefix: string, tree: Tree): [string, HostTensor][] {
  return leavesOf(tree).map(({ path, leaf }) => {
    if (!isHostTensor(leaf)) throw new TypeError(`Cannot save ${prefix}.${path}: read it first`);
    return [`${prefix}.${path}`, leaf];
  });
}

/** One array a batch, all of one length and type, as rows. */
function stack(rows: readonly TensorData[]): HostTensor {
  const width = rows[0].length;
  const Data = rows[0].constructor as new (length: number) => TensorData;
  const data = new Data(rows.length * width);
  rows.forEach((row, i) => data.set(row, i * width));
  return tensor(data, [rows.length, width]);
}

function answerTensors(answers: readonly Answers[]): [string, HostTensor][] {
  if (answers.length === 0) return [];
  const names = Object.keys(answers[0]).filter((name) => name !== "loss");
  const rows = answers as readonly Readonly<Record<string, unknown>>[];
  return [
    ...names.map((name): [string, HostTensor] => [
      `answers.${name}`,
      stack(rows.map((row) => row[name] as TensorData)),
    ]),
    ["answers.loss", tensor(Float32Array.from(answers, ({ loss }) => loss!))],
  ];
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/**
 * A checkpoint as the bytes of a safetensors file. Its metadata hold the progress, the labels, and
 * the SHA-256 of the file without that entry.
 */
export async function encodeCheckpoint(
  { progress, weights, optimizer, carried, best, answers }: Checkpoint,
  labels: Labels,
): Promise<Uint8Array<ArrayBuffer>> {
  const tensors = Object.fromEntries([
    ...named("weights", weights),
    ...named("optimizer", optimizer),
    ...(carried === undefined ? [] : named("carried", carried)),
    ...(best === undefined ? [] : named("best", best)),
    ...answerTensors(answers),
  ]);
  const metadata = {
    ...labels,
    format: FORMAT,
    version: VERSION,
    progress: JSON.stringify(progress, replacer),
  };
  const checksum = await sha256(encodeSafetensors(tensors, { metadata }));
  return encodeSafetensors(tensors, { metadata: { ...metadata, sha256: checksum } });
}

/** A checkpoint as read, before it is fitted to a model. */
export interface StoredCheckpoint {
  /** What was written beside it. */
  readonly labels: Labels;
  /** Answers of the running epoch so far. */
  readonly answers: readonly Answers[];
  /**
   * The checkpoint, in the form of a model's weights and an optimizer's state.
   *
   * @param carried The form of what the model carries; absent for nothing.
   * @throws {InputError} If tensors are missing or of another shape.
   */
  readonly fit: (weights: Weights, optimizer: Tree, carried?: Tree) => Checkpoint;
}

/**
 * Reads the bytes of a checkpoint file.
 *
 * @throws {InputError} If they are no checkpoint, of another version, or damaged.
 */
export async function decodeCheckpoint(
  bytes: Uint8Array,
  file: string,
): Promise<StoredCheckpoint> {
  return await checkpointIn(decodeSafetensors(bytes, file), file);
}

/**
 * Reads a checkpoint file.
 *
 * @throws {InputError} If it cannot be read, is no checkpoint, of another version, or damaged.
 */
export async function readCheckpoint(file: string): Promise<StoredCheckpoint> {
  return await checkpointIn(await readSafetensors(file), file);
}

async function checkpointIn(
  { tensors, metadata }: Safetensors,
  file: string,
): Promise<StoredCheckpoint> {
  const { sha256: checksum, ...unsigned } = metadata;
  const { format, version, progress: text, ...labels } = unsigned;
  if (format !== FORMAT) throw new InputError(`${file}: is not a checkpoint of this library`);
  if (version !== VERSION) {
    throw new InputError(
      `${file}: is a checkpoint of version ${printable(version ?? "none")}; this release reads ` +
        `version ${VERSION}`,
    );
  }
  // The same tensors always give the same bytes, so the file can be made again without its checksum.
  if (await sha256(encodeSafetensors(tensors, { metadata: unsigned })) !== checksum) {
    throw new InputError(`${file}: is damaged: its content does not fit its checksum`);
  }
  // The checksum is no signature: whoever can write the file can make it fit.
  const progress = parseProgress(text, file);
  const answers = answersOf(tensors, file);
  if (answers.length !== progress.done) {
    throw new InputError(
      `${file}: is damaged: it has the answers of ${answers.length} batches, but made ` +
        `${progress.done} in its epoch`,
    );
  }
  const like = <T extends Tree>(prefix: string, tree: T): T =>
    mapTree(tree, (leaf, path) => {
      const found = tensors.get(`${prefix}.${path}`);
      const form = ({ dtype, shape }: Tensor): string => `${dtype}${formatShape(shape)}`;
      if (found === undefined || form(found) !== form(leaf)) {
        throw new InputError(
          `${file}: ${prefix}.${path} must be ${form(leaf)}, but ` +
            (found === undefined ? "is missing" : `is ${form(found)}`),
        );
      }
      return found;
    });
  const hasBest = [...tensors.keys()].some((name) => name.startsWith("best."));
  return {
    labels,
    answers,
    fit: (weights, optimizer, carried) => ({
      progress,
      weights: like("weights", weights),
      optimizer: like("optimizer", optimizer),
      ...(carried === undefined ? {} : { carried: like("carried", carried) }),
      best: hasBest ? like("best", weights) : undefined,
      answers,
    }),
  };
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && value as number >= 0;
const isNumber = (value: unknown): boolean => typeof value === "number";
const isFlag = (value: unknown): boolean => typeof value === "boolean";
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** What each part of a training's progress is. */
const PARTS: { readonly [Part in keyof Progress]: (value: unknown) => boolean } = {
  epoch: isCount,
  done: isCount,
  step: isCount,
  learningRate: isNumber,
  heldRate: (value) => value === null || isNumber(value),
  rateFactor: isNumber,
  rewinds: isCount,
  stopping: (value) =>
    isRecord(value) && (value.best === null || isNumber(value.best)) && isCount(value.waited) &&
    isCount(value.reductions),
  stopped: isFlag,
  bestEpoch: isCount,
  bestStep: isCount,
  epochs: (value) => Array.isArray(value) && value.every(isRecord),
  epochSeconds: isNumber,
  seconds: isNumber,
};

function parseProgress(text: string | undefined, file: string): Progress {
  const bad = (what: string): never => {
    throw new InputError(`${file}: is damaged: its progress ${what}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(text ?? "", reviver);
  } catch (error) {
    return bad(`is no JSON (${printable((error as Error).message, 120)})`);
  }
  if (!isRecord(value)) return bad("is no record");
  for (const [part, fits] of Object.entries(PARTS)) {
    if (!fits(value[part])) bad(`has no ${part} that can be: it is ${describe(value[part])}`);
  }
  return value as unknown as Progress;
}

function answersOf(tensors: ReadonlyMap<string, HostTensor>, file: string): readonly Answers[] {
  const losses = tensors.get("answers.loss");
  if (losses === undefined) return [];
  if (losses.dtype !== "f32" || losses.shape.length !== 1) {
    throw new InputError(`${file}: is damaged: answers.loss is no list of losses`);
  }
  const others = [...tensors].filter(([name]) =>
    name.startsWith("answers.") && name !== "answers.loss"
  );
  for (const [name, { shape }] of others) {
    if (shape.length !== 2 || formatShape([shape[0]]) !== formatShape(losses.shape)) {
      throw new InputError(`${file}: is damaged: ${name} does not fit the others`);
    }
  }
  return Array.from(losses.data, (loss, i) => ({
    ...Object.fromEntries(others.map(([name, { data, shape: [, width] }]) => [
      name.slice("answers.".length),
      data.subarray(i * width, (i + 1) * width),
    ])),
    loss,
  }));
}
