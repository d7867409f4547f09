import type { Packing } from "../core/packing.ts";
import type { RowIndex } from "../graph/dispatch.ts";

const NONE = 0xffffffff;

/** The row numbers that {@linkcode RowIndex} describes, for one packing. */
export function rowIndex(index: RowIndex, packing: Packing): Uint32Array<ArrayBuffer> {
  const { lengths, order, batchSizes, offsets } = packing;
  const T = batchSizes.length, N = offsets[T];
  if (index === "order") return new Uint32Array(order);
  const rows = new Uint32Array(index === "firsts" || index === "lasts" ? lengths.length : N);
  rows.fill(NONE);
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
      } else if (index === "firsts" ? t === 0 : t === last) rows[b] = row;
    }
  }
  return rows;
}
