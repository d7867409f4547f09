import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Spec,
  type Target,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { checkEps } from "./layer_norm.ts";
import { rowsOf } from "./rows.ts";
import { slicing } from "./slices.ts";

function lower(node: Node, { straight }: Target): readonly Dispatch[] {
  const [x] = node.inputs;
  const [M, H] = x.shape;
  const { eps, momentum, training } = node.attributes;
  const { constants, short } = slicing(M, 3);
  return [{
    kernel: "batch_norm",
    constants: {
      H,
      ...constants,
      TRAINING: training ? 1 : 0,
      EVALUATION: training ? 0 : 1,
      EPS: { f32: Number(eps) },
      MOMENTUM: { f32: Number(momentum) },
    },
    bindings: [
      { extent: rowsOf(x), access: "uniform" },
      { input: 0, access: "read" },
      { input: 1, access: "read" },
      { input: 2, access: "read" },
      training ? { output: 2, access: "write" } : { input: 3, access: "read" },
      training ? { output: 3, access: "write" } : { input: 4, access: "read" },
      { output: 0, access: "write" },
      { output: 1, access: "write" },
    ],
    rows: rowsOf(x),
    leastRows: training ? 2 : 0,
    grid: () => [Math.ceil(H / 8), 1, 1],
    straight: straight && short,
  }];
}

function vjp(node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
  if (dy === undefined) return [];
  const [x, gamma, beta] = node.inputs;
  const { training } = node.attributes;
  return record(backward, [dy, x, node.outputs[1], gamma], { training }, [x, gamma, beta]);
}

/** Outputs: y, statistics, and the running mean and variance, which are updated in place. */
const training: Operation = { name: "batch_norm", lower, vjp, inPlace: [[3, 2], [4, 3]] };
/** Outputs: y, statistics. */
const evaluation: Operation = { name: "batch_norm_evaluation", lower, vjp };

const backward: Operation = {
  name: "batch_norm_backward",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [dy] = node.inputs;
    const [M, H] = dy.shape;
    const { constants, short } = slicing(M, 2);
    return [{
      kernel: "batch_norm_backward",
      constants: { H, ...constants, TRAINING: node.attributes.training ? 1 : 0 },
      bindings: [
        { extent: rowsOf(dy), access: "uniform" },
        { input: 0, access: "read" },
        { input: 1, access: "read" },
        { input: 2, access: "read" },
        { input: 3, access: "read" },
        { output: 0, access: "write" },
        { output: 1, access: "write" },
        { output: 2, access: "write" },
      ],
      rows: rowsOf(dy),
      grid: () => [Math.ceil(H / 8), 1, 1],
      straight: straight && short,
    }];
  },
};

/** What normalizes in evaluation: moving averages over the batches of training. */
export interface RunningStatistics {
  /** [H]. */
  readonly mean: Tensor;
  /** Unbiased, [H]. */
  readonly variance: Tensor;
}

/** Options of {@linkcode batchNorm}. */
export interface BatchNormOptions {
  /** Normalize by the batch's statistics and update the running ones. */
  readonly training: boolean;
  /** Added to the variance; default 1e-5. */
  readonly eps?: number;
  /** Weight of the batch in the running statistics; default 0.1. */
  readonly momentum?: number;
}

/** Results of {@linkcode batchNorm}. */
export interface BatchNorm {
  /** [B,H]. */
  readonly y: Tensor;
  /** In training the updated statistics, otherwise the given ones. No gradient flows through them. */
  readonly running: RunningStatistics;
}

/**
 * Batch normalization (Ioffe, Szegedy 2015), as PyTorch's `BatchNorm1d`: each column is shifted and
 * scaled to mean 0 and variance 1, then by `gamma` and `beta`. Training uses the batch's mean and
 * biased variance, and moves the running mean and (unbiased) variance towards them; evaluation uses
 * the running ones.
 *
 * A column of equal values becomes `beta`. So does one whose variance overflows, from values 1e19
 * apart on: its gradient is 0 then, and the running variance infinite. Values 3.4e38 apart give NaN.
 *
 * @param x Rows, [B,H]. If they are packed, their number is known, and checked, only when the
 * function runs.
 * @param gamma [H].
 * @param beta [H].
 * @param running Statistics so far; to begin with, mean 0 and variance 1.
 * @throws {TypeError} If the shapes do not fit.
 * @throws {RangeError} If there are fewer than two rows in training, `eps` is not positive or
 * no `f32`, or `momentum` is not from 0 to 1.
 *
 * @example
 * ```ts
 * import { batchNorm, openDevice, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const x = tensor([1, 3], [2, 1]);
 * const running = { mean: tensor([0]), variance: tensor([1]) };
 * const train = run(device, () =>
 *   batchNorm(x, tensor([1]), tensor([0]), running, { training: true }));
 * const { y, running: next } = await read(train());
 * console.log(y.data, next.mean.data); // -1 and 1, but for eps; Float32Array [ 0.2 ]
 * ```
 */
export function batchNorm(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  running: RunningStatistics,
  options: BatchNormOptions,
): BatchNorm {
  const { eps = 1e-5, momentum = 0.1 } = options;
  const { mean, variance } = running;
  const [B, H] = x.shape;
  const fits = x.shape.length === 2 && H > 0 &&
    [gamma, beta, mean, variance].every(({ shape }) => shape.length === 1 && shape[0] === H);
  if (!fits) {
    throw new TypeError(
      `Cannot batch-normalize ${formatShape(x.shape)} with gamma ${formatShape(gamma.shape)}, ` +
        `beta ${formatShape(beta.shape)}, running mean ${formatShape(mean.shape)} and variance ` +
        `${formatShape(variance.shape)}: give [B,H] and four of [H]`,
    );
  }
  checkEps(eps, "batch-normalize");
  if (!(momentum >= 0 && momentum <= 1)) {
    throw new RangeError(`Cannot batch-normalize with momentum ${momentum}: it must be in 0..1`);
  }
  const from = traced(x, "batch-normalize");
  if (options.training && from.packing === undefined && B < 2) {
    throw new RangeError(
      `Cannot batch-normalize ${formatShape(x.shape)} in training: give at least two ` +
        "rows, as one has no variance",
    );
  }
  const column: Spec = { shape: [H], dtype: "f32" };
  const statistics: Spec = { shape: [H, 2], dtype: "f32" };
  const inputs = [from, gamma, beta, mean, variance];
  if (!options.training) {
    const attributes = { training: false, eps, momentum: 0 };
    return { y: record(evaluation, inputs, attributes, [from, statistics])[0], running };
  }
  const attributes = { training: true, eps, momentum };
  const outputs = record(training, inputs, attributes, [from, statistics, column, column]);
  return { y: outputs[0], running: { mean: outputs[2], variance: outputs[3] } };
}
