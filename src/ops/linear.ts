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
import { elementGrid } from "./grid.ts";
import { rowsOf } from "./rows.ts";
import {
  chunking,
  chunkRows,
  lanesFor,
  movingWindowOf,
  partsOf,
  windowOf,
  windowRows,
} from "./windows.ts";

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

/** What the forward kernel of software adapters reads and writes. */
interface ForwardOperands {
  readonly x: BufferReference;
  readonly rows: Extent;
  readonly w: BufferReference;
  readonly b?: BufferReference;
  readonly y: BufferReference & Pick<Binding, "window">;
  readonly N: number;
  readonly K: number;
}

/** The forward kernel of software adapters. */
function windowedForward({ x, rows, w, b, y, N, K }: ForwardOperands): Dispatch {
  // Windows of equal length, at multiples of 16 rows so that they need no rounding.
  const least = Math.ceil(N / (4 * windowRows(K)));
  const WINDOW = Math.min(multiple(windowRows(K), 16), Math.ceil(N / least / 4 / 16) * 16);
  const parts = partsOf(N, 4 * WINDOW);
  const LANES = 8;
  return {
    kernel: "linear_windowed",
    windowed: true,
    constants: { N, K, WINDOW, LANES, BIAS: b === undefined ? 0 : 1 },
    bindings: [
      moving,
      { parts, access: "uniform" },
      movingWindowOf(x, K, "rows"),
      { ...(b ?? x), access: "read" },
      { ...y, access: "write" },
      ...[0, 1, 2, 3].map((j) => windowOf(w, K, j * WINDOW, 4 * WINDOW)),
    ],
    rows,
    each: { chunk: chunkRows(K, 8) },
    parts: parts.length,
    grid: ({ active }) => [Math.ceil(WINDOW / 4 / LANES), Math.ceil(active / 8), 1],
  };
}

