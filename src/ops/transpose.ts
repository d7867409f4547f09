import type { Tensor } from "../core/tensor.ts";
import type { BufferReference, Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Target,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { reshape } from "./view.ts";

/** A dispatch that transposes each of `groups` matrices [N,K]. */
export function transposed(
  x: BufferReference,
  y: BufferReference,
  [groups, N, K]: readonly [number, number, number],
  { straight }: Target,
): Dispatch {
  const count = groups * N * K;
  const inFours = straight && N % 4 === 0 && K % 4 === 0;
  return {
    kernel: inFours ? "transpose_image" : "transpose",
    constants: { N, K, COUNT: count },
    bindings: [{ ...x, access: inFours ? "image" : "read" }, { ...y, access: "write" }],
    rows: count,
    grid: () => elementGrid(inFours ? count / 16 : count),
  };
}

const operation: Operation = {
  name: "transpose",
  lower(node: Node, target: Target): readonly Dispatch[] {
    const [groups, K, N] = node.outputs[0].shape;
    return [transposed({ input: 0 }, { output: 0 }, [groups, N, K], target)];
  },
  vjp({ inputs: [x], outputs: [y] }: Node, [dy]: readonly (Traced | undefined)[]) {
    if (dy === undefined) return [];
    const [groups, K, N] = y.shape;
    const rows = traced(reshape(dy, [groups * K, N]), "transpose");
    return [traced(reshape(transposeGroups(rows, groups), x.shape), "transpose")];
  },
};

/**
 * Transposes each of `groups` equal parts of a matrix's rows.
 *
 * @param x [G N, K].
 * @returns [G,K,N].
 */
export function transposeGroups(x: Traced, groups: number): Traced {
  const [rows, K] = x.shape;
  return record(operation, [x], {}, [{ shape: [groups, K, rows / groups], dtype: "f32" }])[0];
}

/** The transpose of a matrix: [N,K] to [K,N]. */
export function transpose(x: Tensor): Tensor {
  const [N, K] = x.shape;
  return reshape(transposeGroups(traced(x, "transpose"), 1), [K, N]);
}
