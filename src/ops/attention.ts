import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Binding, Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  samePacking,
  type Spec,
  type Traced,
} from "../graph/graph.ts";
import { concat } from "./concat.ts";
import { keepingAt } from "./dropout.ts";
import { gatherRows } from "./gather_rows.ts";
import { elementGrid } from "./grid.ts";
import { packedFloats, rowsOf } from "./rows.ts";
import { keyOf } from "./split_key.ts";

/** Widest head: its columns are written out in the kernels. */
const WIDEST = 256;

/** Most steps: software adapters stop the loops of a kernel after 65,535 turns in all. */
const LONGEST = 5000;

/** A dispatch over rows and heads. The node's first input has q, k and v beside each other. */
function dispatch(kernel: string, node: Node, bindings: readonly Binding[]): Dispatch {
  const [qkv] = node.inputs;
  const heads = Number(node.attributes.heads), rate = Number(node.attributes.rate);
  const width = qkv.shape[1] / 3 / heads;
  const rows = rowsOf(qkv);
  return {
    kernel,
    constants: {
      HEADS: heads,
      WIDTH: width,
      GROUPS: Math.ceil(width / 4),
      SCALE: { f32: 1 / Math.sqrt(width) },
      DROPOUT: rate > 0 ? 1 : 0,
      ...keepingAt(rate),
    },
    bindings: [
      { extent: rows, access: "uniform" },
      { rowIndex: "spans", of: qkv.packing!, access: "read" },
      { input: 0, access: "read" },
      ...bindings,
    ],
    rows,
    mostSteps: LONGEST,
    grid: ({ rows }) => {
      const [x, y] = elementGrid(rows);
      return [x, y, heads];
    },
  };
}

/** Binding of the key at a position of the inputs, if there is one. */
const keyAt = (node: Node, position: number): readonly Binding[] =>
  node.inputs.length > position ? [{ input: position, access: "read" }] : [];

/** Inputs: q, k and v, and the key of dropout; outputs: y, and log Σ exp of the scores. */
const operation: Operation = {
  name: "attention",
  lower: (node) => [
    dispatch("attention", node, [
      { output: 0, access: "write" },
      { output: 1, access: "write" },
      ...keyAt(node, 1),
    ]),
  ],
  vjp: ({ inputs: [qkv, ...key], outputs: [y, totals], attributes }, [dy]) =>
    dy === undefined ? [] : [record(backward, [qkv, dy, y, totals, ...key], attributes, [qkv])[0]],
};

const backward: Operation = {
  name: "attention_backward",
  lower: (node) => {
    const [, , , totals] = node.inputs;
    const deltas = { scratch: "deltas", size: totals.shape[0] * totals.shape[1] };
    return [
      dispatch("attention_backward", node, [
        { input: 1, access: "read" },
        { input: 2, access: "read" },
        { input: 3, access: "read" },
        { output: 0, access: "write" },
        { ...deltas, access: "write" },
        ...keyAt(node, 4),
      ]),
      dispatch("attention_backward_keys", node, [
        { input: 1, access: "read" },
        { input: 3, access: "read" },
        { ...deltas, access: "read" },
        { output: 0, access: "write" },
        ...keyAt(node, 4),
      ]),
    ];
  },
};

const weightsOperation: Operation = {
  name: "attention_weights",
  lower: (node) => {
    const T = Number(node.attributes.weightSteps);
    const { constants, ...rest } = dispatch("attention_weights", node, [
      { input: 1, access: "read" },
      { output: 0, access: "write" },
    ]);
    return [{ ...rest, constants: { ...constants, T }, mostSteps: T, clear: [0] }];
  },
};

/** How {@linkcode attention} runs. */
export interface AttentionOptions {
  /** Heads that the D columns are divided into. */
  readonly heads: number;
  /** Dropout of the weights: a probability from 0 to below 1, and a key for this use only, `u32[2]`. */
  readonly dropout?: { readonly rate: number; readonly key: Tensor };
  /** Also give the weights, for sequences of at most this many steps T. */
  readonly weightSteps?: number;
}

