import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  samePacking,
  type Spec,
  specLike,
  type Target,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { rowsOf } from "./rows.ts";
import { lanesFor } from "./tiling.ts";

const operation: Operation = {
  name: "cross_entropy",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [logits] = node.inputs;
    const [B, V] = logits.shape;
    const rows = rowsOf(logits);
    const LANES = lanesFor(V, 64);
    // Wide rows are shared by several workgroups.
    const PIECES = Math.ceil(V / LANES / (straight ? 64 : 16));
    const COUNT = Math.ceil(V / LANES / PIECES);
    const pieces = { scratch: "pieces", size: 2 * B * PIECES };
    return [
      {
        kernel: "cross_entropy",
        constants: { V, LANES, COUNT, PIECES },
        bindings: [
          { extent: rows, access: "uniform" },
          { input: 0, access: "read" },
          { ...pieces, access: "write" },
        ],
        rows,
        grid: ({ rows }) => {
          const [x, y] = elementGrid(64 * rows);
          return [x, y, PIECES];
        },
        straight,
      },
      {
        kernel: "cross_entropy_mean",
        constants: { V, LANES: lanesFor(B, 256), PIECES, ...ignored(node) },
        bindings: [
          { extent: rows, access: "uniform" },
          { input: 0, access: "read" },
          { input: 1, access: "read" },
          { ...pieces, access: "read" },
          { output: 0, access: "write" },
          { output: 1, access: "write" },
          { output: 2, access: "write" },
        ],
        rows,
        grid: () => [1, 1, 1],
      },
    ];
  },
  vjp(node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
    if (dy === undefined) return [];
    const [logits, targets] = node.inputs;
    const [, rows, factor] = node.outputs;
    return record(backward, [dy, logits, targets, rows, factor], node.attributes, [logits]);
  },
};

const backward: Operation = {
  name: "cross_entropy_backward",
  // [B,V] of a large vocabulary exists once: the gradient is written over the logits.
  inPlace: [[1, 0]],
  lower(node: Node): readonly Dispatch[] {
    const logits = node.inputs[1];
    const V = logits.shape[1];
    return [{
      kernel: "cross_entropy_backward",
      constants: { V, ...ignored(node) },
      bindings: [
        { extent: rowsOf(logits), access: "uniform" },
        { input: 0, access: "read" },
        { input: 2, access: "read" },
        { input: 3, access: "read" },
        { input: 4, access: "read" },
        { output: 0, access: "write" },
      ],
      rows: rowsOf(logits),
      grid: ({ rows }) => {
        const [x, y] = elementGrid(64 * rows);
        return [x, y, Math.ceil(V / 256)];
      },
    }];
  },
};

/** Kernels compare the bits of targets of either sign. */
function ignored(node: Node): { readonly IGNORES: number; readonly IGNORED: number } {
  const { ignoreIndex } = node.attributes;
  return ignoreIndex === undefined
    ? { IGNORES: 0, IGNORED: 0 }
    : { IGNORES: 1, IGNORED: Number(ignoreIndex) >>> 0 };
}

/**
 * The logits and targets as traced tensors.
 *
 * @param verb What is done with them, for errors.
 * @throws {TypeError} If they are not f32[B,V] and u32[B] or i32[B] of the same rows.
 */
export function labelled(
  logits: Tensor,
  targets: Tensor,
  verb: string,
): readonly [logits: Traced, targets: Traced] {
  const [B, V] = logits.shape;
  const fits = logits.shape.length === 2 && logits.dtype === "f32" && V > 0 &&
    targets.shape.length === 1 && targets.dtype !== "f32" && targets.shape[0] === B;
  if (!fits) {
    throw new TypeError(
      `Cannot ${verb} logits ${logits.dtype}${formatShape(logits.shape)} with targets ` +
        `${targets.dtype}${formatShape(targets.shape)}: give f32[B,V] and u32[B] or i32[B]`,
    );
  }
  const pair = [traced(logits, verb), traced(targets, verb)] as const;
  samePacking(verb, ...pair);
  return pair;
}

/** Options of {@linkcode crossEntropy}. */
export interface CrossEntropyOptions {
  /** Rows with this target do not count; default none. */
  readonly ignoreIndex?: number;
}

/**
 * The mean of `-log softmax(logits[b])[targets[b]]` over the rows that count, as PyTorch's
 * `cross_entropy` with `ignore_index`. Unlike there, the loss is 0 rather than NaN when no row
 * counts; the gradient is 0 too. A logit of -Infinity is a class of probability 0; one that is
 * Infinity or NaN makes the loss NaN.
 *
 * Targets are data, checked where they come from: one past the last class counts as the last class.
 *
 * @param logits [B,V]; rows may be packed.
 * @param targets Classes as `u32` or `i32`, [B]; packed if the logits are.
 * @returns A scalar, in nats.
 * @throws {TypeError} If the shapes or types do not fit, or there is no row.
 * @throws {RangeError} If `ignoreIndex` is no 32-bit integer.
 *
 * @example
 * ```ts
 * import { crossEntropy, openDevice, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const logits = tensor([0, 0, 0, 9, 0, 0], [2, 3]);
 * const targets = tensor(Uint32Array.of(1, 0));
 * const loss = run(device, () => crossEntropy(logits, targets, { ignoreIndex: 0 }));
 * console.log((await read(loss())).data); // log 3, about 1.0986
 * ```
 */
export function crossEntropy(
  logits: Tensor,
  targets: Tensor,
  options: CrossEntropyOptions = {},
): Tensor {
  const { ignoreIndex } = options;
  const inputs = labelled(logits, targets, "take the cross-entropy of");
  if (logits.shape[0] === 0) {
    throw new TypeError(
      `Cannot take the cross-entropy of ${formatShape(logits.shape)}: it has no rows`,
    );
  }
  const integer = ignoreIndex === undefined ||
    (Number.isInteger(ignoreIndex) && ignoreIndex >= -(2 ** 31) && ignoreIndex < 2 ** 32);
  if (!integer) {
    throw new RangeError(
      `Cannot ignore the target ${ignoreIndex} in the cross-entropy: it must be a 32-bit integer`,
    );
  }
  const scalar: Spec = { shape: [], dtype: "f32" };
  return record(operation, inputs, ignoreIndex === undefined ? {} : { ignoreIndex }, [
    scalar,
    specLike(inputs[0], [logits.shape[0], 2]),
    scalar,
  ])[0];
}
