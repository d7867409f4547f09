import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Binding, BufferReference, Dispatch, Extent } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Spec,
  specLike,
  type Target,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { rowsOf } from "./rows.ts";
import { transposed } from "./transpose.ts";
import { ALL_ROWS, chunking, lanesFor, writtenRows } from "./tiling.ts";

const moving: Binding = { iteration: true, access: "uniform" };

/** The forward kernel of GPUs: rows of x wait in workgroup memory. */
function tiledForward(node: Node): Dispatch {
  const [x, w] = node.inputs;
  const [N, K] = w.shape;
  const bias = node.inputs.length > 2;
  const { chunk4, chunks } = chunking(K);
  const WINDOW = Math.ceil(N / 4);
  const LANES = lanesFor(WINDOW, 64);
  const STAGES = Math.ceil(8 * chunk4 / LANES);
  return {
    kernel: "linear",
    constants: {
      N,
      K,
      WINDOW,
      LANES,
      STAGES,
      TILE: STAGES * LANES,
      CHUNK4: chunk4,
      CHUNKS: chunks,
      BIAS: bias ? 1 : 0,
    },
    bindings: [
      { extent: rowsOf(x), access: "uniform" },
      { input: 0, access: "read" },
      { input: bias ? 2 : 0, access: "read" },
      { output: 0, access: "write" },
      { input: 1, access: "read" },
    ],
    rows: rowsOf(x),
    grid: ({ rows }) => [Math.ceil(WINDOW / LANES), Math.ceil(rows / 8), 1],
  };
}

/** The largest multiple of `step` up to `most`, at least `step`. */
function multiple(most: number, step: number): number {
  return Math.max(step, Math.floor(most / step) * step);
}

/** Elements of a matrix from which it is worth its memory to copy no more than pieces of it. */
const WIDE = 2 ** 21;

const firstsOf = (N: number, size: number): readonly number[] =>
  Array.from({ length: Math.ceil(N / size) }, (_, i) => i * size);

/** Groups of 32 columns that a workgroup of the kernels of software adapters computes. */
const groupsOf = (columns: number): number => Math.min(4, Math.ceil(columns / 32));

/** Rows that an invocation computes: as many as there are registers for, if there are so many. */
const rowsAtOnce = (rows: Extent): number => typeof rows === "number" && rows <= 32 ? 8 : 16;

/** What the kernels need to know of the sizes N and K: only whether elements come in fours. */
function fours(N: number, K: number): Dispatch["constants"] {
  return { FOURS_N: N % 4 === 0 ? 4 : 1, FOURS_K: K % 4 === 0 ? 4 : 1 };
}

/** Part of a tensor; default all. */
type Part = BufferReference & Pick<Binding, "window" | "ofRows">;

/** What the forward kernel of software adapters reads and writes. */
interface ForwardOperands {
  readonly x: Part;
  readonly rows: Extent;
  readonly w: Part;
  readonly b?: Part;
  readonly y: Part;
  /** Most rows that a launch computes; default all. */
  readonly most?: number;
  readonly N: number;
  readonly K: number;
}

/** The forward kernel of software adapters; large W in pieces, as the image of each is a copy. */
function imageForward(operands: ForwardOperands): readonly Dispatch[] {
  const { x, rows, w, b, y, most = ALL_ROWS, N, K } = operands;
  const ROWS = rowsAtOnce(rows), GROUPS = groupsOf(N);
  const size = N * K > WIDE ? multiple(WIDE / 2 / K, 64) : N;
  return firstsOf(N, size).map((first) => {
    const count = Math.min(size, N - first);
    const piece = { ...w, ...(size < N ? { window: { offset: first * K, size: count * K } } : {}) };
    return {
      kernel: "linear_image",
      constants: { ...fours(N, K), ROWS, GROUPS, BIAS: b === undefined ? 0 : 1 },
      bindings: [
        { iteration: true, access: "uniform" },
        { values: [N, K, first, count], access: "uniform" },
        { ...x, access: "image" },
        { ...piece, access: "image" },
        { ...(b ?? piece), access: "image" },
        { ...y, access: "write" },
      ],
      rows,
      each: { chunk: most },
      grid: ({ active }) => [Math.ceil(count / (32 * GROUPS)), Math.ceil(active / ROWS), 1],
    };
  });
}

function lower(node: Node, target: Target): readonly Dispatch[] {
  const [x, w] = node.inputs;
  const [N, K] = w.shape;
  if (!target.straight) return [tiledForward(node)];
  const { most, parts } = writtenRows(node.outputs[0].shape, 16, target);
  return imageForward({
    x: { input: 0 },
    rows: rowsOf(x),
    w: { input: 1 },
    b: node.inputs.length > 2 ? { input: 2 } : undefined,
    y: { output: 0, ...parts },
    most: multiple(most, 16),
    N,
    K,
  });
}

function vjp(node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
  if (dy === undefined) return [];
  const [x, w] = node.inputs;
  const dx = record(backwardInput, [dy, w], {}, [x])[0];
  return [dx, ...weightGradients(dy, x, w, node.inputs[2])];
}

const operation: Operation = { name: "linear", lower, vjp };

