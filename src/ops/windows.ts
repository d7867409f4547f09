/**
 * How kernels read a matrix of weights: through uniform windows where they fit (software adapters
 * gather those several times faster than storage), else from storage.
 *
 * @module
 */
import type { Binding, BufferReference } from "../graph/dispatch.ts";

/** Largest uniform binding, in 4-byte elements. */
export const WINDOW_ELEMENTS = 16384;

/** Elements that a binding's first element is a multiple of. */
const ALIGNMENT = 64;

/** Whether rows `first .. first + rows` of a matrix of `columns` columns can be a uniform window. */
export function fitsWindow(first: number, rows: number, columns: number): boolean {
  return columns % 4 === 0 && rows * columns <= WINDOW_ELEMENTS &&
    first * columns % ALIGNMENT === 0;
}

/** The bindings of a matrix's windows, or of the whole matrix in storage. */
export function weightBindings(
  matrix: BufferReference,
  windows: readonly number[] | undefined,
  rows: number,
  columns: number,
): readonly Binding[] {
  if (windows === undefined) return [{ ...matrix, access: "read" }];
  return windows.map((first) => ({
    ...matrix,
    access: "uniform",
    window: { offset: first * columns, size: rows * columns },
  }));
}

/** How a sum over `size` elements is staged through workgroup memory, in groups of 4 elements. */
export interface Chunking {
  /** Groups of 4 in a chunk. */
  readonly chunk4: number;
  readonly chunks: number;
}

/**
 * Chunks of at most 128 elements: with more, straight-line code outgrows the processor's instruction
 * cache.
 */
export function chunking(size: number): Chunking {
  const groups = Math.ceil(size / 4);
  const chunks = Math.ceil(groups / 32);
  return { chunk4: Math.ceil(groups / chunks), chunks };
}

/** Invocations of a workgroup for `count` columns: whole groups of 8, at most `most`. */
export function lanesFor(count: number, most: number): number {
  return Math.min(most, Math.ceil(count / 8) * 8);
}
