import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Binding, BufferReference, Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Target,
  type Traced,
  traced,
  type TracedPacking,
} from "../graph/graph.ts";
import { add } from "./binary.ts";
import { type Gathered, gatherRows } from "./gather_rows.ts";
import { linear, weightGradients } from "./linear.ts";
import { scale } from "./scale.ts";
import { transpose, transposed } from "./transpose.ts";
import { chunking, lanesFor, writtenRows } from "./tiling.ts";

/** Most turns of the loops of a kernel: software adapters stop them after 65,535 in all. */
const MOST_TURNS = 60_000;

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

/** What a recurrence is given beside the gates' inputs and the recurrent weights. */
interface Given {
  /** Position of the second bias among the inputs, if there is one. */
  readonly bias?: number;
  /** Position of the first cell states, [B,H] in the order of the rows, if they are not zero. */
  readonly cells?: number;
}

/** The forward kernel of GPUs: h[t-1] waits in workgroup memory. */
function tiledForward(packing: TracedPacking, H: number, { bias, cells }: Given): Dispatch {
  const LANES = lanesFor(H, 64);
  return {
    kernel: "lstm",
    constants: {
      ...recurrenceConstants(H, LANES),
      BIAS: bias === undefined ? 0 : 1,
      CELLS: cells === undefined ? 0 : 1,
    },
    bindings: [
      { iteration: true, access: "uniform" },
      { input: 0, access: "read" },
      { input: bias ?? 0, access: "read" },
      { output: 0, access: "write" },
      { output: 1, access: "write" },
      { output: 2, access: "write" },
      { input: 1, access: "read" },
      ...(cells === undefined ? [] : [{ input: cells, access: "read" } as const]),
    ],
    rows: { packing },
    each: { stepsOf: packing, reversed: false },
    grid: ({ active }) => [Math.ceil(H / LANES), Math.ceil(active / 8), 1],
  };
}

/** Where each gate's part of the recurrent weights is transposed, [4,H,H]. */
const turned = (H: number): BufferReference => ({ scratch: "w transposed", size: 4 * H * H });

/** Columns with room for whole groups of 4. */
const inFours = (H: number): number => 4 * Math.ceil(H / 4);

/** How the kernels of software adapters share the work. */
function shares(H: number, { batch }: TracedPacking): Record<string, number> {
  const fours = Math.ceil(H / 32);
  // Of 256 invocations, which every adapter allows in a workgroup, each has at least so many.
  const GROUPS = Math.max(Math.min(2, fours), Math.ceil(H / 1024));
  const ROWS = Math.min(8, 2 ** Math.ceil(Math.log2(batch)));
  return { H, GROUPS, LANES: 8 * Math.ceil(fours / GROUPS), ROWS };
}

/** Sequences, in whole groups of those that a workgroup takes. */
const inGroups = ({ batch }: TracedPacking, { ROWS }: Record<string, number>): number =>
  Math.ceil(batch / ROWS) * ROWS;

/**
 * Workgroups for so many sequences: twice as many as are needed. Threads are given equal numbers of
 * workgroups, but each takes its next sequences only when it is done with others, so that one can take
 * the longest and another all the rest.
 */
const workgroups = (ROWS: number): Dispatch["grid"] => ({ active }) => [
  2 * Math.ceil(active / ROWS),
  1,
  1,
];

/**
 * How a matrix [N,4H] is written, and the most steps of a launch, each of which takes so many turns of
 * the kernel's loops.
 */
function writing(
  turns: number,
  { batch, capacity }: TracedPacking,
  H: number,
  target: Target,
): { readonly most: number; readonly parts: Pick<Binding, "ofRows"> } {
  const { most, parts } = writtenRows([capacity, 4 * H], batch, target);
  const steps = Math.max(1, Math.floor(MOST_TURNS / turns));
  return { most: Math.min(steps, Math.floor(most / batch)), parts };
}

