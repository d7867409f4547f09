/**
 * Stacks of LSTM layers run on a device beside `torch.nn.LSTM`'s numbers of `lstm.safetensors`: what
 * `lstm_test.ts` asserts and `golden_report.ts` prints.
 *
 * @module
 */
import { packed } from "../src/core/packing.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import type { Device } from "../src/gpu/device.ts";
import {
  lstmFromTorch,
  type LstmLayer,
  lstmLayers,
  type LstmLayersResult,
} from "../src/nn/lstm_layers.ts";
import { add, mul } from "../src/ops/binary.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import type { LstmState } from "../src/ops/lstm.ts";
import { sum } from "../src/ops/sum.ts";
import { run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import type { Comparison } from "./golden_model.ts";
import type { LstmGolden } from "./reference/golden.ts";

/** The rows of one layer and direction, [B,.], of states [D L,B,.]. */
export function stateAt({ data, shape: [, B, width] }: HostTensor, layer: number): HostTensor {
  return tensor(data.slice(layer * B * width, (layer + 1) * B * width), [B, width]);
}

const pytorchNames = {
  weightIh: "weight_ih",
  weightHh: "weight_hh",
  biasIh: "bias_ih",
  biasHh: "bias_hh",
  weightHr: "weight_hr",
} as const;

/**
 * Outputs, final states and every gradient of a case: for the output's cotangent alone (`grad`), and
 * with those of the final states (`grad_state`).
 */
export async function compareLstm(
  device: Device,
  golden: LstmGolden,
): Promise<readonly Comparison[]> {
  const { I, L, D, P, packing, weights, h0, c0, dhN, dcN } = golden;
  const suffixes = Array.from(
    { length: L },
    (_, l) => D === 2 ? [`l${l}`, `l${l}_reverse`] : [`l${l}`],
  ).flat();
  const states = (h: HostTensor, c: HostTensor): readonly LstmState[] =>
    suffixes.map((_, i) => ({ h: stateAt(h, i), c: stateAt(c, i) }));
  type Params = {
    readonly x: Tensor;
    readonly layers: readonly LstmLayer[];
    /** Empty for zeros. */
    readonly initial: readonly LstmState[];
  };
  const params: Params = {
    x: packed(packing, golden.x.data, [I]),
    layers: lstmFromTorch(weights),
    initial: h0 === undefined ? [] : states(h0, c0!),
  };
  const comparisons: Comparison[] = [];
  const compare = (what: string, actual: ArrayLike<number>, expected: ArrayLike<number>): void => {
    comparisons.push({ what, actual, expected, tolerance: what.startsWith("grad") ? 1e-4 : 1e-5 });
  };
  for (const kind of ["grad", "grad_state"] as const) {
    const weighted = (
      { x, layers, initial }: Params,
      dy: Tensor,
      given: readonly LstmState[],
    ): readonly [Tensor, LstmLayersResult] => {
      const result = lstmLayers(x, layers, {
        initial: initial.length === 0 ? undefined : initial,
      });
      const parts = kind === "grad" ? [] : result.final.flatMap(({ h, c }, i) => [
        sum(mul(h, given[i].h)),
        sum(mul(c, given[i].c)),
      ]);
      return [parts.reduce(add, sum(mul(result.output, dy))), result];
    };
    const [[, { output, final }], gradients] = await read(
      run(device, valueAndGrad(weighted, { hasAux: true }))(
        params,
        packed(packing, golden.dy.data, [D * P]),
        states(dhN, dcN),
      ),
    );
    compare("y", output.data, golden.y.data);
    final.forEach(({ h, c }, i) => {
      compare(`h_n ${i}`, h.data, stateAt(golden.hN, i).data);
      compare(`c_n ${i}`, c.data, stateAt(golden.cN, i).data);
    });
    const named: Record<string, ArrayLike<number>> = { x: gradients.x.data };
    gradients.layers.flat().forEach((layer, i) => {
      for (const [ours, theirs] of Object.entries(pytorchNames)) {
        const gradient = (layer as Record<string, HostTensor | undefined>)[ours];
        if (gradient !== undefined) named[`${theirs}_${suffixes[i]}`] = gradient.data;
      }
    });
    if (gradients.initial.length > 0) {
      for (const [key, name] of [["h", "h0"], ["c", "c0"]] as const) {
        named[name] = gradients.initial.flatMap((state) => [...state[key].data]);
      }
    }
    golden.checkGradients(
      kind,
      named,
      (actual, expected, what) => compare(`${kind} ${what}`, actual, expected),
    );
  }
  return comparisons;
}
