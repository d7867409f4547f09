import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Extent } from "../graph/dispatch.ts";
import { type Spec, type Traced, traced, type TracedPacking } from "../graph/graph.ts";

/** The rows of a tensor, its first dimension: those of its packing, or its size (a scalar has 1). */
export function rowsOf(tensor: Spec): Extent {
  return tensor.packing === undefined ? tensor.shape[0] ?? 1 : { packing: tensor.packing };
}

/**
 * A matrix of packed rows in the graph.
 *
 * @param verb What is done with it, for the message.
 * @throws {TypeError} If it is not packed, no matrix or not of `f32`.
 */
export function packedFloats(
  verb: string,
  x: Tensor,
): Traced & { readonly packing: TracedPacking } {
  const from = traced(x, verb);
  const isPacked = (t: Traced): t is Traced & { readonly packing: TracedPacking } =>
    t.packing !== undefined;
  if (!isPacked(from) || x.shape.length !== 2 || x.shape[1] === 0 || x.dtype !== "f32") {
    throw new TypeError(
      `Cannot ${verb} ${x.dtype}${formatShape(x.shape)}: give f32[N,D], its rows made with ` +
        "packed(), as an argument of the function that runs",
    );
  }
  return from;
}
