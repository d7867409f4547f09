import { sizeOf, type Tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record, type Target } from "../graph/graph.ts";
import { imageWindows, slabWindows } from "./slab_windows.ts";
import { ravel } from "./view.ts";

/** Workgroups that sum so many elements. */
const groupsOf = (size: number): number => Math.ceil(size / 8192);

const operation: Operation = {
  name: "global_norm",
  lower(node: Node, target: Target): readonly Dispatch[] {
    const size = sizeOf(node.inputs[0].shape);
    const { straight } = target;
    const GROUPS = groupsOf(size);
    const sums = { scratch: "sums", size: 2 * GROUPS };
    return [
      ...(straight ? imageWindows : slabWindows)(size, target).map((window): Dispatch => {
        const rows = window.size / 4, groups = groupsOf(window.size);
        return {
          kernel: "global_norm",
          images: straight,
          constants: { N: 4, FIRST: groupsOf(window.offset) },
          bindings: [
            { extent: rows, access: "uniform" },
            { input: 0, access: straight ? "image" : "read", window },
            { ...sums, access: "write" },
          ],
          rows,
          grid: () => [Math.min(groups, 65535), Math.ceil(groups / 65535), 1],
        };
      }),
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
 * up to 1e30: squares that would overflow are summed scaled. (PyTorch's is infinite from 1.8e19 on.)
 * NaN where an element is NaN, infinite where one is. No gradient flows through it.
 *
 * @param tree Tensors of `f32`.
 * @returns A scalar.
 * @throws {TypeError} If there is no element.
 */
export function globalNorm(tree: Tree): Tensor {
  const slab = ravel(tree);
  if (sizeOf(slab.shape) === 0) {
    throw new TypeError("Cannot take the norm of a tree of tensors without elements");
  }
  return record(operation, [slab], {}, [{ shape: [], dtype: "f32" }])[0];
}
