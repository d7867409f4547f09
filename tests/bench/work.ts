/**
 * The benchmark's work: what is run, on which batches, and how much arithmetic it is.
 *
 * @module
 */
import { permutation, randomKey, type Sample } from "../../mod.ts";
import type { BenchSample, ModelSizes, Work } from "./protocol.ts";

/** Parts of the benchmark, in the order in which they run. */
export const PARTS = [
  "train",
  "evaluate",
  "epoch",
  "lstm",
  "predict",
  "vocabulary",
  "profile",
  "start",
] as const;

/** A part of the benchmark. */
export type Part = typeof PARTS[number];

/** One line of the benchmark's table. */
export type Item = ModelItem | LstmItem;

interface ModelItem {
  readonly part: Part;
  readonly name: string;
  readonly kind: "train" | "evaluate" | "predict" | "epoch";
  readonly B: number;
  /** How many batches are cycled over; none: all the data make. */
  readonly batches?: number;
  /** Every sample is cut to its last so many visits; samples with fewer are left out. */
  readonly T?: number;
  /** Other number of locations than the data's, drawn at random; only this library runs it. */
  readonly V?: number;
}

interface LstmItem {
  readonly part: "lstm";
  readonly name: string;
  readonly kind: "lstm";
  readonly T: number;
  readonly B: number;
  readonly H: number;
}

/** Batches to cycle over, of real and of equal lengths. */
const BATCHES: Readonly<Record<number, readonly [real: number, fixed: number]>> = {
  32: [16, 4],
  128: [6, 2],
  512: [3, 2],
};

/** Locations of the large vocabulary. */
export const LARGE_V = 200_000;

/**
 * Everything that the parts run with peers, the small sizes first; `quick` is a small subset.
 */
export function workList(parts: readonly Part[], quick: boolean): readonly Item[] {
  const sizes = quick ? [32] : [32, 128, 512];
  const batched = (part: "train" | "evaluate", what: string): readonly Item[] =>
    sizes.flatMap((B) =>
      [16, undefined].map((T): Item => ({
        part,
        name: `${what}, ${T === undefined ? "real batches" : `T=${T}`}, B=${B}`,
        kind: part,
        B,
        T,
        batches: BATCHES[B][T === undefined ? 0 : 1],
      }))
    );
  const steps = quick ? [16, 64] : [16, 64, 256, 1024];
  const hidden = quick ? [128] : [32, 128, 512];
  const items: Readonly<Record<string, readonly Item[]>> = {
    train: batched("train", "train step"),
    evaluate: batched("evaluate", "evaluation"),
    epoch: [{ part: "epoch", name: "a whole epoch, B=32", kind: "epoch", B: 32 }],
    lstm: steps.flatMap((T) =>
      hidden.map((H): Item => ({
        part: "lstm",
        name: `LSTM alone, T=${T}, H=${H}, B=32`,
        kind: "lstm",
        T,
        B: 32,
        H,
      }))
    ),
    predict: [{ part: "predict", name: "prediction, B=1", kind: "predict", B: 1, batches: 16 }],
    vocabulary: [{
      part: "vocabulary",
      name: `train step, V=${LARGE_V}, B=128`,
      kind: "train",
      B: 128,
      batches: 2,
      V: LARGE_V,
    }],
  };
  return parts.flatMap((part) => items[part] ?? []);
}

/** Samples in batches of B, shuffled the same way every time; short data are gone through again. */
export function makeBatches(
  samples: readonly Sample[],
  B: number,
  count = Math.floor(samples.length / B),
): readonly (readonly Sample[])[] {
  const order = permutation(randomKey(1), samples.length);
  return Array.from(
    { length: count },
    (_, n) => Array.from({ length: B }, (_, b) => samples[order[(n * B + b) % order.length]]),
  );
}

