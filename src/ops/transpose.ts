import { sizeOf, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record, type Traced, traced } from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { reshape } from "./view.ts";

const operation: Operation = {
  name: "transpose",
  lower(node: Node): readonly Dispatch[] {
    const [, K, N] = node.outputs[0].shape;
    const count = sizeOf(node.outputs[0].shape);
    return [{
      kernel: "transpose",
      constants: { N, K, COUNT: count },
      bindings: [{ input: 0, access: "read" }, { output: 0, access: "write" }],
      rows: count,
      grid: () => elementGrid(count),
    }];
  },
  vjp({ inputs: [x], outputs: [y] }: Node, [dy]: readonly (Traced | undefined)[]) {
    if (dy === undefined) return [];
    const [groups, K, N] = y.shape;
    const rows = traced(reshape(dy, [groups * K, N]), "transpose");
    return [traced(reshape(transposeGroups(rows, groups), x.shape), "transpose")];
  },
};

/**
 * Transposes each of `groups` equal parts of a matrix's rows.
 *
 * @param x [G N, K].
 * @returns [G,K,N].
 */
export function transposeGroups(x: Traced, groups: number): Traced {
  const [rows, K] = x.shape;
  return record(operation, [x], {}, [{ shape: [groups, K, rows / groups], dtype: "f32" }])[0];
}

/** The transpose of a matrix: [N,K] to [K,N]. */
export function transpose(x: Tensor): Tensor {
  const [N, K] = x.shape;
  return reshape(transposeGroups(traced(x, "transpose"), 1), [K, N]);
}
