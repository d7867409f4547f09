import { formatShape, sizeOf } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import type { Spec, Traced } from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { rowsOf } from "./rows.ts";

/**
 * The number of an axis of `x`, of which -1 is the last.
 *
 * @throws {RangeError} If `x` has no such axis.
 * @throws {TypeError} If it counts packed rows, or `x` has no elements.
 */
export function axisOf(verb: string, x: Traced, axis: number): number {
  const at = axis < 0 ? axis + x.shape.length : axis;
  if (!Number.isSafeInteger(axis) || at < 0 || at >= x.shape.length) {
    throw new RangeError(
      `Cannot ${verb} ${formatShape(x.shape)} along axis ${axis}: there is none`,
    );
  }
  if (at === 0 && x.packing !== undefined) {
    throw new TypeError(
      `Cannot ${verb} ${formatShape(x.shape)} along axis 0: its rows are packed`,
    );
  }
  if (sizeOf(x.shape) === 0) {
    throw new TypeError(`Cannot ${verb} ${formatShape(x.shape)}: it has no elements`);
  }
  return at;
}

/** What is copied, counted along the axis. */
export interface Columns {
  readonly axis: number;
  /** First one written. */
  readonly first: number;
  /** How many are written. */
  readonly count: number;
  /** How much further back in the output than in the input they are. */
  readonly shift: number;
}

/** A dispatch that copies a part along an axis from input `input` to the only output. */
export function copyColumns(
  input: number,
  x: Spec,
  y: Spec,
  { axis, first, count, shift }: Columns,
): Dispatch {
  const rows = axis === 0 ? 1 : rowsOf(y);
  const outer = sizeOf(y.shape.slice(1, axis));
  const inner = sizeOf(y.shape.slice(axis + 1));
  return {
    kernel: "copy_columns",
    constants: {
      OUTER: outer,
      X_WIDTH: x.shape[axis] * inner,
      Y_WIDTH: y.shape[axis] * inner,
      FIRST: first * inner,
      COUNT: count * inner,
      SHIFT: (shift * inner) >>> 0,
    },
    bindings: [
      { extent: rows, access: "uniform" },
      { input, access: "read" },
      { output: 0, access: "write" },
    ],
    rows,
    grid: ({ rows }) => elementGrid(rows * outer * count * inner),
  };
}
