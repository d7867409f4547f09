/** Packed rows as one matrix for each sequence, and back. */
import { type Packing, packValues } from "../../src/core/packing.ts";

/** Rows of each sequence, [T_b,width] in the caller's order, of packed rows [N,width]. */
export function sequencesOf(
  rows: ArrayLike<number>,
  packing: Packing,
  width: number,
): Float64Array[] {
  const sequences = Array.from(packing.lengths, (n) => new Float64Array(n * width));
  eachRow(packing, (b, t, row) => {
    for (let i = 0; i < width; i++) sequences[b][t * width + i] = rows[row * width + i];
  });
  return sequences;
}

/** Packed rows [N,width] of the rows of each sequence. */
export function packedOf(
  sequences: readonly Float64Array[],
  packing: Packing,
  width: number,
): Float64Array {
  const rows = new Float64Array(sequences.reduce((sum, { length }) => sum + length, 0));
  eachRow(packing, (b, t, row) => {
    rows.set(sequences[b].subarray(t * width, (t + 1) * width), row * width);
  });
  return rows;
}

function eachRow(packing: Packing, visit: (b: number, t: number, row: number) => void): void {
  const sequences = packValues(packing, (b) => b), steps = packValues(packing, (_, t) => t);
  sequences.forEach((b, row) => visit(b, steps[row], row));
}
