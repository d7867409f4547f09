import { formatShape, sizeOf, type Tensor } from "../core/tensor.ts";
import type { Binding, Dispatch } from "../graph/dispatch.ts";
import { type Node, type Spec, type Traced, traced } from "../graph/graph.ts";
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
 * A tensor as rows of N elements. Elements of tensors that are not packed are rows of one, so that
 * one pipeline serves all shapes.
 */
export function elementRows(x: Spec): { readonly rows: Dispatch["rows"]; readonly N: number } {
  return x.packing === undefined
    ? { rows: sizeOf(x.shape), N: 1 }
    : { rows: rowsOf(x), N: sizeOf(x.shape.slice(1)) };
}

/**
 * A dispatch over all elements of a node's first output, whose bindings are the number of rows, the
 * inputs, and the output. N, the elements of a row, is among the constants.
 *
 * @param perInvocation Elements that an invocation computes.
 */
export function elementwise(
  kernel: string,
  node: Node,
  constants: Dispatch["constants"] = {},
  perInvocation = 1,
): Dispatch {
  const { rows, N } = elementRows(node.outputs[0]);
  return {
    kernel,
    constants: { N, ...constants },
    bindings: [
      { extent: rows, access: "uniform" },
      ...node.inputs.map((_, input): Binding => ({ input, access: "read" })),
      { output: 0, access: "write" },
    ],
    rows,
    grid: ({ rows }) => elementGrid(Math.ceil(rows * N / perInvocation)),
  };
}
