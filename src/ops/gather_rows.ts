import type { Dispatch, Extent, RowIndex } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Traced,
  type TracedPacking,
} from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";

/** The index by which the gradient of rows gathered by another flows back. */
function inverse(index: RowIndex, packed: boolean): RowIndex {
  const inverses = {
    previous: "next",
    next: "previous",
    reversed: "reversed",
    starts: "firsts",
    ends: "lasts",
    firsts: "starts",
    lasts: "ends",
    // The rows of a first step are in that order.
    order: "firsts",
  } as const;
  return index === "firsts" && !packed ? "order" : inverses[index];
}

const operation: Operation = {
  name: "gather_rows",
  lower({ inputs: [x], outputs: [y], attributes }: Node): readonly Dispatch[] {
    const of = attributes.packing as TracedPacking;
    const H = x.shape[1];
    const rows: Extent = y.packing === undefined ? y.shape[0] : { packing: of };
    return [{
      kernel: "gather_rows",
      constants: { H },
      bindings: [
        { extent: rows, access: "uniform" },
        { rowIndex: attributes.index as RowIndex, of, access: "read" },
        { input: 0, access: "read" },
        { output: 0, access: "write" },
      ],
      rows,
      grid: ({ rows }) => elementGrid(rows * Math.ceil(H / 4)),
    }];
  },
  vjp({ inputs: [x], attributes }: Node, [dy]: readonly (Traced | undefined)[]) {
    if (dy === undefined) return [];
    const packed = x.packing !== undefined;
    const back = inverse(attributes.index as RowIndex, packed);
    return [gatherRows(dy, back, attributes.packing as TracedPacking, packed)];
  },
};

/**
 * Rows of a matrix by row numbers that follow from a packing; zeros where there is none. No row is
 * taken twice.
 *
 * @param x [N,H] or, for `starts`, `ends` and `order`, [B,H] in the caller's order.
 * @param packed Whether the rows that come out are packed; default by the index.
 * @returns [N,H], packed; or [B,H] for `firsts`, `lasts` and `order`.
 */
export function gatherRows(
  x: Traced,
  index: RowIndex,
  packing: TracedPacking,
  packed = !["firsts", "lasts", "order"].includes(index),
): Traced {
  const shape = [packed ? packing.capacity : packing.batch, x.shape[1]];
  const spec = { shape, dtype: "f32" as const, ...(packed ? { packing } : {}) };
  return record(operation, [x], { index, packing }, [spec])[0];
}
