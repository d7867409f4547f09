import { sizeOf, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record, type Traced } from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";

const operation: Operation = {
  name: "adam",
  inPlace: [[2, 0], [3, 1], [4, 2], [5, 3]],
  lower(node: Node): readonly Dispatch[] {
    const { beta1, beta2, eps, weightDecay, maxNorm } = node.attributes as Record<string, number>;
    const S4 = sizeOf(node.inputs[0].shape) / 4;
    const clip = node.inputs.length > 6;
    // Taken from float64: 1 - β in float32 would have lost most of its digits.
    const log = (beta: number): { readonly f32: number } => ({
      f32: Math.max(Math.log(beta), -100),
    });
    const factors = { scratch: "factors", size: 4 };
    return [
      {
        kernel: "adam_factors",
        constants: {
          CLIP: clip ? 1 : 0,
          MAX_NORM: { f32: maxNorm },
          LOG_BETA1: log(beta1),
          LOG_BETA2: log(beta2),
        },
        bindings: [
          { input: 1, access: "read" },
          { input: clip ? 6 : 1, access: "read" },
          { output: 3, access: "write" },
          { ...factors, access: "write" },
        ],
        rows: 1,
        grid: () => [1, 1, 1],
      },
      {
        kernel: "adam",
        constants: {
          S4,

          NEW1: { f32: 1 - beta1 },
          NEW2: { f32: 1 - beta2 },
          EPS: { f32: eps },
          WEIGHT_DECAY: { f32: weightDecay },
        },
        bindings: [
          { ...factors, access: "uniform" },
          { input: 0, access: "read" },
          { output: 0, access: "write" },
          { output: 1, access: "write" },
          { output: 2, access: "write" },
        ],
        rows: S4,
        grid: () => elementGrid(S4),
      },
    ];
  },
};

/** What a step of Adam changes: slabs [S] (see `ravel`) and the number of steps made. */
export interface AdamSlabs {
  readonly params: Traced;
  readonly m: Traced;
  readonly v: Traced;
  /** `u32`, []. */
  readonly count: Traced;
}

/** Settings of `adamStep`. */
export interface AdamStepSettings {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** Gradients are first scaled to have at most this norm; with `norm` only. */
  readonly maxNorm: number;
}

/**
 * One step of Adam on slabs, in place where the caller gives its memory up.
 *
 * @param grads Slab of gradients, [S].
 * @param learningRate Scalar.
 * @param norm Global norm of the gradients, to clip by; default no clipping.
 */
export function adamStep(
  grads: Traced,
  { params, m, v, count }: AdamSlabs,
  learningRate: Traced,
  settings: AdamStepSettings,
  norm?: Tensor,
): AdamSlabs {
  const inputs = [grads, learningRate, params, m, v, count, ...(norm === undefined ? [] : [norm])];
  const outputs = record(operation, inputs, { ...settings }, [params, m, v, count]);
  return { params: outputs[0], m: outputs[1], v: outputs[2], count: outputs[3] };
}
