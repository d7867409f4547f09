import { assert, assertEquals } from "@std/assert";
import { pack, packed, packedRows } from "../src/core/packing.ts";
import { normal, randomKey } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import type { Traced } from "../src/graph/graph.ts";
import { lstmLayers } from "../src/nn/lstm_layers.ts";
import { mul } from "../src/ops/binary.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { lstm } from "../src/ops/lstm.ts";
import { sum } from "../src/ops/sum.ts";
import { run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import { assertClose } from "./reference/compare.ts";
import { readLstmGoldens } from "./reference/golden.ts";
import * as oracle from "./reference/lstm.ts";

const random = (seed: number, n: number, scale = 1): Float32Array =>
  Float32Array.from(normal(randomKey(seed), n), (v) => scale * v);
const f64 = (a: ArrayLike<number>): Float64Array => Float64Array.from(a);

/** The layer and its vector-Jacobian product, as one traced function. */
function layerAndGradients(x: Tensor, p: Record<string, Tensor>, dh: Tensor): unknown {
  const { weightIh, weightHh, biasIh, biasHh } = p;
  const h = lstm(x, { weightIh, weightHh, biasIh, biasHh }) as Traced;
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

// Cases with initial states wait for an LSTM that takes them, as do final states and their
// cotangents (h_n, c_n and `grad_state`).
for (const golden of (await readLstmGoldens()).filter(({ h0 }) => h0 === undefined)) {
  deviceTest(`lstm layers are torch.nn.LSTM: ${golden.name}`, async (device) => {
    const { I, H, L, packing, weights } = golden;
    const layers = Array.from({ length: L }, (_, l) => ({
      weightIh: weights.get(`weight_ih_l${l}`)!,
      weightHh: weights.get(`weight_hh_l${l}`)!,
      biasIh: weights.get(`bias_ih_l${l}`)!,
      biasHh: weights.get(`bias_hh_l${l}`)!,
    }));
    type Params = { readonly x: Tensor; readonly layers: typeof layers };
    const weighted = ({ x, layers }: Params, dy: Tensor): readonly [Tensor, Tensor] => {
      const y = lstmLayers(x, layers);
      return [sum(mul(y, dy)), y];
    };
    const params: Params = { x: packed(packing, golden.x.data, [I]), layers };
    const [[, y], gradients] = await read(
      run(device, valueAndGrad(weighted, { hasAux: true }))(
        params,
        packed(packing, golden.dy.data, [H]),
      ),
    );
    assertEquals(y.shape, golden.y.shape);
    assertClose(y.data, golden.y.data, 1e-5, "y");
    const named: Record<string, ArrayLike<number>> = { x: gradients.x.data };
    gradients.layers.forEach(({ weightIh, weightHh, biasIh, biasHh }, l) => {
      named[`weight_ih_l${l}`] = weightIh.data;
      named[`weight_hh_l${l}`] = weightHh.data;
      named[`bias_ih_l${l}`] = biasIh.data;
      named[`bias_hh_l${l}`] = biasHh.data;
    });
    let pieces = 0;
    golden.checkGradients("grad", named, (actual, expected, what) => {
      pieces++;
      assertClose(actual, expected, 1e-4, what);
    });
    assert(pieces >= 1 + 4 * L);
  });
}
