import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
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
import { backwardWeight, linear } from "./linear.ts";
import { sumRows } from "./sum_rows.ts";
import { transposeGroups } from "./transpose.ts";
import { chunking, fitsWindow, lanesFor, weightBindings } from "./windows.ts";

/**
 * Largest hidden size that a straight-line kernel is written out for: past it the code outgrows the
 * processor's instruction cache.
 */
const STRAIGHT_LIMIT = 128;

/** Whether each gate's part of `W_hh` [4H,H] can be read through a uniform window. */
function gatesFit(H: number): boolean {
  return [0, 1, 2, 3].every((gate) => fitsWindow(gate * H, H, H));
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

const recurrence: Operation = {
  name: "lstm",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const H = node.inputs[1].shape[1];
    const packing = node.inputs[0].packing!;
    const bias = node.inputs.length > 2;
    const LANES = lanesFor(H, 64);
    const written = straight && H <= STRAIGHT_LIMIT;
    const windows = written && gatesFit(H) ? [0, H, 2 * H, 3 * H] : undefined;
    return [{
      kernel: "lstm",
      constants: { ...recurrenceConstants(H, LANES), BIAS: bias ? 1 : 0 },
      bindings: [
        { iteration: true, access: "uniform" },
        { input: 0, access: "read" },
        { input: bias ? 2 : 0, access: "read" },
        { output: 0, access: "write" },
        { output: 1, access: "write" },
        { output: 2, access: "write" },
        ...weightBindings({ input: 1 }, windows, H, H),
      ],
      rows: { packing },
      each: { stepsOf: packing, reversed: false },
      grid: ({ active }) => [Math.ceil(H / LANES), Math.ceil(active / 8), 1],
      straight: written,
      uniformWeights: windows !== undefined,
    }];
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
    const dw = record(backwardWeight, [dz, before], {}, [weight])[0];
    return node.inputs.length > 2 ? [dz, dw, sumRows(dz)] : [dz, dw];
  },
};

const backward: Operation = {
  name: "lstm_backward",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const H = node.inputs[3].shape[1];
    const packing = node.inputs[0].packing!;
    const LANES = lanesFor(H, 64);
    const written = straight && H <= STRAIGHT_LIMIT;
    const windows = written && gatesFit(H) ? [0, H, 2 * H, 3 * H] : undefined;
    const constants = recurrenceConstants(H, LANES);
    const once = written && constants.CHUNKS === 1;
    return [{
      kernel: "lstm_backward",
      constants: {
        ...constants,
        ONCE: once ? 1 : 0,
        PHASES: once ? 0 : 1,
        GATE: once ? constants.TILE : 0,
        TILE: once ? 4 * constants.TILE : constants.TILE,
      },
      bindings: [
        { iteration: true, access: "uniform" },
        { input: 0, access: "read" },
        { input: 1, access: "read" },
        { input: 2, access: "read" },
        { output: 1, access: "write" },
        { output: 0, access: "write" },
        ...weightBindings({ input: 3 }, windows, H, H),
      ],
      rows: { packing },
      each: { stepsOf: packing, reversed: true },
      grid: ({ active }) => [Math.ceil(H / LANES), Math.ceil(active / 8), 1],
      straight: written,
      uniformWeights: windows !== undefined,
    }];
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
      grid: ({ rows }) => elementGrid(rows * H),
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
