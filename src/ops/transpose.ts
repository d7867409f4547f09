import { sizeOf } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record, type Traced } from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";

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
};

/**
 * Transposes each of `groups` equal parts of a matrix's rows; for backward passes, so it has no
 * gradient of its own.
 *
 * @param x [G N, K].
 * @returns [G,K,N].
 */
export function transposeGroups(x: Traced, groups: number): Traced {
  const [rows, K] = x.shape;
  return record(operation, [x], {}, [{ shape: [groups, K, rows / groups], dtype: "f32" }])[0];
}
