import { formatShape, sizeOf, type Tensor } from "../core/tensor.ts";
import type { Binding, Dispatch } from "../graph/dispatch.ts";
import { type Node, type Spec, type Target, type Traced, traced } from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { rowsOf } from "./rows.ts";

/**
 * The tensors in the graph.
 *
 * @param verb What is done with them, for the message.
 * @throws {TypeError} If one is not of `f32`.
 */
export function floats(verb: string, ...tensors: readonly Tensor[]): readonly Traced[] {
  return tensors.map((tensor) => {
    if (tensor.dtype !== "f32") {
      throw new TypeError(
        `Cannot ${verb} ${formatShape(tensor.shape)} of ${tensor.dtype}: give f32`,
      );
    }
    return traced(tensor, verb);
  });
}

/**
 * A tensor as rows of N elements. Elements of tensors that are not packed are rows of four, or of one
 * where they do not come in fours, so that two pipelines serve all shapes.
 */
export function elementRows(x: Spec): { readonly rows: Dispatch["rows"]; readonly N: number } {
  if (x.packing !== undefined) return { rows: rowsOf(x), N: sizeOf(x.shape.slice(1)) };
  const size = sizeOf(x.shape);
  return size % 4 === 0 ? { rows: size / 4, N: 4 } : { rows: size, N: 1 };
}

/** Elements so few that software adapters take longer to make an image of them than to gather them. */
const FEW = 16384;

/**
 * A dispatch over all elements of a node's first output, four an invocation, whose bindings are its
 * rows, the inputs, and the output. N, the elements of a row, is among the constants.
 *
 * @param scalars Positions of the inputs that are not of the output's shape.
 */
export function elementwise(
  kernel: string,
  node: Node,
  { straight }: Target,
  constants: Dispatch["constants"] = {},
  scalars: readonly number[] = [],
): Dispatch {
  const { rows, N } = elementRows(node.outputs[0]);
  const images = straight && sizeOf(node.outputs[0].shape) > FEW;
  const input = (_: unknown, input: number): Binding => ({
    input,
    access: images && !scalars.includes(input) ? "image" : "read",
  });
  return {
    kernel,
    constants: { N, ...constants },
    bindings: [
      { extent: rows, access: "uniform" },
      ...node.inputs.map(input),
      { output: 0, access: "write" },
    ],
    rows,
    grid: ({ rows }) => elementGrid(Math.ceil(rows * N / 4)),
    images,
  };
}