function lower(node: Node, { straight }: Target): readonly Dispatch[] {
  const [x, w] = node.inputs;
  const [N, K] = w.shape;
  if (!straight || windowRows(K) < 16) return [tiledForward(node)];
  const b = node.inputs.length > 2 ? { input: 2 } : undefined;
  const operands = { x: { input: 0 }, rows: rowsOf(x), w: { input: 1 }, b, y: { output: 0 }, N, K };
  return [windowedForward(operands)];
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

/** Groups of 4 columns that an invocation computes: as many as leave work for 8 invocations. */
const groupsFor = (K: number): number => Math.max(1, Math.min(4, Math.floor(K / 32)));

/** The kernel of software adapters for dx: rows of W in launches of at most 4 windows. */
function windowedBackwardInput(node: Node): readonly Dispatch[] {
  const [dy, w] = node.inputs;
  const [N, K] = w.shape;
  const WINDOW = Math.min(multiple(windowRows(K), 16), Math.ceil(N / 16) * 16);
  const windows = Math.ceil(N / WINDOW);
  const GROUPS = groupsFor(K), LANES = 8;
  const dispatch = (first: number, DEEP: number, parts: number): Dispatch => ({
    kernel: "linear_backward_input_windowed",
    windowed: true,
    constants: { N, K, WINDOW, DEEP, GROUPS, LANES },
    bindings: [
      moving,
      { parts: partsOf(parts * DEEP * WINDOW, DEEP * WINDOW, first), access: "uniform" },
      movingWindowOf({ input: 0 }, N, "rows"),
      { output: 0, access: "write" },
      ...Array.from(
        { length: DEEP },
        (_, j) => windowOf({ input: 1 }, K, first + j * WINDOW, DEEP * WINDOW),
      ),
    ],
    rows: rowsOf(dy),
    each: { chunk: windowRows(N) },
    parts,
    grid: ({ active }) => [Math.ceil(K / (4 * GROUPS) / LANES), Math.ceil(active / 8), 1],
  });
  const whole = Math.floor(windows / 4), rest = windows % 4;
  return [
    ...(whole > 0 ? [dispatch(0, 4, whole)] : []),
    ...(rest > 0 ? [dispatch(4 * whole * WINDOW, rest, 1)] : []),
  ];
}

const backwardInput: Operation = {
  name: "linear_backward_input",
  lower(node: Node, target: Target): readonly Dispatch[] {
    const [N, K] = node.inputs[1].shape;
    if (!target.straight || windowRows(K) < 16) return [tiledBackwardInput(node)];
    if (windowRows(N) >= 8) return windowedBackwardInput(node);
    return isWide(node) ? wideBackwardInput(node, target) : [tiledBackwardInput(node)];
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
  readonly dy: BufferReference;
  readonly x: BufferReference;
  /** Row of x that goes with the first row of dy. */
  readonly first?: number;
  readonly rows: Extent;
  readonly dw: BufferReference;
  readonly db: Binding;
  /** Adds to dW. */
  readonly add?: boolean;
  readonly N: number;
  readonly K: number;
}

/** The kernel of software adapters for dW. */
function windowedBackwardWeight(operands: WeightOperands): Dispatch {
  const { dy, x, first = 0, rows, dw, db, add = false, N, K } = operands;
  const WINDOW = Math.min(windowRows(N), windowRows(K));
  const DEEP = Math.min(4, Math.floor(windowRows(K) / WINDOW));
  const GROUPS = groupsFor(K), TALL = 4, LANES = 8;
  return {
    kernel: "linear_backward_weight_windowed",
    windowed: true,
    constants: { N, K, WINDOW, DEEP, GROUPS, TALL, LANES, ADD: add ? 1 : 0 },
    bindings: [
      moving,
      movingWindowOf(x, K, "rows", first),
      { ...dw, access: "write" },
      db,
      ...Array.from({ length: DEEP }, (_, d) => movingWindowOf(dy, N, "rows", d * WINDOW)),
    ],
    rows,
    each: { chunk: DEEP * WINDOW },
    grid: () => [Math.ceil(K / (4 * GROUPS) / LANES), Math.ceil(N / (4 * TALL)), 1],
  };
}

/**
 * Columns of a dy of M rows that are transposed at a time when no window holds 8 of its rows: few
 * enough to fit the smallest binding of all adapters, so that all of them add in the same order.
 */
function pieceOf(M: number, { maxBindingBytes }: Target): number {
  return Math.min(4096, multiple(maxBindingBytes / 4 / M, 64));
}

/** Whether dy has few rows of many columns, as a vocabulary's. */
function isWide({ inputs: [dy] }: Node): boolean {
  return dy.packing === undefined && dy.shape[0] > 0 && windowRows(dy.shape[0]) >= 16;
}

/** Some columns of dy, transposed [C,M] so that windows of their rows are whole, and their sums. */
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

const firstsOf = (N: number, size: number): readonly number[] =>
  Array.from({ length: Math.ceil(N / size) }, (_, i) => i * size);

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
      windowedBackwardWeight({
        dy: piece,
        x: { input: 1 },
        first,
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
    {
      kernel: "transpose",
      constants: { N: M, K, COUNT: M * K },
      bindings: [{ input: 1, access: "read" }, { ...turned, access: "write" }],
      rows: M * K,
      grid: () => elementGrid(M * K),
    },
    ...firstsOf(N, size).flatMap((first) => {
      const db: Binding = {
        ...biasGradient(node, N),
        window: { offset: first, size: Math.min(size, N - first) },
      };
      const { count, piece, dispatch } = transposedPiece(M, N, first, size, db);
      return [
        dispatch,
        windowedForward({
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
    if (!target.straight || windowRows(K) < 8) return [tiledBackwardWeight(node)];
    if (windowRows(N) < 8) {
      return isWide(node) ? wideBackwardWeight(node, target) : [tiledBackwardWeight(node)];
    }
    return [windowedBackwardWeight({
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
