import { sizeOf, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record, type Target, type Traced } from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { imageWindows, slabWindows } from "./slab_windows.ts";

type Constants = Dispatch["constants"];

const factors = { scratch: "factors", size: 4 } as const;

/** The kernel of GPUs: all in place. */
function steps(node: Node, target: Target, constants: Constants): readonly Dispatch[] {
  return slabWindows(sizeOf(node.inputs[0].shape), target).map((window) => ({
    kernel: "adam",
    constants: { S4: window.size / 4, ...constants },
    bindings: [
      { ...factors, access: "uniform" },
      { input: 0, access: "read", window },
      { output: 0, access: "write", window },
      { output: 1, access: "write", window },
      { output: 2, access: "write", window },
    ],
    rows: window.size / 4,
    grid: () => elementGrid(window.size / 4),
  }));
}

/** The kernel of software adapters: what a launch reads it may not write, so it reads images. */
function imageSteps(node: Node, target: Target, constants: Constants): readonly Dispatch[] {
  return imageWindows(sizeOf(node.inputs[0].shape), target).map((window): Dispatch => ({
    kernel: "adam_image",
    images: true,
    constants: { N: 4, ...constants },
    bindings: [
      { extent: window.size / 4, access: "uniform" },
      { ...factors, access: "uniform" },
      { input: 0, access: "image", window },
      ...[0, 1, 2].map((output) => ({ output, access: "image", window }) as const),
      { output: 0, access: "write", window },
      { output: 1, access: "write", window },
      { output: 2, access: "write", window },
    ],
    rows: window.size / 4,
    grid: () => elementGrid(window.size / 4),
  }));
}

const operation: Operation = {
  name: "adam",
  inPlace: [[2, 0], [3, 1], [4, 2], [5, 3]],
  lower(node: Node, target: Target): readonly Dispatch[] {
    const { beta1, beta2, eps, weightDecay, maxNorm } = node.attributes as Record<string, number>;
    const clip = node.inputs.length > 6;
    // Taken from float64: 1 - β in float32 would have lost most of its digits.
    const log = (beta: number): { readonly f32: number } => ({
      f32: Math.max(Math.log(beta), -100),
    });
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
      ...(target.straight ? imageSteps : steps)(node, target, {
        NEW1: { f32: 1 - beta1 },
        NEW2: { f32: 1 - beta2 },
        EPS: { f32: eps },
        WEIGHT_DECAY: { f32: weightDecay },
      }),
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
