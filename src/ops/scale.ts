import { formatShape, sizeOf, type Tensor, tensor } from "../core/tensor.ts";
import { type Node, type Operation, record, type Traced } from "../graph/graph.ts";
import { mul } from "./binary.ts";
import { floats } from "./elementwise.ts";
import { sum } from "./sum.ts";
import { reshape } from "./view.ts";

const operation: Operation = {
  name: "scale",
  formula: () => ({ text: "$0 * $1[0]", arrays: { 1: "f32" } }),
  vjp(node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
    if (dy === undefined) return [];
    const [x, by] = node.inputs;
    return [scale(dy, by) as Traced, reshape(sum(mul(dy, x)), by.shape) as Traced];
  },
};

/**
 * Every element times one number.
 *
 * @param x Any shape.
 * @param by A constant, or a tensor of one element, to which gradients flow as well.
 * @throws {TypeError} If `by` has more than one element, or one of them is not of `f32`.
 *
 * @example
 * ```ts
 * import { openDevice, read, run, scale, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * console.log((await read(run(device, scale)(tensor([1, 2]), 3))).data); // [ 3, 6 ]
 * ```
 */
export function scale(x: Tensor, by: number | Tensor): Tensor {
  const [from, factor] = floats("scale", x, typeof by === "number" ? tensor([by], []) : by);
  if (sizeOf(factor.shape) !== 1 || factor.packing !== undefined) {
    throw new TypeError(
      `Cannot scale ${formatShape(x.shape)} by ${formatShape(factor.shape)}: give one number`,
    );
  }
  return record(operation, [from, factor], {}, [from])[0];
}
