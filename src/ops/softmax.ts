import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Target,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { rowsOf } from "./rows.ts";
import { lanesFor } from "./tiling.ts";

/** How a workgroup's invocations share a row of V classes. */
export function classShares(
  V: number,
): { readonly V: number; readonly LANES: number; readonly COUNT: number } {
  const LANES = lanesFor(V, V <= 4096 ? 64 : 256);
  return { V, LANES, COUNT: Math.ceil(V / LANES) };
}

const operation: Operation = {
  name: "softmax",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [logits] = node.inputs;
    const V = logits.shape[1];
    return [{
      kernel: "softmax",
      constants: classShares(V),
      bindings: [
        { extent: rowsOf(logits), access: "uniform" },
        { input: 0, access: "read" },
        { output: 0, access: "write" },
      ],
      rows: rowsOf(logits),
      grid: ({ rows }) => elementGrid(64 * rows),
      straight: straight && V <= 4096,
    }];
  },
  vjp(_node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
    if (dy === undefined) return [];
    throw new TypeError("Cannot differentiate softmax: take the loss by crossEntropy(logits, ...)");
  },
};

/**
 * The probabilities that logits stand for: `exp(logits[b,v]) / Σ exp(logits[b,w])`. For predictions:
 * it has no gradient, `crossEntropy` takes logits.
 *
 * @param logits [B,V]; rows may be packed.
 * @returns [B,V].
 * @throws {TypeError} If `logits` is no matrix of floats, or a gradient is asked for.
 *
 * @example
 * ```ts
 * import { openDevice, read, run, softmax, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * console.log((await read(run(device, softmax)(tensor([1, 1], [1, 2])))).data); // 0.5 and 0.5
 * ```
 */
export function softmax(logits: Tensor): Tensor {
  if (logits.shape.length !== 2 || logits.dtype !== "f32" || logits.shape[1] === 0) {
    throw new TypeError(
      `Cannot take the softmax of ${logits.dtype}${formatShape(logits.shape)}: give f32[B,V]`,
    );
  }
  const from = traced(logits, "take the softmax");
  return record(operation, [from], {}, [from])[0];
}
