import { formatShape, sizeOf, type Tensor } from "../core/tensor.ts";
import type { Binding, Dispatch, ElementProgram } from "../graph/dispatch.ts";
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

/** A dispatch over all elements of a node's only output, which follows from its inputs by `program`. */
export function elementwise(program: ElementProgram, node: Node, { straight }: Target): Dispatch {
  const { rows, N } = elementRows(node.outputs[0]);
  const images = straight && sizeOf(node.outputs[0].shape) > FEW;
  return {
    kernel: "elementwise",
    constants: { N },
    program,
    bindings: [
      { extent: rows, access: "uniform" },
      { output: 0, access: "write" },
      ...program.inputs.map((kind, input): Binding => ({
        input,
        access: images && kind === "elements" ? "image" : "read",
      })),
    ],
    rows,
    grid: ({ rows }) => elementGrid(Math.ceil(rows * N / 4)),
    images,
  };
}
