import { pack, packed, packedRows } from "../src/core/packing.ts";
import { normal, randomKey } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import type { Traced } from "../src/graph/graph.ts";
import { lstm } from "../src/ops/lstm.ts";
import { run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";
import { assertClose } from "./reference/compare.ts";
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

for (
  const { I, H, lengths } of [
    { I: 1, H: 1, lengths: [1] },
    { I: 3, H: 5, lengths: [2, 4, 1] },
    { I: 7, H: 17, lengths: [9, 1, 9, 3, 5] },
    { I: 8, H: 32, lengths: Array.from({ length: 9 }, (_, b) => 1 + b % 4) },
    { I: 33, H: 64, lengths: Array.from({ length: 20 }, (_, b) => 1 + 7 * b % 11) },
    { I: 32, H: 128, lengths: Array.from({ length: 33 }, (_, b) => 1 + 5 * b % 17) },
    { I: 5, H: 160, lengths: [3, 2, 6] },
    { I: 4, H: 300, lengths: [2, 3] },
    { I: 2, H: 3, lengths: [400, 2] },
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
