import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { pack, packed, packedRows } from "../src/core/packing.ts";
import { normal, randomKey } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import type { Device } from "../src/gpu/device.ts";
import type { Traced } from "../src/graph/graph.ts";
import { lstmFromTorch, lstmLayers } from "../src/nn/lstm_layers.ts";
import { add, mul } from "../src/ops/binary.ts";
import { dropout } from "../src/ops/dropout.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { lstm, type LstmParams, type LstmState } from "../src/ops/lstm.ts";
import { scale } from "../src/ops/scale.ts";
import { splitKey } from "../src/ops/split_key.ts";
import { sum } from "../src/ops/sum.ts";
import { compile, run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import { compareLstm, stateAt } from "./golden_lstm.ts";
import { assertClose } from "./reference/compare.ts";
import { readLstmGoldens } from "./reference/golden.ts";
import * as oracle from "./reference/lstm.ts";

const random = (seed: number, n: number, scale = 1): Float32Array =>
  Float32Array.from(normal(randomKey(seed), n), (v) => scale * v);
const f64 = (a: ArrayLike<number>): Float64Array => Float64Array.from(a);

/** The layer and its vector-Jacobian product, as one traced function. */
function layerAndGradients(x: Tensor, p: Record<string, Tensor>, dh: Tensor): unknown {
  const { weightIh, weightHh, biasIh, biasHh } = p;
  const h = lstm(x, { weightIh, weightHh, biasIh, biasHh }).output as Traced;
  const [dxw, dWeightHh, dBiasHh] = h.node.operation.vjp!(h.node, [dh as Traced]);
  const xw = h.node.inputs[0];
  const [dx, dWeightIh, dBiasIh] = xw.node.operation.vjp!(xw.node, [dxw]);
  return { h, dx, dWeightIh, dWeightHh, dBiasIh, dBiasHh };
}

// Sizes are few, and most are those of the golden cases below: a software adapter takes seconds to
// compile the straight-line kernels of each. Batches around the 8 rows of a tile need no new ones.
for (
  const { I, H, lengths } of [
    { I: 1, H: 1, lengths: [1] },
    { I: 3, H: 5, lengths: [2, 4, 1] },
    ...[7, 8, 9].map((B) => ({ I: 3, H: 5, lengths: Array.from({ length: B }, () => 2) })),
    { I: 3, H: 5, lengths: [400, 2] },
    { I: 7, H: 17, lengths: [9, 1, 9, 3, 5] },
    { I: 33, H: 32, lengths: Array.from({ length: 9 }, (_, b) => 1 + b % 4) },
    { I: 5, H: 65, lengths: Array.from({ length: 20 }, (_, b) => 1 + 7 * b % 11) },
    { I: 32, H: 128, lengths: Array.from({ length: 33 }, (_, b) => 1 + 5 * b % 17) },
    // More steps than a launch of the kernels for software adapters takes, forward and backward.
    { I: 32, H: 128, lengths: [1900, 700, 461, 2, 1] },
    { I: 40, H: 130, lengths: [3, 2, 6] },
  ]
) {
  deviceTest(
    `lstm ${I} to ${H} over ${lengths.length} sequences and its gradients`,
    async (device) => {
      const packing = pack(lengths);
      const N = packedRows(packing);
      const x = random(1, N * I), dh = random(2, N * H);
      const scale = 1 / Math.sqrt(H);
      const w = {
        weightIh: random(3, 4 * H * I, scale),
        weightHh: random(4, 4 * H * H, scale),
        biasIh: random(5, 4 * H, scale),
        biasHh: random(6, 4 * H, scale),
      };
      const params: Record<string, HostTensor> = {
        weightIh: tensor(w.weightIh, [4 * H, I]),
        weightHh: tensor(w.weightHh, [4 * H, H]),
        biasIh: tensor(w.biasIh),
        biasHh: tensor(w.biasHh),
      };
      const out = await read(
        run(device, layerAndGradients)(packed(packing, x, [I]), params, packed(packing, dh, [H])),
      ) as unknown as Record<string, HostTensor>;
      const weights = {
        weightIh: f64(w.weightIh),
        weightHh: f64(w.weightHh),
        biasIh: f64(w.biasIh),
        biasHh: f64(w.biasHh),
      };
      const forward = oracle.lstm(f64(x), weights, packing);
      const g = oracle.lstmBackward(f64(x), weights, packing, forward, { dh: f64(dh) });
      assertClose(out.h.data, forward.h, 1e-5, "h");
      assertClose(out.dx.data, g.dx, 1e-5, "dx");
      assertClose(out.dWeightIh.data, g.dweightIh, 1e-5, "dWeightIh");
      assertClose(out.dWeightHh.data, g.dweightHh, 1e-5, "dWeightHh");
      assertClose(out.dBiasIh.data, g.dbiasIh, 1e-5, "dBiasIh");
      assertClose(out.dBiasHh.data, g.dbiasHh, 1e-5, "dBiasHh");
    },
  );
}

/** A device that says it can bind no more than so many bytes of a buffer. */
function binding(device: Device, maxBindingBytes: number): Device {
  const adapter = { ...device.adapter, maxBindingBytes };
  return Object.create(device, { adapter: { value: adapter } });
}

deviceTest("matrices [N,4H] that are too large to bind are written in parts", async (device) => {
  for (const [I, H] of [[3, 5], [7, 17], [33, 32]]) {
    const packing = pack(Array.from({ length: 9 }, (_, b) => 5 + 2 * b));
    const N = packedRows(packing);
    const x = packed(packing, random(1, N * I), [I]), dh = packed(packing, random(2, N * H), [H]);
    const params = {
      weightIh: tensor(random(3, 4 * H * I, 0.3), [4 * H, I]),
      weightHh: tensor(random(4, 4 * H * H, 0.3), [4 * H, H]),
      biasIh: tensor(random(5, 4 * H)),
      biasHh: tensor(random(6, 4 * H)),
    };
    // Rows that buffers are made for, twice N; a third of the matrix can be bound, more than [N,H].
    const most = 4 * Math.ceil(128 * 4 * H / 3);
    const [whole, parts] = await Promise.all(
      [device, binding(device, most)].map(async (device) =>
        await read(run(device, layerAndGradients)(x, params, dh)) as Record<string, HostTensor>
      ),
    );
    assertEquals(Object.keys(parts), Object.keys(whole));
    for (const name of Object.keys(whole)) assertEquals(parts[name].data, whole[name].data, name);
    // Where not even one step of all sequences can be, it is refused.
    const step = binding(device, 4 * 9 * 4 * H);
    assertThrows(() => run(step, layerAndGradients)(x, params, dh), InputError, "in one binding");
  }
}, "straight");

const goldens = await readLstmGoldens();
for (const golden of goldens) {
  deviceTest(`lstm layers are torch.nn.LSTM: ${golden.name}`, async (device) => {
    const { L, D, weights, h0 } = golden;
    assertEquals(lstmFromTorch(weights).length, L);
    const comparisons = await compareLstm(device, golden);
    // Of each kind y, both final states and x; of each weight and initial state a piece at least.
    const states = h0 === undefined ? 0 : 2;
    const outputs = 2 * (1 + 2 * D * L), gradients = 2 * (1 + weights.size + states);
    assert(comparisons.length >= outputs + gradients - 2 * L, `${comparisons.length}`);
    for (const { actual, expected, tolerance, what } of comparisons) {
      assertClose(actual, expected, tolerance, what);
    }
  });
}

deviceTest("a final state alone has gradients too", async (device) => {
  const golden = goldens.find(({ name }) => name === "i3_h5_l1_state")!;
  const { packing, weights, h0, c0, dcN } = golden;
  const x = packed(packing, golden.x.data, [3]);
  const [params] = lstmFromTorch(weights) as readonly LstmParams[];
  const of = (which: "both" | "cells") => (initial: LstmState, x: Tensor, dc: Tensor): Tensor => {
    const { output, final } = lstm(x, params, { initial });
    const cells = sum(mul(final.c, dc));
    return which === "cells" ? cells : add(cells, sum(scale(output, 0)));
  };
  const initial = { h: stateAt(h0!, 0), c: stateAt(c0!, 0) };
  const [alone, together] = await Promise.all(
    (["cells", "both"] as const).map((which) =>
      read(run(device, valueAndGrad(of(which)))(initial, x, stateAt(dcN, 0)))
    ),
  );
  assertEquals(alone[1].h.data, together[1].h.data);
  assertEquals(alone[1].c.data, together[1].c.data);
});

deviceTest("dropout between layers is dropout of a layer's outputs", async (device) => {
  const golden = goldens.find(({ name }) => name === "i7_h17_l2")!;
  const { packing, weights, I } = golden;
  const layers = lstmFromTorch(weights) as readonly LstmParams[];
  const both = (x: Tensor, layers: readonly LstmParams[], key: Tensor) => {
    const [one] = splitKey(key, 1);
    return {
      stack: lstmLayers(x, layers, { dropout: { rate: 0.4, key } }).output,
      byHand: lstm(dropout(lstm(x, layers[0]).output, 0.4, one), layers[1]).output,
      without: lstmLayers(x, layers).output,
    };
  };
  const { stack, byHand, without } = await read(
    run(device, both)(packed(packing, golden.x.data, [I]), layers, tensor(Uint32Array.of(3, 9))),
  );
  assertEquals(stack.data, byHand.data);
  assert(stack.data.some((value, i) => value !== without.data[i]));
});

deviceTest("a sequence in chunks gives what it gives in one call", async (device) => {
  const { weights, I, H } = goldens.find(({ name }) => name === "i7_h17_l2")!;
  const layers = lstmFromTorch(weights) as readonly LstmParams[];
  const [T, B] = [64, 3];
  const data = random(11, T * B * I);
  const zeros = layers.map(() => ({
    h: tensor(new Float32Array(B * H), [B, H]),
    c: tensor(new Float32Array(B * H), [B, H]),
  }));
  const steps = compile(
    device,
    (x: Tensor, layers: readonly LstmParams[], initial: readonly LstmState[]) =>
      lstmLayers(x, layers, { initial }),
  );
  const inChunks = async (chunk: number): Promise<Float32Array> => {
    const parts: number[] = [];
    let state: readonly LstmState[] = zeros;
    for (let t = 0; t < T; t += chunk) {
      const n = Math.min(chunk, T - t);
      // Sequences of one length: packed rows are the steps' rows one after the other.
      const rows = data.slice(t * B * I, (t + n) * B * I);
      const { output, final } = await read(
        steps(packed(pack(Array(B).fill(n)), rows, [I]), layers, state),
      );
      parts.push(...output.data);
      state = final;
    }
    return Float32Array.from(parts);
  };
  const whole = await inChunks(T);
  for (const chunk of [1, 7]) {
    const parts = await inChunks(chunk);
    // Bit for bit, but for GPUs' kernels, which add up in another order at a chunk's start.
    if (device.adapter.straight) assertEquals(parts, whole);
    else assertClose(parts, whole, 1e-6, `chunks of ${chunk}`);
  }
  steps[Symbol.dispose]();
});
