import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Binding, Dispatch } from "../graph/dispatch.ts";
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
import { chunking, chunkRows, lanesFor, movingWindowOf, windowOf, windowRows } from "./windows.ts";

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

/** The first row of each part of `size` rows from `first` on, `step` at a time. */
function partsOf(
  size: number,
  step: number,
  first = 0,
): readonly (readonly [number, number, number, number])[] {
  return Array.from({ length: Math.ceil(size / step) }, (_, i) => [first + i * step, 0, 0, 0]);
}

/** The largest multiple of `step` up to `most`, at least `step`. */
function multiple(most: number, step: number): number {
  return Math.max(step, Math.floor(most / step) * step);
}

/** The forward kernel of software adapters. */
function windowedForward(node: Node): Dispatch {
  const [x, w] = node.inputs;
  const [N, K] = w.shape;
  const bias = node.inputs.length > 2;
  // Windows of equal length, at multiples of 16 rows so that they need no rounding.
  const least = Math.ceil(N / (4 * windowRows(K)));
  const WINDOW = Math.min(multiple(windowRows(K), 16), Math.ceil(N / least / 4 / 16) * 16);
  const parts = partsOf(N, 4 * WINDOW);
  const LANES = 8;
  return {
    kernel: "linear_windowed",
    windowed: true,
    constants: { N, K, WINDOW, LANES, BIAS: bias ? 1 : 0 },
    bindings: [
      moving,
      { parts, access: "uniform" },
      movingWindowOf({ input: 0 }, K, "rows"),
      { input: bias ? 2 : 0, access: "read" },
      { output: 0, access: "write" },
      ...[0, 1, 2, 3].map((j) => windowOf({ input: 1 }, K, j * WINDOW, 4 * WINDOW)),
    ],
    rows: rowsOf(x),
    each: { chunk: chunkRows(K, 8) },
    parts: parts.length,
    grid: ({ active }) => [Math.ceil(WINDOW / 4 / LANES), Math.ceil(active / 8), 1],
  };
}

function lower(node: Node, { straight }: Target): readonly Dispatch[] {
  const K = node.inputs[1].shape[1];
  return [straight && windowRows(K) >= 16 ? windowedForward(node) : tiledForward(node)];
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
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [N, K] = node.inputs[1].shape;
    const fits = straight && windowRows(N) >= 8 && windowRows(K) >= 16;
    return fits ? windowedBackwardInput(node) : [tiledBackwardInput(node)];
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

/** The kernel of software adapters for dW. */
function windowedBackwardWeight(node: Node): Dispatch {
  const [dy, x] = node.inputs;
  const N = dy.shape[1], K = x.shape[1];
  const WINDOW = Math.min(windowRows(N), windowRows(K));
  const DEEP = Math.min(4, Math.floor(windowRows(K) / WINDOW));
  const GROUPS = groupsFor(K), LANES = 8;
  const TALL = 4;
  return {
    kernel: "linear_backward_weight_windowed",
    windowed: true,
    constants: { N, K, WINDOW, DEEP, GROUPS, TALL, LANES },
    bindings: [
      moving,
      movingWindowOf({ input: 1 }, K, "rows"),
      { output: 0, access: "write" },
      biasGradient(node, N),
      ...Array.from(
        { length: DEEP },
        (_, d) => movingWindowOf({ input: 0 }, N, "rows", d * WINDOW),
      ),
    ],
    rows: rowsOf(x),
    each: { chunk: DEEP * WINDOW },
    grid: () => [Math.ceil(K / (4 * GROUPS) / LANES), Math.ceil(N / (4 * TALL)), 1],
  };
}

const backwardWeight: Operation = {
  name: "linear_backward_weight",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [dy, x] = node.inputs;
    const fits = straight && windowRows(dy.shape[1]) >= 8 && windowRows(x.shape[1]) >= 8;
    return [fits ? windowedBackwardWeight(node) : tiledBackwardWeight(node)];
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
