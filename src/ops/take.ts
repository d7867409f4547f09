import { formatShape, isHostTensor, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import {
  type Formula,
  host,
  type Node,
  type Operation,
  record,
  type Spec,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { rowsOf } from "./rows.ts";
import { lanesFor } from "./tiling.ts";

const operation: Operation = {
  name: "take",
  // Only where four neighbours are of one row, and the rows of the table are known.
  formula({ inputs: [{ packing, shape: [V, E] }, { shape: [n] }] }: Node): Formula | undefined {
    if (packing !== undefined || E % 4 !== 0 || n === 0) return undefined;
    const row = `min($1[min(i / ${E}u, ${n - 1}u)], ${V - 1}u)`;
    return {
      text: `$0[${row} * ${E / 4}u + i % ${E}u / 4u]`,
      arrays: { 0: "vec4f", 1: "u32" },
    };
  },
  lower(node: Node): readonly Dispatch[] {
    const [table, indices] = node.inputs;
    const E = table.shape[1];
    return [{
      kernel: "take",
      constants: { E },
      bindings: [
        { extent: rowsOf(indices), access: "uniform" },
        { extent: rowsOf(table), access: "uniform" },
        { input: 0, access: "read" },
        { input: 1, access: "read" },
        { output: 0, access: "write" },
      ],
      rows: rowsOf(indices),
      grid: ({ rows }) => elementGrid(rows * Math.ceil(E / 4)),
    }];
  },
  vjp(node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
    if (dy === undefined) return [];
    const [table, indices] = node.inputs;
    const n = indices.shape[0];
    const segments = host("segments", indices, [
      { shape: [n], dtype: "u32" },
      { shape: [n + 1], dtype: "u32" },
      { shape: [n], dtype: "u32" },
    ]);
    return [record(backward, [dy, ...segments], {}, [table])[0]];
  },
};

const backward: Operation = {
  name: "take_backward",
  lower(node: Node): readonly Dispatch[] {
    const [table] = node.outputs;
    const [V, E] = table.shape;
    const n = node.inputs[1].shape[0];
    const COLUMNS = lanesFor(E, 64);
    // Rows that are looked up often, as of a table of weekdays, are summed by several slices.
    const SLICES = Math.max(1, Math.min(Math.floor(256 / COLUMNS), Math.round(n / V / 16)));
    // Software adapters stop a loop after 65,535 turns; one segment may hold all n rows.
    const UNROLL = Math.max(1, Math.ceil(n / SLICES / 65000));
    const segments = { segmentsOf: 1 };
    return [{
      kernel: "take_backward",
      constants: { E, COLUMNS, SLICES, UNROLL },
      bindings: [
        { extent: segments, access: "uniform" },
        { extent: rowsOf(table), access: "uniform" },
        { input: 0, access: "read" },
        { input: 1, access: "read" },
        { input: 2, access: "read" },
        { input: 3, access: "read" },
        { output: 0, access: "write" },
      ],
      rows: segments,
      grid: ({ rows }) => {
        const [x, y] = elementGrid(64 * rows);
        return [x, y, Math.ceil(E / COLUMNS)];
      },
      clear: [0],
    }];
  },
};

/**
 * Looks rows of a table up: an embedding, or the rows of a packed tensor such as the last steps.
 * Rows that are looked up more than once collect all their gradients, in a fixed order.
 *
 * An index past the table reads its last row (a negative one too) and gets no gradient: values that a
 * compiled function will be called with are not known here, so check them where they come from.
 *
 * @param table [V,E]; its rows may be packed.
 * @param indices Row numbers as `u32` or `i32`, [n]; packed or not. To differentiate, give them as an
 * argument of the compiled function, as a host tensor.
 * @returns [n,E], packed as `indices` are.
 * @throws {TypeError} If the shapes or types do not fit, or the table has no row.
 * @throws {RangeError} If `indices` is a constant with an index past the table.
 *
 * @example
 * ```ts
 * import { openDevice, read, run, take, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const table = tensor([1, 2, 3, 4, 5, 6], [3, 2]);
 * const rows = run(device, take)(table, tensor(Uint32Array.of(2, 0, 2)));
 * console.log((await read(rows)).data); // Float32Array [ 5, 6, 1, 2, 5, 6 ]
 * ```
 */
export function take(table: Tensor, indices: Tensor): Tensor {
  const [V, E] = table.shape;
  if (table.shape.length !== 2 || table.dtype !== "f32" || V === 0) {
    throw new TypeError(
      `Cannot look up rows of ${table.dtype}${formatShape(table.shape)}: give f32[V,E], V > 0`,
    );
  }
  if (indices.shape.length !== 1 || indices.dtype === "f32") {
    throw new TypeError(
      `Cannot look up rows by ${indices.dtype}${formatShape(indices.shape)}: give u32[n] or i32[n]`,
    );
  }
  const from = traced(table, "look up rows"), by = traced(indices, "look up rows");
  const constant = isHostTensor(indices) ? indices : by.node.attributes.value;
  if (isHostTensor(constant) && from.packing === undefined) {
    const wrong = constant.data.findIndex((index) => index < 0 || index >= V);
    if (wrong >= 0) {
      throw new RangeError(
        `Cannot look up row ${constant.data[wrong]} (position ${wrong}) of a table of ${V} rows`,
      );
    }
  }
  const shape = [indices.shape[0], E];
  const spec: Spec = by.packing === undefined
    ? { shape, dtype: "f32" }
    : { shape, dtype: "f32", packing: by.packing };
  return record(operation, [from, by], {}, [spec])[0];
}