/** The last T visits of the samples that have as many. */
export function cutTo(samples: readonly Sample[], T: number): readonly Sample[] {
  return samples.filter(({ X }) => X.length >= T).map((sample) => ({
    ...sample,
    X: sample.X.slice(-T),
    user_X: sample.user_X.slice(-T),
    weekday_X: sample.weekday_X.slice(-T),
    start_min_X: sample.start_min_X.slice(-T),
    dur_X: sample.dur_X.slice(-T),
    diff: sample.diff.slice(-T),
  }));
}

/** Locations spread over a larger vocabulary: the same place stays the same. */
export function spreadOver(samples: readonly Sample[], V: number): readonly Sample[] {
  const spread = (id: number): number => id < 2 ? id : 2 + (id * 2654435761) % (V - 2);
  return samples.map((sample) => ({
    ...sample,
    X: sample.X.map(spread),
    Y: spread(sample.Y!),
  }));
}

function benchSample({ X, user_X, weekday_X, start_min_X, dur_X, Y }: Sample): BenchSample {
  return {
    x: [...X],
    user: user_X[0],
    weekday: [...weekday_X],
    startMin: [...start_min_X],
    // Whole minutes, as every peer's table of half hours needs them.
    dur: Array.from(dur_X, Math.floor),
    target: Y!,
  };
}

/** An item with its batches on disk. */
export interface PreparedItem {
  readonly item: Item;
  readonly work: Work;
  /** Batches to cycle over. */
  readonly cycle: number;
  /** Visits of a unit of work, on average over its batches. */
  readonly tokens: number;
  /** Arithmetic of a unit of work, in 10^9 operations. */
  readonly gflop: number;
}

/** The data that the model's work is made of. */
export interface BenchData {
  readonly samples: readonly Sample[];
  readonly model: ModelSizes;
}

/** Writes an item's batches into a folder. */
export async function prepareItem(
  item: Item,
  { samples, model }: BenchData,
  folder: string,
): Promise<PreparedItem> {
  if (item.kind === "lstm") {
    const { kind, T, B, H } = item;
    const gflop = 3 * lstmFlop(T * B, H, H) / 1e9;
    return { item, work: { kind, T, B, I: H, H }, cycle: 1, tokens: T * B, gflop };
  }
  const { kind, B, T, V } = item;
  const sizes = V === undefined ? model : { ...model, V };
  const usable = T === undefined ? samples : cutTo(samples, T);
  const chosen = makeBatches(V === undefined ? usable : spreadOver(usable, V), B, item.batches);
  const path = `${folder}/${item.name.replaceAll(/\W+/g, "_")}.json`;
  await Deno.writeTextFile(path, JSON.stringify(chosen.map((batch) => batch.map(benchSample))));
  const visits = chosen.flat().reduce((sum, { X }) => sum + X.length, 0);
  const units = kind === "epoch" ? 1 : chosen.length;
  const passes = kind === "train" || kind === "epoch" ? 3 : 1;
  const flop = passes * modelFlop(sizes, chosen.length * B, visits);
  return {
    item,
    work: { kind, model: sizes, batches: path, B, defaultLimits: V !== undefined },
    cycle: units,
    tokens: visits / units,
    gflop: flop / units / 1e9,
  };
}

/**
 * Operations of the matrix products of one LSTM layer's forward pass over so many visits; the
 * backward pass has twice as many. Everything that is not a matrix product is left out.
 */
export function lstmFlop(tokens: number, input: number, hidden: number): number {
  return 2 * tokens * 4 * hidden * (input + hidden);
}

/** Operations of the matrix products of the model's LSTM layers' forward pass. */
export function lstmLayersFlop({ embedding, hidden, layers }: ModelSizes, tokens: number): number {
  return lstmFlop(tokens, embedding, hidden) + (layers - 1) * lstmFlop(tokens, hidden, hidden);
}

/** Operations of the matrix products of the model's forward pass. */
export function modelFlop(sizes: ModelSizes, B: number, tokens: number): number {
  const { hidden, V } = sizes;
  return lstmLayersFlop(sizes, tokens) + 2 * B * hidden * (2 * 2 * hidden + V);
}
