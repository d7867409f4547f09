import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record, type Traced, traced } from "../graph/graph.ts";
import { rowsOf } from "./rows.ts";

const operation: Operation = {
  name: "sum_rows",
  lower(node: Node): readonly Dispatch[] {
    const [x] = node.inputs;
    const N = x.shape[1];
    const rows = rowsOf(x);
    return [{
      kernel: "sum_rows",
      constants: { N, SLICES: 8 },
      bindings: [
        { extent: rows, access: "uniform" },
        { input: 0, access: "read" },
        { output: 0, access: "write" },
      ],
      rows,
      grid: () => [Math.ceil(N / 8), 1, 1],
    }];
  },
};

/**
 * Sums over rows.
 *
 * @param x [M,N].
 * @returns [N].
 * @throws {TypeError} If `x` is no matrix.
 */
export function sumRows(x: Tensor): Traced {
  if (x.shape.length !== 2) {
    throw new TypeError(`Cannot sum the rows of ${formatShape(x.shape)}: give a matrix`);
  }
  return record(operation, [traced(x, "sum")], {}, [{ shape: [x.shape[1]], dtype: "f32" }])[0];
}
