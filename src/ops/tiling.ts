/**
 * How kernels divide their work among invocations and launches.
 *
 * @module
 */
import type { Shape } from "../core/tensor.ts";
import type { Binding } from "../graph/dispatch.ts";
import type { Target } from "../graph/graph.ts";

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

/** More rows than there are. */
export const ALL_ROWS = Number.MAX_SAFE_INTEGER;

/**
 * How a matrix is written: all rows in one launch, or, where it is too large to be bound, the most
 * rows of a launch, and the binding in parts.
 *
 * @param least Rows that a launch has at least; where not even they can be bound, the matrix is not.
 */
export function writtenRows(
  [rows, columns]: Shape,
  least: number,
  { maxBindingBytes }: Pick<Target, "maxBindingBytes">,
): { readonly most: number; readonly parts: Pick<Binding, "ofRows"> } {
  const bound = maxBindingBytes / 4;
  // A part begins up to 63 elements before its first row.
  const most = Math.floor((bound - 64) / columns);
  if (rows * columns <= bound || most < least) return { most: ALL_ROWS, parts: {} };
  return { most, parts: { ofRows: columns } };
}
