import type { Dispatch, RowIndex } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Spec,
  type Traced,
  type TracedPacking,
} from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { rowsOf } from "./rows.ts";

/** Numbers of rows, none of them twice. */
export type Gathered = Exclude<RowIndex, "steps" | "spans" | "eachStep">;

/** The index by which the gradient of rows gathered by another flows back. */
function inverse(index: Gathered, packed: boolean): Gathered {
  const inverses = {
    previous: "next",
    next: "previous",
    reversed: "reversed",
    sequential: "places",
    places: "sequential",
    starts: "firsts",
    ends: "lasts",
    firsts: "starts",
    lasts: "ends",
    // The rows of a first step are in that order.
    order: "firsts",
  } as const;
  return index === "firsts" && !packed ? "order" : inverses[index];
}

/** A dispatch that takes rows of input 0, x, into the only output, y. */
export function gatherDispatch(x: Spec, y: Spec, rowIndex: RowIndex, of: TracedPacking): Dispatch {
  const H = x.shape[1];
  const rows = rowsOf(y);
  return {
    kernel: "gather_rows",
    constants: { H },
    bindings: [
      { extent: rows, access: "uniform" },
      { rowIndex, of, access: "read" },
      { input: 0, access: "read" },
      { output: 0, access: "write" },
    ],
    rows,
    grid: ({ rows }) => elementGrid(rows * Math.ceil(H / 4)),
  };
}

const operation: Operation = {
  name: "gather_rows",
  lower: ({ inputs: [x], outputs: [y], attributes }) => [
    gatherDispatch(x, y, attributes.index as Gathered, attributes.packing as TracedPacking),
  ],
  vjp({ inputs: [x], attributes }: Node, [dy]: readonly (Traced | undefined)[]) {
    if (dy === undefined) return [];
    const packed = x.packing !== undefined;
    const back = inverse(attributes.index as Gathered, packed);
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
  index: Gathered,
  packing: TracedPacking,
  packed = !["firsts", "lasts", "order"].includes(index),
): Traced {
  const shape = [packed ? packing.capacity : packing.batch, x.shape[1]];
  const spec = { shape, dtype: "f32" as const, ...(packed ? { packing } : {}) };
  return record(operation, [x], { index, packing }, [spec])[0];
}
