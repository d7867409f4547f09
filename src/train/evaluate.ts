/**
 * Scoring a model.
 *
 * @module
 */
import type { HostTensor, Tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import type { Device } from "../gpu/device.ts";
import type { Model, ModelOutput, Weights } from "../models/model.ts";
import { compile, type Compiled } from "../plan/compile.ts";
import { dispose, put, read } from "../plan/device_tensor.ts";
import type { Answers } from "../tasks/task.ts";
import { pause } from "./pause.ts";

/** Results that are read from the GPU at once. */
const READ_BATCHES = 32;

/** How a model is evaluated. */
export interface EvaluateOptions {
  /** Called after each batch with the number of batches done. */
  readonly onBatch?: (done: number) => void;
  /** Aborting it ends the evaluation. */
  readonly signal?: AbortSignal;
}

/** Loss and answers of a batch, and what the next one goes on from. */
export interface Evaluated {
  /** Mean loss, [], and the model's answers. */
  readonly result: Readonly<Record<string, Tensor>>;
  /** What the model carries; `{}` for nothing. */
  readonly carried: Tree;
}

/** Evaluates a model: what {@linkcode evaluator} makes. */
export interface Evaluation<P extends Tree = Tree, S extends Tree = Tree, B extends Tree = Tree>
  extends Disposable {
  /** Loss and answers of a batch. */
  run(weights: Weights<P, S>, batch: B, carried?: Tree): Evaluated;
  /** What the model carries before the first batch, in GPU memory. */
  start(batch: B): Tree;
  /** What is right, from a batch on the host. */
  targets(batch: B): Readonly<Record<string, HostTensor>>;
}

/** What evaluates a model; make it once. */
export function evaluator<
  P extends Tree,
  S extends Tree,
  B extends Tree,
  O extends ModelOutput<S>,
>(device: Device, model: Model<P, S, B, O>): Evaluation<P, S, B> {
  const evaluate = compile(
    device,
    ({ params, statistics }: Weights<P, S>, batch: B, carried: Tree): Evaluated => {
      const [loss, output] = model.loss(params, batch, { statistics, carried });
      return {
        result: { ...model.answers(output, batch), loss },
        carried: output.carried ?? {},
      };
    },
    { name: "evaluation" },
  );
  return {
    run: (weights, batch, carried = {}) => evaluate(weights, batch, carried),
    start: (batch) => put(device, model.carriedStart?.(batch) ?? {}),
    targets: (batch) => model.targets(batch),
    [Symbol.dispose]: () => evaluate[Symbol.dispose](),
  };
}

/** What was read of a batch's results, with what is right. */
export function answersOf(
  { loss, ...answers }: Readonly<Record<string, HostTensor>>,
  targets: Readonly<Record<string, HostTensor>>,
): Answers {
  const arrays = Object.entries({ ...targets, ...answers }).map(([name, { data }]) => [name, data]);
  return { ...Object.fromEntries(arrays), loss: loss.data[0] };
}

/**
 * Evaluates a model on batches with targets, in their order.
 *
 * @param evaluation What `evaluator` made.
 * @param weights In GPU memory, best.
 * @returns Answers batch by batch, for scores.
 * @throws What `signal` was aborted with.
 */
export async function evaluate<
  P extends Tree,
  S extends Tree,
  B extends Tree,
>(
  evaluation: Evaluation<P, S, B>,
  weights: Weights<P, S>,
  batches: Iterable<B>,
  { onBatch, signal }: EvaluateOptions = {},
): Promise<readonly Answers[]> {
  const answers: Answers[] = [];
  let pending: { targets: Readonly<Record<string, HostTensor>>; result: Evaluated["result"] }[] =
    [];
  let carried: Tree | undefined;
  const collect = async (): Promise<void> => {
    const results = await read(pending.map(({ result }) => result));
    answers.push(...results.map((result, i) => answersOf(result, pending[i].targets)));
    dispose(pending.map(({ result }) => result));
    pending = [];
  };
  let done = 0;
  try {
    for (const batch of batches) {
      const before = carried ?? evaluation.start(batch);
      const { result, carried: after } = evaluation.run(weights, batch, before);
      dispose(before);
      carried = after;
      pending.push({ targets: evaluation.targets(batch), result });
      if (pending.length === READ_BATCHES) await collect();
      onBatch?.(++done);
      await pause();
      signal?.throwIfAborted();
    }
    if (pending.length > 0) await collect();
  } finally {
    dispose(pending.map(({ result }) => result));
    if (carried !== undefined) dispose(carried);
  }
  return answers;
}

/**
 * What people ask a model for, targets or not: probabilities of every place, say.
 *
 * @returns A function of weights and a batch.
 */
export function predictor<
  P extends Tree,
  S extends Tree,
  B extends Tree,
  O extends ModelOutput<S>,
>(device: Device, model: Model<P, S, B, O>): Compiled<[Weights<P, S>, B], Tensor> {
  return compile(
    device,
    ({ params, statistics }: Weights<P, S>, batch: B) =>
      model.prediction(model.forward(params, batch, { statistics })),
    { name: "prediction" },
  );
}

/** Predictions of a model, one sample after the other. */
export async function* predictions<
  P extends Tree,
  S extends Tree,
  B extends Tree,
  O extends ModelOutput<S>,
>(
  device: Device,
  model: Model<P, S, B, O>,
  weights: Weights<P, S>,
  batches: Iterable<B>,
): AsyncGenerator<Float32Array> {
  using prediction = predictor(device, model);
  const { params, statistics } = weights;
  const onDevice = { params: put(device, params), statistics: put(device, statistics) };
  try {
    for (const batch of batches) {
      const result = prediction(onDevice, batch);
      const { data, shape: [rows, width] } = await read(result);
      dispose(result);
      for (let b = 0; b < rows; b++) {
        yield data.subarray(b * width, (b + 1) * width) as Float32Array;
      }
    }
  } finally {
    dispose([onDevice.params, onDevice.statistics]);
  }
}