/** The kernel of GPUs for dx: rows of dy wait in workgroup memory. */
function tiledBackwardInput(node: Node): Dispatch {
  const [dy, w] = node.inputs;
  const [N, K] = w.shape;
  const K4 = Math.ceil(K / 4);
  const LANES = lanesFor(K4, 64);
  const { chunk4, chunks } = chunking(N);
  const STAGES = Math.ceil(8 * chunk4 / LANES);
  return {
    kernel: "linear_backward_input",
    constants: {
      N,
      K,
      K4,
      LANES,
      STAGES,
      TILE: STAGES * LANES,
      CHUNK4: chunk4,
      CHUNKS: chunks,
    },
    bindings: [
      { extent: rowsOf(dy), access: "uniform" },
      { input: 0, access: "read" },
      { output: 0, access: "write" },
      { input: 1, access: "read" },
    ],
    rows: rowsOf(dy),
    grid: ({ rows }) => [Math.ceil(K4 / LANES), Math.ceil(rows / 8), 1],
  };
}

/** The kernel of software adapters for dx. */
function imageBackwardInput(node: Node): Dispatch {
  const [dy, w] = node.inputs;
  const [N, K] = w.shape;
  const ROWS = rowsAtOnce(rowsOf(dy)), GROUPS = groupsOf(K);
  return {
    kernel: "linear_backward_input_image",
    constants: { ...fours(N, K), ROWS, GROUPS },
    bindings: [
      { extent: rowsOf(dy), access: "uniform" },
      { values: [N, K, 0, 0], access: "uniform" },
      { input: 0, access: "image" },
      { input: 1, access: "image" },
      { output: 0, access: "write" },
    ],
    rows: rowsOf(dy),
    grid: ({ rows }) => [Math.ceil(K / (32 * GROUPS)), Math.ceil(rows / ROWS), 1],
  };
}

const backwardInput: Operation = {
  name: "linear_backward_input",
  lower(node: Node, target: Target): readonly Dispatch[] {
    if (!target.straight) return [tiledBackwardInput(node)];
    return isWide(node) ? wideBackwardInput(node, target) : [imageBackwardInput(node)];
  },
};

/** Where db goes: an output, if the layer has a bias. */
function biasGradient(node: Node, N: number): Binding {
  const place = node.outputs.length > 1 ? { output: 1 } : { scratch: "db", size: N };
  return { ...place, access: "write" };
}

/** The kernel of GPUs for dW: rows of dy wait in workgroup memory. */
function tiledBackwardWeight(node: Node): Dispatch {
  const [dy, x] = node.inputs;
  const N = dy.shape[1], K = x.shape[1];
  const K4 = Math.ceil(K / 4);
  const LANES = lanesFor(K4, 64);
  const ROWS = 128;
  const STAGES = Math.ceil(2 * ROWS / LANES);
  return {
    kernel: "linear_backward_weight",
    constants: { N, K, K4, ROWS, LANES, STAGES, TILE: STAGES * LANES },
    bindings: [
      moving,
      { input: 0, access: "read" },
      { output: 0, access: "write" },
      biasGradient(node, N),
      { input: 1, access: "read" },
    ],
    rows: rowsOf(x),
    each: { chunk: ROWS },
    grid: () => [Math.ceil(K4 / LANES), Math.ceil(N / 8), 1],
  };
}

/** What the kernel of software adapters for dW reads and writes. */
interface WeightOperands {
  readonly dy: Part;
  readonly x: Part;
  readonly rows: Extent;
  readonly dw: Part;
  readonly db: Binding;
  /** Adds to dW. */
  readonly add?: boolean;
  readonly N: number;
  readonly K: number;
}

/** Rows that a launch sums: few enough that x stays in a CPU's cache for all columns of dy. */
const MOST_ROWS = 2048;

/** The kernel of software adapters for dW. */
function imageBackwardWeight({ dy, x, rows, dw, db, add, N, K }: WeightOperands): Dispatch {
  const GROUPS = groupsOf(K);
  return {
    kernel: "linear_backward_weight_image",
    constants: { ...fours(N, K), GROUPS, ADD: add ? 1 : 0 },
    bindings: [
      moving,
      { values: [N, K, 0, 0], access: "uniform" },
      { ...x, access: "image" },
      { ...dy, access: "image" },
      { ...dw, access: "write" },
      db,
    ],
    rows,
    each: { chunk: MOST_ROWS },
    grid: () => [Math.ceil(K / (32 * GROUPS)), Math.ceil(N / 16), 1],
  };
}

/**
 * Columns of a wide dy of M rows that are transposed at a time: few enough to fit the smallest binding
 * of all adapters, so that all of them add in the same order.
 */
function pieceOf(M: number, { maxBindingBytes }: Target): number {
  return Math.min(4096, multiple(maxBindingBytes / 4 / M, 64));
}

/** Whether dy has few rows of many columns, as a large vocabulary's. */
function isWide({ inputs: [dy] }: Node): boolean {
  const [M, N] = dy.shape;
  return dy.packing === undefined && M > 0 && M <= 1024 && M * N > WIDE;
}

