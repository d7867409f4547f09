import type { Extent } from "../graph/dispatch.ts";
import type { Spec } from "../graph/graph.ts";

/** The rows of a tensor, its first dimension: those of its packing, or its size (a scalar has 1). */
export function rowsOf(tensor: Spec): Extent {
  return tensor.packing === undefined ? tensor.shape[0] ?? 1 : { packing: tensor.packing };
}
