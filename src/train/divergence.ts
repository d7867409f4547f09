/**
 * What is said when a loss is no longer finite.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { foldIn } from "../core/random.ts";
import type { HostTensor, Tensor } from "../core/tensor.ts";
import { flatten, type Tree } from "../core/tree.ts";
import type { Device } from "../gpu/device.ts";
import type { Model, Weights } from "../models/model.ts";
import { valueAndGrad } from "../ops/gradient.ts";
import { compile } from "../plan/compile.ts";
import { dispose, read } from "../plan/device_tensor.ts";
import { disposeState, type Trainer, type TrainState } from "./step.ts";

/** A loss or a parameter that is no longer finite. */
export interface Divergence {
  /** The step, from 1. */
  readonly step: number;
  /** Its loss; undefined if only the parameters after it are not finite. */
  readonly loss?: number;
}

/** A parameter's gradient. */
export interface LargestGradient {
  /** The parameter. */
  readonly name: string;
  /** The largest magnitude in it; NaN if it holds one. */
  readonly size: number;
  /** The step of that gradient, from 1. */
  readonly step: number;
}

/** Steps to make again. */
export interface Replay {
  /** What makes them. */
  readonly training: Trainer;
  /** The state before the first of them; its memory is freed in the end. */
  readonly state: TrainState;
  /** Their batches. */
  readonly batches: Iterable<Tree>;
  /** Whether the first of them is an epoch's first. */
  readonly restart: boolean;
  /** The rate after so many steps. */
  readonly rateOf: (step: number) => number;
}

function largestOf(values: Iterable<number>): number {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

async function sizesOf(grads: object, step: number): Promise<LargestGradient[]> {
  const order = ({ size }: LargestGradient): number => Number.isNaN(size) ? Infinity : size;
  return flatten(await read(grads)).map(({ path, leaf }) => ({
    name: path,
    size: largestOf((leaf as HostTensor).data),
    step,
  })).sort((a, b) => order(b) - order(a));
}

/**
 * Makes steps again up to one that diverged, and finds the largest gradient there. Where no gradient
 * of that step is finite, since the parameters were not, it is that of the step before.
 *
 * @param step The step that diverged, from 1.
 */
export async function largestGradient(
  device: Device,
  model: Model,
  { training, state: first, batches, restart, rateOf }: Replay,
  step: number,
): Promise<LargestGradient | undefined> {
  using gradients = compile(
    device,
    ({ params, statistics }: Weights, batch: Tree, carried: Tree, key: Tensor) =>
      valueAndGrad(
        (p: Tree) => model.loss(p, batch, { statistics, key, carried }),
        { hasAux: true },
      )(params)[1],
    { name: "the gradients" },
  );
  let state = first;
  let found: LargestGradient | undefined;
  for (const batch of batches) {
    if (restart && state === first) state = training.restart(state, batch);
    if (state.step >= step - 2) {
      const { params, statistics, carried, key } = state;
      const grads = gradients({ params, statistics }, batch, carried, foldIn(key, state.step));
      const sizes = await sizesOf(grads, state.step + 1);
      dispose(grads);
      if (sizes.some(({ size }) => Number.isFinite(size)) || found === undefined) found = sizes[0];
      if (state.step >= step - 1) break;
    }
    const { result } = state;
    state = training.step({ ...state, learningRate: rateOf(state.step) }, batch);
    if (result !== undefined) dispose(result);
  }
  disposeState(state);
  return found;
}

/**
 * The error that ends a training.
 *
 * @param rewinds How often training had gone back to a checkpoint; undefined if it never does.
 */
export function divergenceError(
  { step, loss }: Divergence,
  rate: number,
  gradient: LargestGradient | undefined,
  rewinds?: number,
): InputError {
  const what = loss === undefined
    ? `the parameters after step ${step} are not finite`
    : `the loss of step ${step} is ${loss}`;
  const size = gradient !== undefined && Number.isFinite(gradient.size)
    ? gradient.size.toPrecision(3)
    : "not finite";
  const where = gradient === undefined
    ? ""
    : `; the largest gradient, at step ${gradient.step}, is that of ${gradient.name} (${size})`;
  return new InputError(
    `training diverged${rewinds === undefined ? "" : ` after ${rewinds} rewinds`}: ${what} at ` +
      `learning rate ${rate.toPrecision(3)}${where}; lower optimiser.lr or optimiser.clip_norm` +
      (rewinds === undefined ? ", or train with --on-nan rewind" : ""),
  );
}
