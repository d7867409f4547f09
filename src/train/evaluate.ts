/**
 * Scoring a model on samples.
 *
 * @module
 */
import { batches } from "../data/batches.ts";
import type { Sample } from "../data/samples.ts";
import type { HostTensor, Tensor } from "../core/tensor.ts";
import type { Device } from "../gpu/device.ts";
import type { ScoredBatch } from "../metrics/scores.ts";
import type { Initial, NextLocation, NextLocationBatch } from "../models/next_location.ts";
import { rank } from "../ops/rank.ts";
import { softmax } from "../ops/softmax.ts";
import { compile, type Compiled } from "../plan/compile.ts";
import { dispose, read } from "../plan/device_tensor.ts";
import { pause } from "./pause.ts";

/** Results that are read from the GPU at once. */
const READ_BATCHES = 32;

/** How samples are evaluated. */
export interface EvaluateOptions {
  /** Samples at a time. */
  readonly batchSize: number;
  /** Called after each batch with the number of batches done. */
  readonly onBatch?: (done: number) => void;
  /** Aborting it ends the evaluation. */
  readonly signal?: AbortSignal;
}

/** Loss, ranks and predictions of a batch: what {@linkcode evaluator} makes. */
export type Evaluation = Compiled<
  [Initial, NextLocationBatch],
  { readonly loss: Tensor; readonly ranks: Tensor; readonly predictions: Tensor }
>;

/** The function that evaluates a batch; compile it once for a model. */
export function evaluator(device: Device, model: NextLocation): Evaluation {
  return compile(device, ({ params, statistics }: Initial, batch: NextLocationBatch) => {
    const [loss, { logits }] = model.loss(params, batch, { statistics });
    return { loss, ...rank(logits, batch.target) };
  }, { name: "evaluation" });
}

/**
 * Evaluates a model on samples with targets, in their order.
 *
 * @param evaluation What `evaluator` made.
 * @param weights In GPU memory, best.
 * @returns Answers batch by batch, for `scores`.
 * @throws What `signal` was aborted with.
 */
export async function evaluate(
  evaluation: Evaluation,
  model: NextLocation,
  weights: Initial,
  samples: readonly Sample[],
  { batchSize, onBatch, signal }: EvaluateOptions,
): Promise<readonly ScoredBatch[]> {
  const answers: ScoredBatch[] = [];
  let pending: { target: HostTensor; result: ReturnType<Evaluation> }[] = [];
  const collect = async (): Promise<void> => {
    const results = await read(pending.map(({ result }) => result));
    results.forEach(({ loss, ranks, predictions }, i) => {
      answers.push({
        targets: pending[i].target.data,
        ranks: ranks.data,
        predictions: predictions.data,
        loss: loss.data[0],
      });
    });
    dispose(pending.map(({ result }) => result));
    pending = [];
  };
  let done = 0;
  for (const part of batches(samples, { batchSize })) {
    const batch = model.batch(part);
    const { loss, ranks, predictions } = evaluation(weights, batch);
    pending.push({ target: batch.target, result: { loss, ranks, predictions } });
    if (pending.length === READ_BATCHES) await collect();
    onBatch?.(++done);
    await pause();
    if (signal?.aborted) {
      dispose(pending.map(({ result }) => result));
      signal.throwIfAborted();
    }
  }
  if (pending.length > 0) await collect();
  return answers;
}

/**
 * Probabilities of every location for samples, targets or not.
 *
 * @returns A function of weights and a batch that gives [B,V].
 */
export function predictor(
  device: Device,
  model: NextLocation,
): Compiled<[Initial, NextLocationBatch], Tensor> {
  return compile(
    device,
    ({ params, statistics }: Initial, batch: NextLocationBatch) =>
      softmax(model.forward(params, batch, { statistics }).logits),
    { name: "prediction" },
  );
}