/** What {@linkcode attention} gives. */
export interface Attention {
  /** Packed rows, [N,D]. */
  readonly y: Tensor;
  /**
   * Weights before dropout, [B,heads,T,T] in the order in which the sequences were packed: of each
   * step's query, then of each key; zero past a sequence's end. No gradient flows through them.
   */
  readonly weights?: Tensor;
}

/**
 * Multi-head scaled dot-product attention (Vaswani et al. 2017) of each step to all steps of its own
 * sequence: `softmax(q kᵀ / √(D / heads)) v` in each head. The weights are not stored: the gradient
 * computes them, and their dropout, again.
 *
 * @param q Queries, packed rows [N,D].
 * @param k Keys, packed rows [N,D].
 * @param v Values, packed rows [N,D].
 * @throws {TypeError} If the rows are not of one packing or the shapes differ.
 * @throws {RangeError} If the columns do not divide into heads of at most 256, or the rate is out of
 * range; when it runs, if a sequence has more than 5,000 steps, or more than `weightSteps`.
 *
 * @example
 * ```ts
 * import { attention, openDevice, pack, packed, read, run, type Tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const packing = pack([2, 1]);
 * const rows = (values: number[]): Tensor => packed(packing, Float32Array.from(values), [1]);
 * const attend = run(device, (q: Tensor, k: Tensor, v: Tensor) =>
 *   attention(q, k, v, { heads: 1, weightSteps: 2 }));
 * // Equal keys: the first sequence's steps get its mean, the other's only step itself.
 * const { y, weights } = await read(attend(rows([1, 1, 1]), rows([0, 0, 0]), rows([2, 5, 4])));
 * console.log(y.data, weights!.shape); // Float32Array [ 3, 5, 3 ] [ 2, 1, 2, 2 ]
 * ```
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Attention {
  const { heads, dropout, weightSteps } = options;
  const parts = [q, k, v].map((x) => packedFloats("attend with", x));
  const D = q.shape[1], width = D / heads;
  for (const part of parts) {
    samePacking("attend with", parts[0], part);
    if (part.shape[1] !== D) {
      throw new TypeError(
        `Cannot attend with ${[q, k, v].map(({ shape }) => formatShape(shape)).join(", ")}: ` +
          "queries, keys and values must be of one width",
      );
    }
  }
  if (!Number.isSafeInteger(heads) || heads < 1 || !Number.isSafeInteger(width) || width > WIDEST) {
    throw new RangeError(
      `Cannot divide ${D} columns into ${heads} heads: give a divisor that leaves at most ${WIDEST}`,
    );
  }
  const rate = dropout?.rate ?? 0;
  if (!(rate >= 0 && rate < 1)) {
    throw new RangeError(`Cannot drop attention weights at rate ${rate}: it is from 0 to below 1`);
  }
  const [{ packing }] = parts;
  // Sequences one after the other: keys of a query lie together.
  const qkv = gatherRows(concat(parts, 1) as Traced, "sequential", packing);
  const key = rate > 0 ? [keyOf("drop attention weights", dropout!.key)] : [];
  const rows = (columns: number): Spec => ({
    shape: [qkv.shape[0], columns],
    dtype: "f32",
    packing,
  });
  const [sequential, totals] = record(operation, [qkv, ...key], { heads, rate }, [
    rows(D),
    rows(heads),
  ]);
  const y = gatherRows(sequential, "places", packing);
  if (weightSteps === undefined) return { y };
  if (!Number.isSafeInteger(weightSteps) || weightSteps < 1) {
    throw new RangeError(`Cannot give the weights of ${weightSteps} steps: give a number from 1`);
  }
  const shape = [packing.batch, heads, weightSteps, weightSteps];
  const attributes = { heads, rate: 0, weightSteps };
  const [weights] = record(weightsOperation, [qkv, totals], attributes, [{ shape, dtype: "f32" }]);
  return { y, weights };
}
