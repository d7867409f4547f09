import type { Packing } from "../core/packing.ts";
import type { RowIndex } from "../graph/dispatch.ts";

const NONE = 0xffffffff;

/** Words that an index has for each row, sequence or step. */
export function wordsOf(index: RowIndex): number {
  return index === "spans" || index === "eachStep" ? 4 : 1;
}

/** The words of `eachStep` for one step. */
export function stepWords({ batchSizes, offsets }: Packing, t: number): readonly number[] {
  const before = t === 0 ? NONE : offsets[t - 1];
  return [offsets[t], batchSizes[t], before, batchSizes[t + 1] ?? 0];
}

/** The numbers that {@linkcode RowIndex} describes, for one packing. */
export function rowIndex(index: RowIndex, packing: Packing): Uint32Array<ArrayBuffer> {
  const { lengths, order, batchSizes, offsets } = packing;
  const T = batchSizes.length, N = offsets[T];
  if (index === "order") return new Uint32Array(order);
  if (index === "eachStep") {
    const words = new Uint32Array(4 * T);
    for (let t = 0; t < T; t++) words.set(stepWords(packing, t), 4 * t);
    return words;
  }
  const perSequence = index === "firsts" || index === "lasts";
  const rows = new Uint32Array(perSequence ? lengths.length : wordsOf(index) * N);
  rows.fill(NONE);
  // First place of each sequence when they lie one after the other.
  const begins = new Uint32Array(lengths.length);
  for (let b = 1; b < lengths.length; b++) begins[b] = begins[b - 1] + lengths[b - 1];
  for (let t = 0; t < T; t++) {
    for (let j = 0; j < batchSizes[t]; j++) {
      const row = offsets[t] + j, b = order[j], last = lengths[b] - 1;
      if (index === "previous") {
        if (t > 0) rows[row] = offsets[t - 1] + j;
      } else if (index === "next") {
        if (t < last) rows[row] = offsets[t + 1] + j;
      } else if (index === "reversed") rows[row] = offsets[last - t] + j;
      else if (index === "starts") {
        if (t === 0) rows[row] = b;
      } else if (index === "ends") {
        if (t === last) rows[row] = b;
      } else if (index === "steps") rows[row] = t;
      else if (index === "places") rows[row] = begins[b] + t;
      else if (index === "sequential") rows[begins[b] + t] = row;
      else if (index === "spans") {
        rows.set([begins[b], begins[b] + lengths[b], b, 0], 4 * (begins[b] + t));
      } else if (index === "firsts" ? t === 0 : t === last) rows[b] = row;
    }
  }
  return rows;
}