/** The forward kernel of software adapters. */
function imageForward(
  packing: TracedPacking,
  H: number,
  { bias, cells }: Given,
  target: Target,
): Dispatch {
  const constants = shares(H, packing);
  const { most, parts } = writing(1 + Math.ceil(H / 4), packing, H, target);
  const B = inGroups(packing, constants);
  return {
    kernel: "lstm_image",
    constants: {
      ...constants,
      BIAS: bias === undefined ? 0 : 1,
      CELLS: cells === undefined ? 0 : 1,
    },
    bindings: [
      { iteration: true, access: "uniform" },
      { rowIndex: "eachStep", of: packing, access: "read" },
      { input: 0, access: "image" },
      { ...turned(H), access: "image" },
      { input: bias ?? 1, access: "image" },
      { scratch: "h", size: 2 * B * H, access: "exchange" },
      { scratch: "c", size: B * inFours(H), access: "write" },
      { output: 0, access: "write" },
      { output: 1, access: "write" },
      { output: 2, access: "write", ...parts },
      { counter: true, access: "write" },
      ...(cells === undefined ? [] : [{ input: cells, access: "read" } as const]),
    ],
    rows: { packing },
    each: { stepsOf: packing, most, reversed: false },
    grid: workgroups(constants.ROWS),
  };
}

const recurrence: Operation = {
  name: "lstm",
  lower({ inputs, attributes }: Node, target: Target): readonly Dispatch[] {
    const H = inputs[1].shape[1], packing = inputs[0].packing!;
    if (!target.straight) {
      return [tiledForward(packing, H, attributes as Given)];
    }
    return [
      transposed({ input: 1 }, turned(H), [4, H, H], target),
      imageForward(packing, H, attributes as Given, target),
    ];
  },
  vjp(
    { inputs, outputs: [h, c, gates], attributes }: Node,
    [fromOutside, dc]: readonly (Traced | undefined)[],
  ): readonly (Traced | undefined)[] {
    const dh = fromOutside ?? (dc === undefined ? undefined : traced(scale(dc, 0), "scale"));
    if (dh === undefined) return [];
    const [xw, weight] = inputs;
    const { bias, cells } = attributes as Given;
    const packing = xw.packing!;
    const B = packing.batch, H = weight.shape[1];
    const more = [
      ...(dc === undefined ? [] : [dc]),
      ...(cells === undefined ? [] : [inputs[cells]]),
    ];
    const places = {
      ...(dc === undefined ? {} : { later: 4 }),
      ...(cells === undefined ? {} : { cells: 4 + more.length - 1 }),
    };
    const [dz, dCells] = record(
      backward,
      [dh, c, gates, weight, ...more],
      places,
      [xw, { shape: [B, H], dtype: "f32" }],
    );
    const before = gatherRows(h, "previous", packing);
    const biases = bias === undefined ? undefined : inputs[bias];
    const ofWeights = weightGradients(dz, before, weight, biases);
    return [dz, ...ofWeights, ...(cells === undefined ? [] : [dCells])];
  },
};

/** What a backward recurrence is given beside the cotangents of the hidden states. */
interface GivenBackward {
  /** Position of the cotangents of the cell states, [N,H], if there are any. */
  readonly later?: number;
  /** Position of the first cell states, if they are not zero. */
  readonly cells?: number;
}

/** The backward kernel of GPUs: dz[t+1] waits in workgroup memory. */
function tiledBackward(packing: TracedPacking, H: number, given: GivenBackward): Dispatch {
  const LANES = lanesFor(H, 64);
  return {
    kernel: "lstm_backward",
    constants: { ...recurrenceConstants(H, LANES), ...flags(given) },
    bindings: [
      { iteration: true, access: "uniform" },
      { input: 0, access: "read" },
      { input: 1, access: "read" },
      { input: 2, access: "read" },
      { output: 1, access: "write" },
      { output: 0, access: "write" },
      { ...turned(H), access: "read" },
      ...optional(given),
    ],
    rows: { packing },
    each: { stepsOf: packing, reversed: true },
    grid: ({ active }) => [Math.ceil(H / LANES), Math.ceil(active / 8), 1],
  };
}

/** The backward kernel of software adapters. */
function imageBackward(
  packing: TracedPacking,
  H: number,
  given: GivenBackward,
  target: Target,
): Dispatch {
  const constants = shares(H, packing);
  const { most, parts } = writing(2 + H, packing, H, target);
  const B = inGroups(packing, constants);
  return {
    kernel: "lstm_backward_image",
    constants: { ...constants, ...flags(given) },
    bindings: [
      { iteration: true, access: "uniform" },
      { rowIndex: "eachStep", of: packing, access: "read" },
      { input: 0, access: "image" },
      { input: 1, access: "image" },
      { input: 2, access: "image" },
      { input: 3, access: "image" },
      { scratch: "dz", size: 2 * B * 4 * H, access: "exchange" },
      { scratch: "carry", size: B * inFours(H), access: "write" },
      { output: 0, access: "write", ...parts },
      { counter: true, access: "write" },
      ...optional(given),
      ...(given.cells === undefined ? [] : [{ output: 1, access: "write" } as const]),
    ],
    rows: { packing },
    each: { stepsOf: packing, most, reversed: true },
    grid: workgroups(constants.ROWS),
  };
}

