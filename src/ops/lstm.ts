import { formatShape, type Tensor } from "../core/tensor.ts";
import type { BufferReference, Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Target,
  type Traced,
  traced,
  type TracedPacking,
} from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { linear, weightGradients } from "./linear.ts";
import { transposeGroups } from "./transpose.ts";
import { chunking, lanesFor, movingWindowOf, partsOf, windowOf, windowRows } from "./windows.ts";

/** Sequences that one launch of a windowed kernel can take: those whose 4H gates fit a window. */
const sequencesAtOnce = (H: number): number => windowRows(4 * H);

/** Units of a gate whose weights fit a window, in whole windows of 64 elements. */
function unitsAtOnce(H: number): number {
  const most = Math.floor(windowRows(H) / 16) * 16;
  return H <= windowRows(H) ? H : most;
}

/** What a step leaves for the next one, [B,columns]. */
function stateOf(
  packing: TracedPacking,
  scratch: string,
  columns: number,
  turn: "now" | "before",
): BufferReference {
  return { scratch, size: packing.batch * columns, turn };
}

/** Whether the windowed kernels can run a hidden size. */
function windowed(H: number): boolean {
  return sequencesAtOnce(H) >= 1 && unitsAtOnce(H) >= 1;
}

function recurrenceConstants(H: number, lanes: number): Record<string, number> {
  const { chunk4, chunks } = chunking(H);
  const STAGES = Math.ceil(8 * chunk4 / lanes);
  return {
    H,
    LANES: lanes,
    CHUNK4: chunk4,
    CHUNKS: chunks,
    STAGES,
    TILE: STAGES * lanes,
  };
}

/** The forward kernel of GPUs: h[t-1] waits in workgroup memory. */
function tiledForward(packing: TracedPacking, H: number, bias: boolean): Dispatch {
  const LANES = lanesFor(H, 64);
  return {
    kernel: "lstm",
    constants: { ...recurrenceConstants(H, LANES), BIAS: bias ? 1 : 0 },
    bindings: [
      { iteration: true, access: "uniform" },
      { input: 0, access: "read" },
      { input: bias ? 2 : 0, access: "read" },
      { output: 0, access: "write" },
      { output: 1, access: "write" },
      { output: 2, access: "write" },
      { input: 1, access: "read" },
    ],
    rows: { packing },
    each: { stepsOf: packing, reversed: false },
    grid: ({ active }) => [Math.ceil(H / LANES), Math.ceil(active / 8), 1],
  };
}

/** The forward kernel of software adapters. */
function windowedForward(packing: TracedPacking, H: number, bias: boolean): Dispatch {
  const PART = unitsAtOnce(H), LANES = 8;
  const parts = partsOf(H, PART);
  return {
    kernel: "lstm_windowed",
    windowed: true,
    constants: { H, PART, LANES, BIAS: bias ? 1 : 0 },
    bindings: [
      { iteration: true, access: "uniform" },
      { parts, access: "uniform" },
      movingWindowOf({ input: 0 }, 4 * H, "rows"),
      movingWindowOf(stateOf(packing, "h", H, "before"), H, "block"),
      movingWindowOf(stateOf(packing, "c", H, "before"), H, "block"),
      windowOf({ input: bias ? 2 : 0 }, 1),
      { output: 0, access: "write" },
      { output: 1, access: "write" },
      { output: 2, access: "write" },
      { ...stateOf(packing, "h", H, "now"), access: "write" },
      { ...stateOf(packing, "c", H, "now"), access: "write" },
      ...[0, 1, 2, 3].map((gate) => windowOf({ input: 1 }, H, gate * H, PART)),
    ],
    rows: { packing },
    each: { stepsOf: packing, reversed: false, block: sequencesAtOnce(H) },
    parts: parts.length,
    grid: ({ active }) => [Math.ceil(PART / 4 / LANES), Math.ceil(active / 8), 1],
  };
}

const recurrence: Operation = {
  name: "lstm",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const H = node.inputs[1].shape[1];
    const packing = node.inputs[0].packing!;
    const bias = node.inputs.length > 2;
    const forward = straight && windowed(H) ? windowedForward : tiledForward;
    return [forward(packing, H, bias)];
  },
  vjp(node: Node, [dh, dc]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
    if (dc !== undefined) {
      throw new TypeError("Cannot differentiate with respect to an LSTM's cell states");
    }
    if (dh === undefined) return [];
    const [h, c, gates] = node.outputs;
    const [xw, weight] = node.inputs;
    const B = xw.packing!.batch, H = weight.shape[1];
    const [dz] = record(backward, [dh, c, gates, transposeGroups(weight, 4)], {}, [
      xw,
      { shape: [B, H], dtype: "f32" },
    ]);
    const before = record(previousRows, [h], {}, [h])[0];
    return [dz, ...weightGradients(dz, before, weight, node.inputs[2])];
  },
};

