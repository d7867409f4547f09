/** Positions grouped by the index that they hold. */
export interface Segments {
  /** Positions 0 .. n-1, ordered by index; equal indices keep their order. */
  readonly order: Uint32Array;
  /** Where each segment starts in `order`; one more than `count`. */
  readonly starts: Uint32Array;
  /** The index of each segment. */
  readonly ids: Uint32Array;
  /** Number of different indices. */
  readonly count: number;
}

/**
 * Groups positions by index with a counting sort, so that gradients of rows that are looked up more
 * than once are summed in a fixed order.
 */
export function segments(indices: ArrayLike<number>): Segments {
  const n = indices.length;
  let largest = 0;
  for (let i = 0; i < n; i++) if (indices[i] > largest) largest = indices[i];
  const next = new Uint32Array(largest + 2);
  for (let i = 0; i < n; i++) next[indices[i] + 1]++;
  const ids = new Uint32Array(n);
  const starts = new Uint32Array(n + 1);
  let count = 0;
  for (let id = 0; id <= largest && n > 0; id++) {
    if (next[id + 1] > 0) {
      ids[count] = id;
      starts[count++] = next[id];
    }
    next[id + 1] += next[id];
  }
  starts[count] = n;
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[next[indices[i]]++] = i;
  return { order, starts, ids, count };
}
