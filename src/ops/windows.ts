/**
 * How the kernels for software adapters read what they have just written: through uniform windows of
 * 64 KiB, which those gather faster than storage.
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

/** A window of a matrix of `columns` that starts at the row of the iteration's first sequence. */
export function blockWindowOf(matrix: BufferReference, columns: number): Binding {
  return {
    ...matrix,
    access: "uniform",
    window: { offset: 0, size: WINDOW },
    rowsOfBlock: columns,
  };
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
