/**
 * One LSTM layer over packed rows in float64, in plain loops.
 *
 *     z = weightIh x[t] + biasIh + weightHh h[t-1] + biasHh      4H, in the order i f g o
 *     i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o);  g = tanh(z_g)
 *     c[t] = f c[t-1] + i g;  h[t] = o tanh(c[t])
 *
 * (Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 1999; PyTorch's layout.)
 *
 * @module
 */
import { lastRows, type Packing } from "../../src/core/packing.ts";

/** Weights of a layer: weightIh [4H,I], weightHh [4H,H], biasIh [4H], biasHh [4H]. */
export interface LstmWeights {
  readonly weightIh: Float64Array;
  readonly weightHh: Float64Array;
  readonly biasIh: Float64Array;
  readonly biasHh: Float64Array;
}

/** State before the first step, [B,H] each, in the caller's order; zeros if absent. */
export interface LstmInitial {
  readonly h0?: Float64Array;
  readonly c0?: Float64Array;
}

/** What {@linkcode lstm} computes. */
export interface LstmOutputs {
  /** Hidden state of every packed row, [N,H]. */
  readonly h: Float64Array;
  /** Cell state of every packed row, [N,H]. */
  readonly c: Float64Array;
  /** Gates after their nonlinearities, [N,4H]. */
  readonly gates: Float64Array;
  /** Hidden state after each sequence's last step, [B,H], in the caller's order. */
  readonly hN: Float64Array;
  /** Cell state after each sequence's last step, [B,H], in the caller's order. */
  readonly cN: Float64Array;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** State before step t of the j-th longest sequence: packed rows, or the initial state. */
function before(
  packing: Packing,
  t: number,
  j: number,
  H: number,
  rows: Float64Array,
  initial: Float64Array | undefined,
): Float64Array {
  if (t > 0) {
    const row = packing.offsets[t - 1] + j;
    return rows.subarray(row * H, (row + 1) * H);
  }
  const b = packing.order[j];
  return initial?.subarray(b * H, (b + 1) * H) ?? new Float64Array(H);
}

/** One layer forward; x [N,I] in packed rows. */
export function lstm(
  x: Float64Array,
  weights: LstmWeights,
  packing: Packing,
  initial: LstmInitial = {},
): LstmOutputs {
  const { weightIh, weightHh, biasIh, biasHh } = weights;
  const { batchSizes, offsets, lengths } = packing;
  const H = biasIh.length / 4, I = weightIh.length / (4 * H);
  const N = offsets[batchSizes.length], B = lengths.length;
  const h = new Float64Array(N * H), c = new Float64Array(N * H);
  const gates = new Float64Array(N * 4 * H);
  for (let t = 0; t < batchSizes.length; t++) {
    for (let j = 0; j < batchSizes[t]; j++) {
      const row = offsets[t] + j;
      const hBefore = before(packing, t, j, H, h, initial.h0);
      const cBefore = before(packing, t, j, H, c, initial.c0);
      for (let k = 0; k < 4 * H; k++) {
        let z = biasIh[k] + biasHh[k];
        for (let i = 0; i < I; i++) z += weightIh[k * I + i] * x[row * I + i];
        for (let i = 0; i < H; i++) z += weightHh[k * H + i] * hBefore[i];
        const isCandidate = k >= 2 * H && k < 3 * H;
        gates[row * 4 * H + k] = isCandidate ? Math.tanh(z) : sigmoid(z);
      }
      for (let k = 0; k < H; k++) {
        const at = row * 4 * H + k;
        const i = gates[at], f = gates[at + H], g = gates[at + 2 * H], o = gates[at + 3 * H];
        c[row * H + k] = f * cBefore[k] + i * g;
        h[row * H + k] = o * Math.tanh(c[row * H + k]);
      }
    }
  }
  const hN = new Float64Array(B * H), cN = new Float64Array(B * H);
  lastRows(packing).forEach((row, b) => {
    hN.set(h.subarray(row * H, (row + 1) * H), b * H);
    cN.set(c.subarray(row * H, (row + 1) * H), b * H);
  });
  return { h, c, gates, hN, cN };
}

/** Cotangents of {@linkcode lstm}'s outputs; zeros if absent. */
export interface LstmCotangents {
  /** [N,H] in packed rows. */
  readonly dh?: Float64Array;
  /** [B,H] in the caller's order. */
  readonly dhN?: Float64Array;
  /** [B,H] in the caller's order. */
  readonly dcN?: Float64Array;
}

/** Gradients of {@linkcode lstm}, each of the shape of what it belongs to. */
export interface LstmGradients {
  readonly dx: Float64Array;
  readonly dweightIh: Float64Array;
  readonly dweightHh: Float64Array;
  readonly dbiasIh: Float64Array;
  readonly dbiasHh: Float64Array;
  readonly dh0: Float64Array;
  readonly dc0: Float64Array;
}

/** Backpropagation through time; `outputs` is what {@linkcode lstm} gave for the same inputs. */
export function lstmBackward(
  x: Float64Array,
  weights: LstmWeights,
  packing: Packing,
  outputs: LstmOutputs,
  cotangents: LstmCotangents,
  initial: LstmInitial = {},
): LstmGradients {
  const { weightIh, weightHh, biasIh } = weights;
  const { batchSizes, offsets, order, lengths } = packing;
  const { h, c, gates } = outputs;
  const H = biasIh.length / 4, I = weightIh.length / (4 * H), B = lengths.length;
  const dx = new Float64Array(x.length);
  const dweightIh = new Float64Array(weightIh.length);
  const dweightHh = new Float64Array(weightHh.length);
  const dbias = new Float64Array(4 * H);
  // Cotangents of the state between steps, by sequence in the caller's order.
  const dhState = cotangents.dhN?.slice() ?? new Float64Array(B * H);
  const dcState = cotangents.dcN?.slice() ?? new Float64Array(B * H);
  for (let t = batchSizes.length - 1; t >= 0; t--) {
    for (let j = 0; j < batchSizes[t]; j++) {
      const row = offsets[t] + j, b = order[j];
      const hBefore = before(packing, t, j, H, h, initial.h0);
      const cBefore = before(packing, t, j, H, c, initial.c0);
      const dz = new Float64Array(4 * H);
      for (let k = 0; k < H; k++) {
        const at = row * 4 * H + k;
        const i = gates[at], f = gates[at + H], g = gates[at + 2 * H], o = gates[at + 3 * H];
        const tanhC = Math.tanh(c[row * H + k]);
        const dh = dhState[b * H + k] + (cotangents.dh?.[row * H + k] ?? 0);
        const dc = dcState[b * H + k] + dh * o * (1 - tanhC * tanhC);
        dz[k] = dc * g * i * (1 - i);
        dz[k + H] = dc * cBefore[k] * f * (1 - f);
        dz[k + 2 * H] = dc * i * (1 - g * g);
        dz[k + 3 * H] = dh * tanhC * o * (1 - o);
        dcState[b * H + k] = dc * f;
        dhState[b * H + k] = 0;
      }
      for (let k = 0; k < 4 * H; k++) {
        dbias[k] += dz[k];
        for (let i = 0; i < I; i++) {
          dx[row * I + i] += dz[k] * weightIh[k * I + i];
          dweightIh[k * I + i] += dz[k] * x[row * I + i];
        }
        for (let i = 0; i < H; i++) {
          dhState[b * H + i] += dz[k] * weightHh[k * H + i];
          dweightHh[k * H + i] += dz[k] * hBefore[i];
        }
      }
    }
  }
  return {
    dx,
    dweightIh,
    dweightHh,
    dbiasIh: dbias,
    dbiasHh: dbias.slice(),
    dh0: dhState,
    dc0: dcState,
  };
}
