/**
 * How kernels divide their work among invocations.
 *
 * @module
 */

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