function flags({ later, cells }: GivenBackward): Record<string, number> {
  const LATER = later === undefined ? 0 : 1;
  return { LATER, CELLS: cells === undefined ? 0 : 1 };
}

/** Bindings of what is given, or something else in its place, so that both have their numbers. */
function optional({ later, cells }: GivenBackward): readonly Binding[] {
  if (later === undefined && cells === undefined) return [];
  return [{ input: later ?? cells!, access: "read" }, { input: cells ?? later!, access: "read" }];
}

const backward: Operation = {
  name: "lstm_backward",
  lower({ inputs, attributes }: Node, target: Target): readonly Dispatch[] {
    const H = inputs[3].shape[1], packing = inputs[0].packing!;
    if (target.straight) {
      return [imageBackward(packing, H, attributes as GivenBackward, target)];
    }
    return [
      transposed({ input: 3 }, turned(H), [4, H, H], target),
      tiledBackward(packing, H, attributes as GivenBackward),
    ];
  },
};

/** Parameters of one LSTM layer in PyTorch's layout; gate order i, f, g, o. P is H, or `proj_size`. */
export interface LstmParams {
  /** [4H,I]. */
  readonly weightIh: Tensor;
  /** [4H,P]. */
  readonly weightHh: Tensor;
  /** [4H]; absent with `bias=False`. */
  readonly biasIh?: Tensor;
  /** [4H]; absent with `bias=False`. */
  readonly biasHh?: Tensor;
  /** [P,H]: projects the hidden states (Sak, Senior and Beaufays 2014). */
  readonly weightHr?: Tensor;
}

/** States of an LSTM layer between steps, in the order in which the sequences were packed. */
export interface LstmState {
  /** Hidden states, [B,P]. */
  readonly h: Tensor;
  /** Cell states, [B,H]. */
  readonly c: Tensor;
}

/** How an LSTM layer runs. */
export interface LstmOptions {
  /** States before the first step; default zeros. Gradients flow to them. */
  readonly initial?: LstmState;
  /** Whether sequences run from their last step to their first. */
  readonly reversed?: boolean;
}

/** What an LSTM layer gives. */
export interface LstmResult {
  /** Hidden states of every step, packed rows [N,P]. */
  readonly output: Tensor;
  /** States after the last step of each sequence; with `reversed` after its first. */
  readonly final: LstmState;
}

/**
 * One LSTM layer over packed sequences (Hochreiter and Schmidhuber 1997), as `torch.nn.LSTM`. Steps
 * past a sequence's end are neither computed nor seen.
 *
 * @param x Packed rows, [N,I].
 * @throws {TypeError} If `x` is not packed or the shapes do not fit.
 *
 * @example
 * ```ts
 * import { initLstm, lstm, openDevice, pack, packed, randomKey, read, run } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const x = packed(pack([3, 1]), new Float32Array(4 * 2).fill(0.5), [2]);
 * const [params] = initLstm(randomKey(1), { inputSize: 2, hiddenSize: 3, layers: 1 });
 * const { output, final } = await read(run(device, lstm)(x, params));
 * console.log(output.shape, final.h.shape); // [ 4, 3 ] [ 2, 3 ]
 * ```
 */
export function lstm(x: Tensor, params: LstmParams, options: LstmOptions = {}): LstmResult {
  const { packing } = traced(x, "run an LSTM over");
  if (packing === undefined) {
    throw new TypeError(
      `Cannot run an LSTM over ${formatShape(x.shape)}: make its rows with packed()`,
    );
  }
  const { reversed = false, initial } = options;
  const { weightIh, biasIh } = params;
  checkShapes(params, weightIh.shape[0] / 4, packing.batch, initial);
  const input = reversed ? gatherRows(traced(x, "run an LSTM over"), "reversed", packing) : x;
  return recur(traced(linear(input, weightIh, biasIh), "run an LSTM over"), params, options);
}