/** Some columns of dy, transposed [C,M], and their sums. */
function transposedPiece(
  M: number,
  N: number,
  first: number,
  size: number,
  sums: Binding,
): { readonly count: number; readonly piece: BufferReference; readonly dispatch: Dispatch } {
  const count = Math.min(size, N - first);
  const piece = { scratch: "piece", size: size * M };
  return {
    count,
    piece,
    dispatch: {
      kernel: "transpose_columns",
      constants: { M, N },
      bindings: [
        { values: [first, count, 0, 0], access: "uniform" },
        { input: 0, access: "read" },
        { ...piece, access: "write" },
        sums,
      ],
      rows: count,
      grid: ({ rows }) => [Math.ceil(rows / 64), 1, 1],
    },
  };
}

/** dx of a wide dy: as `dyᵀᵀ W`, a sum over the transposed rows, piece by piece. */
function wideBackwardInput(node: Node, target: Target): readonly Dispatch[] {
  const [dy, w] = node.inputs;
  const [N, K] = w.shape;
  const M = dy.shape[0];
  const size = pieceOf(M, target);
  return firstsOf(N, size).flatMap((first) => {
    const sums: Binding = { scratch: "sums", size, access: "write" };
    const { count, piece, dispatch } = transposedPiece(M, N, first, size, sums);
    return [
      dispatch,
      imageBackwardWeight({
        dy: piece,
        x: { input: 1, window: { offset: first * K, size: count * K } },
        rows: count,
        dw: { output: 0 },
        db: { scratch: "db", size: M, access: "write" },
        add: first > 0,
        N: M,
        K,
      }),
    ];
  });
}

/** dW and db of a wide dy: a linear layer of its transposed rows and xᵀ, piece by piece. */
function wideBackwardWeight(node: Node, target: Target): readonly Dispatch[] {
  const [dy, x] = node.inputs;
  const [M, N] = dy.shape;
  const K = x.shape[1];
  const size = pieceOf(M, target);
  const turned = { scratch: "x transposed", size: K * M };
  return [
    transposed({ input: 1 }, turned, [1, M, K], target),
    ...firstsOf(N, size).flatMap((first) => {
      const db: Binding = {
        ...biasGradient(node, N),
        window: { offset: first, size: Math.min(size, N - first) },
      };
      const { count, piece, dispatch } = transposedPiece(M, N, first, size, db);
      return [
        dispatch,
        ...imageForward({
          x: piece,
          rows: count,
          w: turned,
          y: { output: 0, window: { offset: first * K, size: count * K } },
          N: K,
          K: M,
        }),
      ];
    }),
  ];
}

const backwardWeight: Operation = {
  name: "linear_backward_weight",
  lower(node: Node, target: Target): readonly Dispatch[] {
    const [dy, x] = node.inputs;
    const N = dy.shape[1], K = x.shape[1];
    if (dy.shape[0] === 0) {
      // No launch, so that nothing else writes the gradients.
      return [{ ...tiledBackwardWeight(node), clear: node.outputs.map((_, output) => output) }];
    }
    if (!target.straight) return [tiledBackwardWeight(node)];
    if (isWide(node)) return wideBackwardWeight(node, target);
    return [imageBackwardWeight({
      dy: { input: 0 },
      x: { input: 1 },
      rows: rowsOf(x),
      dw: { output: 0 },
      db: biasGradient(node, N),
      N,
      K,
    })];
  },
};

/** The gradients of `y = x Wᵀ + b` with respect to W and, where there is one, b. */
export function weightGradients(
  dy: Traced,
  x: Traced,
  weight: Spec,
  bias?: Spec,
): readonly Traced[] {
  return record(backwardWeight, [dy, x], {}, bias === undefined ? [weight] : [weight, bias]);
}

/**
 * A linear layer, `y = x Wᵀ + b`.
 *
 * @param x Rows, [M,K].
 * @param weight [N,K], as PyTorch's.
 * @param bias [N]; default none.
 * @returns [M,N].
 * @throws {TypeError} If the shapes do not fit.
 *
 * @example
 * ```ts
 * import { linear, openDevice, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const y = run(device, linear)(tensor([1, 2], [1, 2]), tensor([3, 4], [1, 2]), tensor([5]));
 * console.log((await read(y)).data); // Float32Array [ 16 ]
 * ```
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const from = traced(x, "multiply");
  const fits = x.shape.length === 2 && weight.shape.length === 2 &&
    x.shape[1] === weight.shape[1];
  if (!fits) {
    throw new TypeError(
      `Cannot multiply ${formatShape(x.shape)} by the transpose of ${formatShape(weight.shape)}: ` +
        `give [M,K] and [N,K]`,
    );
  }
  if (bias !== undefined && (bias.shape.length !== 1 || bias.shape[0] !== weight.shape[0])) {
    throw new TypeError(
      `Cannot add a bias of ${formatShape(bias.shape)} to ${weight.shape[0]} columns`,
    );
  }
  const inputs = bias === undefined ? [from, weight] : [from, weight, bias];
  return record(operation, inputs, {}, [specLike(from, [x.shape[0], weight.shape[0]])])[0];
}
