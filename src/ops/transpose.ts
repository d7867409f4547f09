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
  lower({ outputs: [{ shape: [K, N] }] }: Node, target: Target): readonly Dispatch[] {
    return [transposed({ input: 0 }, { output: 0 }, [1, N, K], target)];
  },
  vjp: (_: Node, [dy]: readonly (Traced | undefined)[]) =>
    dy === undefined ? [] : [traced(transpose(dy), "transpose")],
};

/** The transpose of a matrix: [N,K] to [K,N]. */
export function transpose(x: Tensor): Tensor {
  const [N, K] = x.shape;
  return record(operation, [x], {}, [{ shape: [K, N], dtype: "f32" }])[0];
}
