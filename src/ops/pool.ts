import type { Tensor } from "../core/tensor.ts";
import type { Binding, Dispatch } from "../graph/dispatch.ts";
import {
  type Operation,
  record,
  type Spec,
  type Traced,
  type TracedPacking,
} from "../graph/graph.ts";
import { gatherRows } from "./gather_rows.ts";
import { elementGrid } from "./grid.ts";
import { packedFloats } from "./rows.ts";

function dispatch(
  kernel: string,
  constants: Dispatch["constants"],
  of: TracedPacking,
  H: number,
  source: readonly Binding[],
): Dispatch {
  return {
    kernel,
    constants: { H, ...constants },
    bindings: [
      { extent: of.batch, access: "uniform" },
      { rowIndex: "firsts", of, access: "read" },
      { rowIndex: "next", of, access: "read" },
      { input: 0, access: "read" },
      { output: 0, access: "write" },
      ...source,
    ],
    rows: of.batch,
    grid: ({ rows }) => elementGrid(rows * Math.ceil(H / 4)),
  };
}

/** Outputs: y and, of a maximum, the row that it is from. */
function operation(name: "mean" | "max"): Operation {
  const max = name === "max";
  const choice = { MEAN: max ? 0 : 1, MAX: max ? 1 : 0 };
  const backward: Operation = {
    name: `${name}_over_time_backward`,
    lower: ({ outputs: [dx] }) => [
      dispatch("pool_backward", choice, dx.packing!, dx.shape[1], [
        ...(max ? [{ input: 1, access: "read" } as const] : []),
      ]),
    ],
  };
  return {
    name: `${name}_over_time`,
    lower: ({ inputs: [x] }) => [
      dispatch("pool", choice, x.packing!, x.shape[1], [
        ...(max ? [{ output: 1, access: "write" } as const] : []),
      ]),
    ],
    vjp: ({ inputs: [x], outputs: [, ...source] }, [dy]) =>
      dy === undefined ? [] : [record(backward, [dy, ...source], {}, [x])[0]],
  };
}

const meanOperation = operation("mean");
const maxOperation = operation("max");

function pool(x: Tensor, verb: string, pooled: (from: Traced, y: Spec) => Tensor): Tensor {
  const from = packedFloats(verb, x);
  return pooled(from, { shape: [from.packing.batch, x.shape[1]], dtype: "f32" });
}

/**
 * The mean of each sequence's steps.
 *
 * @param x Packed rows, [N,D].
 * @returns [B,D], in the order in which the sequences were packed.
 * @throws {TypeError} If `x` is not packed, no matrix or not of `f32`.
 *
 * @example
 * ```ts
 * import { meanOverTime, openDevice, pack, packed, read, run } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const x = packed(pack([1, 2]), Float32Array.of(3, 7, 5), [1]);
 * console.log((await read(run(device, meanOverTime)(x))).data); // Float32Array [ 7, 4 ]
 * ```
 */
export function meanOverTime(x: Tensor): Tensor {
  return pool(
    x,
    "take the mean over time of",
    (from, y) => record(meanOperation, [from], {}, [y])[0],
  );
}

/**
 * The maximum of each sequence's steps, column by column. The gradient goes to the first step that has
 * it, as PyTorch's; NaN counts as the largest.
 *
 * @param x Packed rows, [N,D].
 * @returns [B,D], in the order in which the sequences were packed.
 * @throws {TypeError} If `x` is not packed, no matrix or not of `f32`.
 *
 * @example
 * ```ts
 * import { maxOverTime, openDevice, pack, packed, read, run } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const x = packed(pack([1, 2]), Float32Array.of(3, 7, 5), [1]);
 * console.log((await read(run(device, maxOverTime)(x))).data); // Float32Array [ 7, 5 ]
 * ```
 */
export function maxOverTime(x: Tensor): Tensor {
  return pool(
    x,
    "take the maximum over time of",
    (from, y) => record(maxOperation, [from], {}, [y, { ...y, dtype: "u32" }])[0],
  );
}

/**
 * The last step of each sequence.
 *
 * @param x Packed rows, [N,D].
 * @returns [B,D], in the order in which the sequences were packed.
 * @throws {TypeError} If `x` is not packed, no matrix or not of `f32`.
 *
 * @example
 * ```ts
 * import { lastStep, openDevice, pack, packed, read, run } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const x = packed(pack([1, 2]), Float32Array.of(3, 7, 5), [1]);
 * console.log((await read(run(device, lastStep)(x))).data); // Float32Array [ 7, 5 ]
 * ```
 */
export function lastStep(x: Tensor): Tensor {
  return pool(x, "take the last step of", (from) => gatherRows(from, "lasts", from.packing!));
}
