import { sizeOf, type Tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record } from "../graph/graph.ts";
import { ravel } from "./view.ts";

const operation: Operation = {
  name: "global_norm",
  lower(node: Node): readonly Dispatch[] {
    const S4 = sizeOf(node.inputs[0].shape) / 4;
    const GROUPS = Math.ceil(S4 / 2048);
    const sums = { scratch: "sums", size: 2 * GROUPS };
    return [
      {
        kernel: "global_norm",
        constants: { S4, GROUPS },
        bindings: [{ input: 0, access: "read" }, { ...sums, access: "write" }],
        rows: GROUPS,
        grid: () => [Math.min(GROUPS, 65535), Math.ceil(GROUPS / 65535), 1],
      },
      {
        kernel: "global_norm_total",
        constants: { GROUPS },
        bindings: [{ ...sums, access: "read" }, { output: 0, access: "write" }],
        rows: GROUPS,
        grid: () => [1, 1, 1],
      },
    ];
  },
};

/**
 * The 2-norm of all elements of all tensors of a tree together, as for gradients. Right from 1e-18
 * up to 1e30: squares that would overflow are summed scaled. No gradient flows through it.
 *
 * @param tree Tensors of `f32`.
 * @returns A scalar.
 */
export function globalNorm(tree: Tree): Tensor {
  return record(operation, [ravel(tree)], {}, [{ shape: [], dtype: "f32" }])[0];
}
