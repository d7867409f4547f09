import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  specLike,
  type Target,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { rowsOf } from "./rows.ts";
import { sumRows } from "./sum_rows.ts";
import { chunking, fitsWindow, lanesFor, weightBindings, WINDOW_ELEMENTS } from "./windows.ts";

/** `count` equal parts of `size` rows, none longer than `most`; the last may overlap the one before. */
function parts(size: number, most: number): { readonly length: number; readonly firsts: number[] } {
  const count = Math.ceil(size / most);
  const length = Math.min(size, Math.ceil(size / count / 16) * 16);
  return {
    length,
    firsts: Array.from({ length: count }, (_, i) => Math.min(i * length, size - length)),
  };
}

function lower(node: Node, { straight }: Target): readonly Dispatch[] {
  const [x, w] = node.inputs;
  const [N, K] = w.shape;
  const bias = node.inputs.length > 2;
  const { chunk4, chunks } = chunking(K);
  const LANES = lanesFor(Math.ceil(N / 4), 64);
  const STAGES = Math.ceil(8 * chunk4 / LANES);
  const dispatch = (
    first: number,
    window: number,
    windows: readonly number[] | undefined,
    chunk: number,
  ): Dispatch => ({
    kernel: "linear",
    constants: {
      N,
      K,
      WINDOW: window,
      LANES,
      STAGES,
      TILE: STAGES * LANES,
      CHUNK4: chunk4,
      CHUNKS: straight ? 1 : chunks,
      BIAS: bias ? 1 : 0,
    },
    bindings: [
      { extent: rowsOf(x), access: "uniform" },
      { values: [first, chunk * chunk4, chunk > 0 ? 1 : 0, 0], access: "uniform" },
      { input: 0, access: "read" },
      { input: bias ? 2 : 0, access: "read" },
      { output: 0, access: "write" },
      ...weightBindings({ input: 1 }, windows, window, K),
    ],
    rows: rowsOf(x),
    grid: ({ rows }) => [Math.ceil(window / LANES), Math.ceil(rows / 8), 1],
    straight,
    uniformWeights: windows !== undefined,
  });
  if (straight) {
    // One dispatch a chunk of K, each adding to the ones before.
    const everyChunk = Array.from({ length: chunks }, (_, chunk) => chunk);
    // Each dispatch computes 4 windows of columns; the last may repeat some of the one before.
    const most = Math.max(16, Math.floor(WINDOW_ELEMENTS / K / 16) * 16);
    const { length, firsts } = parts(N, 4 * most);
    const window = Math.ceil(length / 4);
    const starts = firsts.map((first) => [0, 1, 2, 3].map((j) => first + j * window));
    if (starts.flat().every((start) => fitsWindow(start, window, K))) {
      return starts.flatMap((windows, i) =>
        everyChunk.map((chunk) => dispatch(firsts[i], window, windows, chunk))
      );
    }
    return everyChunk.map((chunk) => dispatch(0, Math.ceil(N / 4), undefined, chunk));
  }
  return [dispatch(0, Math.ceil(N / 4), undefined, 0)];
}

function vjp(node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
  if (dy === undefined) return [];
  const [x, w] = node.inputs;
  const dx = record(backwardInput, [dy, w], {}, [x])[0];
  const dw = record(backwardWeight, [dy, x], {}, [w])[0];
  return node.inputs.length > 2 ? [dx, dw, sumRows(dy)] : [dx, dw];
}

const operation: Operation = { name: "linear", lower, vjp };

const backwardInput: Operation = {
  name: "linear_backward_input",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [dy, w] = node.inputs;
    const [N, K] = w.shape;
    const K4 = Math.ceil(K / 4);
    const LANES = lanesFor(K4, 64);
    const dispatch = (
      first: number,
      count: number,
      window: number,
      windows: readonly number[] | undefined,
      written: boolean,
    ): Dispatch => {
      const { chunk4, chunks } = chunking(window);
      const STAGES = Math.ceil(8 * chunk4 / LANES);
      return {
        kernel: "linear_backward_input",
        constants: {
          N,
          K,
          K4,
          WINDOW: window,
          LANES,
          STAGES,
          TILE: STAGES * LANES,
          CHUNK4: chunk4,
          CHUNKS: chunks,
        },
        bindings: [
          { extent: rowsOf(dy), access: "uniform" },
          { values: [first, first > 0 ? 1 : 0, count, 0], access: "uniform" },
          { input: 0, access: "read" },
          { output: 0, access: "write" },
          ...weightBindings({ input: 1 }, windows, window, K),
        ],
        rows: rowsOf(dy),
        grid: ({ rows }) => [Math.ceil(K4 / LANES), Math.ceil(rows / 8), 1],
        straight: written,
        uniformWeights: windows !== undefined,
      };
    };
    const window = Math.min(128, Math.floor(WINDOW_ELEMENTS / K / 16) * 16, N);
    const firsts = Array.from({ length: Math.ceil(N / Math.max(window, 1)) }, (_, i) => i * window);
    const fits = straight && firsts.every((first) => fitsWindow(first, window, K));
    if (!fits || window === 0) return [dispatch(0, N, N, undefined, false)];
    return firsts.map((first) =>
      dispatch(first, Math.min(window, N - first), window, [first], true)
    );
  },
};

/** The gradient of the weight: `dW = dyᵀ x`. */
export const backwardWeight: Operation = {
  name: "linear_backward_weight",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [dy, x] = node.inputs;
    const N = dy.shape[1], K = x.shape[1];
    const K4 = Math.ceil(K / 4);
    const LANES = lanesFor(K4, 64);
    // A chunk of rows starts at a multiple of 64 rows, so that its window is aligned.
    const most = Math.floor(WINDOW_ELEMENTS / K / 64) * 64;
    const small = x.packing === undefined && x.shape[0] <= 128;
    const rows = small ? x.shape[0] : Math.min(128, Math.max(64, most));
    const fits = straight && fitsWindow(0, rows, K);
    const STAGES = Math.ceil(2 * rows / LANES);
    return [{
      kernel: "linear_backward_weight",
      constants: { N, K, K4, ROWS: rows, LANES, STAGES, TILE: STAGES * LANES },
      bindings: [
        { iteration: true, access: "uniform" },
        { input: 0, access: "read" },
        { output: 0, access: "write" },
        {
          input: 1,
          access: fits ? "uniform" : "read",
          window: { offset: 0, size: rows * K },
          moves: true,
        },
      ],
      rows: rowsOf(x),
      each: { chunk: rows },
      grid: () => [Math.ceil(K4 / LANES), Math.ceil(N / 8), 1],
      straight: fits,
      uniformWeights: fits,
    }];
  },
};

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
