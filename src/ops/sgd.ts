import { sizeOf, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record, type Target, type Traced } from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { slabWindows } from "./slab_windows.ts";

function lower(node: Node, target: Target): readonly Dispatch[] {
  const { momentum, nesterov, weightDecay, clip, maxNorm } = node.attributes as {
    readonly [name: string]: number;
  };
  const hasMomentum = node.outputs.length > 1;
  return slabWindows(sizeOf(node.inputs[0].shape), target).map((window): Dispatch => ({
    kernel: "sgd",
    constants: {
      S4: window.size / 4,
      CLIP: clip,
      HAS_MOMENTUM: hasMomentum ? 1 : 0,
      NESTEROV: nesterov,
      HEAVY_BALL: 1 - nesterov,
      MAX_NORM: { f32: maxNorm },
      MOMENTUM: { f32: momentum },
      WEIGHT_DECAY: { f32: weightDecay },
    },
    bindings: [
      { input: 1, access: "uniform" },
      { input: clip === 1 ? node.inputs.length - 1 : 1, access: "uniform" },
      { input: 0, access: "read", window },
      { output: 0, access: "write", window },
      ...(hasMomentum ? [{ output: 1, access: "write", window } as const] : []),
    ],
    rows: window.size / 4,
    grid: () => elementGrid(window.size / 4),
  }));
}

const plain: Operation = { name: "sgd", lower, inPlace: [[2, 0]] };
const withMomentum: Operation = { name: "sgd_momentum", lower, inPlace: [[2, 0], [3, 1]] };

/** What a step of descent changes: slabs [S] (see `ravel`). */
export interface SgdSlabs {
  readonly params: Traced;
  /** Absent: no momentum. */
  readonly momentum?: Traced;
}

/** Settings of `sgdStep`. */
export interface SgdStepSettings {
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
  /** Gradients are first scaled to have at most this norm; with `norm` only. */
  readonly maxNorm: number;
}

/**
 * One step of stochastic gradient descent on slabs, in place where the caller gives its memory up.
 *
 * @param grads Slab of gradients, [S].
 * @param learningRate Scalar.
 * @param norm Global norm of the gradients, to clip by; default no clipping.
 */
export function sgdStep(
  grads: Traced,
  { params, momentum }: SgdSlabs,
  learningRate: Traced,
  settings: Partial<SgdStepSettings> = {},
  norm?: Tensor,
): SgdSlabs {
  const { nesterov = false } = settings;
  const attributes = {
    momentum: 0,
    weightDecay: 0,
    maxNorm: 1,
    ...settings,
    nesterov: nesterov ? 1 : 0,
    clip: norm === undefined ? 0 : 1,
  };
  const clip = norm === undefined ? [] : [norm];
  if (momentum === undefined) {
    const [stepped] = record(plain, [grads, learningRate, params, ...clip], attributes, [params]);
    return { params: stepped };
  }
  const inputs = [grads, learningRate, params, momentum, ...clip];
  const outputs = record(withMomentum, inputs, attributes, [params, momentum]);
  return { params: outputs[0], momentum: outputs[1] };
}
