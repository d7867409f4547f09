/**
 * How the kernels for software adapters read matrices: through uniform windows of 64 KiB, which those
 * gather several times faster than storage.
 *
 * @module
 */
import type { Binding, BufferReference } from "../graph/dispatch.ts";

/** Elements of a window. */
const WINDOW = 16384;

/** Elements that a window's start is rounded down to a multiple of. */
const ALIGNMENT = 64;

/** Rows of `columns` elements that a window holds wherever it starts. */
export function windowRows(columns: number): number {
  const room = columns % ALIGNMENT === 0 ? WINDOW : WINDOW - ALIGNMENT;
  return Math.floor(room / columns);
}

/**
 * Rows that a launch over chunks takes, a multiple of `step` (a power of two) where possible: most
 * when every chunk begins at a multiple of 64 elements.
 */
export function chunkRows(columns: number, step = 4): number {
  let whole = ALIGNMENT;
  for (let c = columns; whole > step && c % 2 === 0; c /= 2) whole /= 2;
  const aligned = Math.floor(WINDOW / columns / Math.max(whole, step)) * Math.max(whole, step);
  return aligned > 0 ? aligned : Math.floor(windowRows(columns) / step) * step;
}

/** The first row of each part of `size` rows from `first` on, `step` at a time: a `parts` binding. */
export function partsOf(
  size: number,
  step: number,
  first = 0,
): readonly (readonly [number, number, number, number])[] {
  return Array.from({ length: Math.ceil(size / step) }, (_, i) => [first + i * step, 0, 0, 0]);
}

/** A window of a matrix that starts at row `first`; `part` rows on with each part. */
export function windowOf(
  matrix: BufferReference,
  columns: number,
  first = 0,
  part = 0,
): Binding {
  return {
    ...matrix,
    access: "uniform",
    window: { offset: first * columns, size: WINDOW },
    part: part * columns,
  };
}

/** A window of a matrix that starts `first` rows after a row of the iteration. */
export function movingWindowOf(
  matrix: BufferReference,
  columns: number,
  what: "rows" | "previousRows" | "block",
  first = 0,
): Binding {
  return { ...windowOf(matrix, columns, first), moves: { with: what, by: columns } };
}

/** How a sum over `size` elements is staged through workgroup memory, in groups of 4 elements. */
export interface Chunking {
  /** Groups of 4 in a chunk. */
  readonly chunk4: number;
  readonly chunks: number;
}

/** Chunks of at most 128 elements. */
export function chunking(size: number): Chunking {
  const groups = Math.ceil(size / 4);
  const chunks = Math.ceil(groups / 32);
  return { chunk4: Math.ceil(groups / chunks), chunks };
}

/** Invocations of a workgroup for `count` columns: whole groups of 8, at most `most`. */
export function lanesFor(count: number, most: number): number {
  return Math.min(most, Math.ceil(count / 8) * 8);
}