/**
 * One LSTM layer over what its input adds to the gates, `W_ih x + b_ih`: for inputs of which that is
 * known without a product, such as rows of a table.
 *
 * @param gates Packed rows, [N,4H], gate order i, f, g, o.
 * @param initial States before the first step; default zeros.
 * @throws {TypeError} If `gates` is not packed or the shapes do not fit.
 */
export function lstmOverGates(
  gates: Tensor,
  params: Pick<LstmParams, "weightHh" | "biasHh">,
  initial?: LstmState,
): LstmResult {
  const { packing, shape } = traced(gates, "run an LSTM over");
  if (packing === undefined || shape.length !== 2) {
    throw new TypeError(
      `Cannot run an LSTM over gates ${formatShape(shape)}: give [N,4H], made with packed()`,
    );
  }
  // As if the input were the gates and its weights the identity.
  const weightIh = { shape: [shape[1], shape[1]], dtype: "f32" } as const;
  checkShapes({ ...params, weightIh }, shape[1] / 4, packing.batch, initial);
  return recur(traced(gates, "run an LSTM over"), params, { initial });
}

/** The recurrence over what the input adds to the gates, [N,4H], in the order of its steps. */
function recur(
  fromInput: Traced,
  { weightHh, biasHh, weightHr }: Omit<LstmParams, "weightIh" | "biasIh">,
  { reversed = false, initial }: LstmOptions,
): LstmResult {
  const packing = fromInput.packing!;
  const H = fromInput.shape[1] / 4;
  const rows = (t: Tensor, index: Gathered): Traced =>
    gatherRows(traced(t, "run an LSTM over"), index, packing);
  // What the first hidden states add to the gates of the first steps.
  const xw = initial === undefined
    ? fromInput
    : add(fromInput, rows(linear(initial.h, weightHh), "starts"));
  // z = W_hh (W_hr m) = (W_hh W_hr) m, with m the hidden states before projection.
  const recurrent = weightHr === undefined ? weightHh : linear(weightHh, transpose(weightHr));
  const inputs = [xw, recurrent, ...(biasHh === undefined ? [] : [biasHh])];
  const given = {
    ...(biasHh === undefined ? {} : { bias: 2 }),
    ...(initial === undefined ? {} : { cells: inputs.length }),
  };
  if (initial !== undefined) inputs.push(rows(initial.c, "order"));
  const state = { shape: [fromInput.shape[0], H], dtype: "f32", packing } as const;
  const [m, c] = record(recurrence, inputs.map((t) => traced(t, "run an LSTM over")), given, [
    ...[state, state],
    traced(xw, "run an LSTM over"),
  ]);
  const h = weightHr === undefined ? m : linear(m, weightHr);
  return {
    output: reversed ? rows(h, "reversed") : h,
    final: { h: rows(h, "lasts"), c: rows(c, "lasts") },
  };
}

function checkShapes(
  { weightIh, weightHh, biasIh, biasHh, weightHr }: LstmParams,
  H: number,
  B: number,
  initial: LstmState | undefined,
): void {
  const P = weightHr?.shape[0] ?? H;
  const fits = (t: Tensor | undefined, shape: readonly number[]): boolean =>
    t === undefined || t.shape.length === shape.length && t.shape.every((n, i) => n === shape[i]);
  if (weightIh.shape.length !== 2 || !fits(weightHh, [4 * H, P]) || !fits(weightHr, [P, H])) {
    const shapes = [weightIh, weightHh, ...(weightHr === undefined ? [] : [weightHr])]
      .map(({ shape }) => formatShape(shape));
    throw new TypeError(
      `Cannot run an LSTM with weights ${
        shapes.join(" and ")
      }: give [4H,I] and [4H,H], or with a ` +
        "projection [4H,I], [4H,P] and [P,H]",
    );
  }
  for (const bias of [biasIh, biasHh]) {
    if (!fits(bias, [4 * H])) {
      throw new TypeError(`Cannot add a bias of ${formatShape(bias!.shape)} to ${4 * H} gates`);
    }
  }
  if (initial !== undefined && !(fits(initial.h, [B, P]) && fits(initial.c, [B, H]))) {
    throw new TypeError(
      `Cannot start an LSTM from h ${formatShape(initial.h.shape)} and c ${
        formatShape(initial.c.shape)
      }: give [${B},${P}] and [${B},${H}]`,
    );
  }
}