/** The backward kernel of GPUs: dz[t+1] waits in workgroup memory. */
function tiledBackward(packing: TracedPacking, H: number): Dispatch {
  const LANES = lanesFor(H, 64);
  return {
    kernel: "lstm_backward",
    constants: recurrenceConstants(H, LANES),
    bindings: [
      { iteration: true, access: "uniform" },
      { input: 0, access: "read" },
      { input: 1, access: "read" },
      { input: 2, access: "read" },
      { output: 1, access: "write" },
      { output: 0, access: "write" },
      { input: 3, access: "read" },
    ],
    rows: { packing },
    each: { stepsOf: packing, reversed: true },
    grid: ({ active }) => [Math.ceil(H / LANES), Math.ceil(active / 8), 1],
  };
}

/** The backward kernel of software adapters. */
function windowedBackward(packing: TracedPacking, H: number): Dispatch {
  const PART = unitsAtOnce(H), LANES = 8;
  const GROUPS = PART >= 64 ? 2 : 1;
  const parts = partsOf(H, PART);
  return {
    kernel: "lstm_backward_windowed",
    windowed: true,
    constants: { H, PART, LANES, GROUPS },
    bindings: [
      { iteration: true, access: "uniform" },
      { parts, access: "uniform" },
      movingWindowOf({ input: 0 }, H, "rows"),
      movingWindowOf({ input: 1 }, H, "rows"),
      movingWindowOf({ input: 1 }, H, "previousRows"),
      movingWindowOf({ input: 2 }, 4 * H, "rows"),
      movingWindowOf(stateOf(packing, "dz", 4 * H, "before"), 4 * H, "block"),
      movingWindowOf(stateOf(packing, "carry", H, "before"), H, "block"),
      { output: 0, access: "write" },
      { ...stateOf(packing, "dz", 4 * H, "now"), access: "write" },
      { ...stateOf(packing, "carry", H, "now"), access: "write" },
      ...[0, 1, 2, 3].map((gate) => windowOf({ input: 3 }, H, gate * H, PART)),
    ],
    rows: { packing },
    each: { stepsOf: packing, reversed: true, block: sequencesAtOnce(H) },
    parts: parts.length,
    grid: ({ active }) => [Math.ceil(PART / (4 * GROUPS) / LANES), Math.ceil(active / 8), 1],
  };
}

const backward: Operation = {
  name: "lstm_backward",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const H = node.inputs[3].shape[1];
    const packing = node.inputs[0].packing!;
    return [straight && windowed(H) ? windowedBackward(packing, H) : tiledBackward(packing, H)];
  },
};

const previousRows: Operation = {
  name: "previous_rows",
  lower(node: Node): readonly Dispatch[] {
    const [x] = node.inputs;
    const packing = x.packing as TracedPacking;
    const H = x.shape[1];
    return [{
      kernel: "previous_rows",
      constants: { H },
      bindings: [
        { extent: { packing }, access: "uniform" },
        { previousRows: packing, access: "read" },
        { input: 0, access: "read" },
        { output: 0, access: "write" },
      ],
      rows: { packing },
      grid: ({ rows }) => elementGrid(rows * Math.ceil(H / 4)),
    }];
  },
};

/** Parameters of one LSTM layer in PyTorch's layout; gate order i, f, g, o. */
export interface LstmParams {
  /** [4H,I]. */
  readonly weightIh: Tensor;
  /** [4H,H]. */
  readonly weightHh: Tensor;
  /** [4H]. */
  readonly biasIh?: Tensor;
  /** [4H]. */
  readonly biasHh?: Tensor;
}

/**
 * One LSTM layer over packed sequences, from zero states (Hochreiter and Schmidhuber 1997). Steps
 * past a sequence's end are neither computed nor seen.
 *
 * @param x Packed rows, [N,I].
 * @returns The hidden state of every step, packed rows [N,H].
 * @throws {TypeError} If `x` is not packed or the shapes do not fit.
 */
export function lstm(x: Tensor, params: LstmParams): Tensor {
  const from = traced(x, "run an LSTM over");
  const { weightIh, weightHh, biasIh, biasHh } = params;
  const H = weightHh.shape[1];
  if (from.packing === undefined) {
    throw new TypeError(
      `Cannot run an LSTM over ${formatShape(x.shape)}: make its rows with packed()`,
    );
  }
  if (weightHh.shape.length !== 2 || weightHh.shape[0] !== 4 * H || weightIh.shape[0] !== 4 * H) {
    throw new TypeError(
      `Cannot run an LSTM with weights ${formatShape(weightIh.shape)} and ` +
        `${formatShape(weightHh.shape)}: give [4H,I] and [4H,H]`,
    );
  }
  const xw = linear(x, weightIh, biasIh);
  if (biasHh !== undefined && biasHh.shape[0] !== 4 * H) {
    throw new TypeError(`Cannot add a bias of ${formatShape(biasHh.shape)} to ${4 * H} gates`);
  }
  const state = { shape: [x.shape[0], H], dtype: "f32", packing: from.packing } as const;
  const inputs = biasHh === undefined ? [xw, weightHh] : [xw, weightHh, biasHh];
  return record(recurrence, inputs, {}, [state, state, traced(xw, "run an LSTM over")])[0];
}
