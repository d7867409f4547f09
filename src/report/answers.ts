/**
 * What a trained model answers to a split; for the next-location model also what floors answer.
 *
 * @module
 */
import { type FloorAnswers, floorAnswers, floors } from "../data/floors.ts";
import type { Split } from "../data/read_samples.ts";
import type { Sample } from "../data/samples.ts";
import type { Device } from "../gpu/device.ts";
import type { ScoredBatch } from "../metrics/scores.ts";
import { dispose, read } from "../plan/device_tensor.ts";
import type { Answers, Task } from "../tasks/task.ts";
import { taskOf } from "../tasks/tasks.ts";
import type { CommonConfig } from "../train/config.ts";
import { loadData, type SizedConfig } from "../train/data.ts";
import { evaluate, evaluator, predictor } from "../train/evaluate.ts";
import { upload } from "../train/fit.ts";
import { loadWeights } from "../train/weights.ts";

/** A split with what a model of any kind answered. */
export interface Answered {
  /** The model's task. */
  readonly task: Task;
  /** With the sizes of the model. */
  readonly config: CommonConfig;
  /** The split. */
  readonly split: Split;
  /** Its data. */
  readonly data: unknown;
  /** The data that guessing counts in. */
  readonly train: unknown;
  /** The model's answers, batch by batch. */
  readonly answers: readonly Answers[];
}

/** Answers of the next-location model, one element a sample. */
export interface ModelAnswers extends FloorAnswers {
  /** The probability of the place that the model ranks first. */
  readonly confidence: Float64Array;
}

/** Samples of next-location data with what was answered to them. */
export interface Judged {
  /** The split that they are of. */
  readonly split: Split;
  /** With the sizes of the model. */
  readonly config: SizedConfig;
  /** The samples, each with a target. */
  readonly samples: readonly (Sample & { readonly Y: number })[];
  /** The samples that floors count in. */
  readonly train: readonly Sample[];
  /** The model's answers. */
  readonly model: ModelAnswers;
  /** Each floor's answers, in the order of `floors`. */
  readonly floors: readonly FloorAnswers[];
}

/** Called with the batches done, of how many. */
export type OnBatch = (done: number, total: number) => void;

/**
 * Runs a trained model of any kind on a split.
 *
 * @param file The weights, safetensors.
 * @throws {InputError} If the data or the weights are missing, damaged, or do not fit.
 */
export async function answer(
  device: Device,
  given: CommonConfig,
  file: string,
  split: Split,
  onBatch?: OnBatch,
): Promise<Answered> {
  const task = taskOf(given);
  const { config, samples } = await loadData(given, ["train", split]);
  const model = task.model(config);
  const weights = upload(device, await loadWeights(file, model));
  const total = task.batchCount(config, samples[split], false);
  using evaluation = evaluator(device, model);
  const answers = await evaluate(evaluation, weights, task.batches(config, samples[split]), {
    onBatch: (done) => onBatch?.(done, total),
  });
  dispose([weights.params, weights.statistics]);
  return { task, config, split, data: samples[split], train: samples.train, answers };
}

/** The next-location model's answers with its probabilities, and what the floors answer. */
export async function judge(
  device: Device,
  { task, config, split, data, train: counted, answers }: Answered,
  file: string,
  onBatch?: OnBatch,
): Promise<Judged> {
  const [samples, train] = [data as Judged["samples"], counted as Judged["train"]];
  const ranked = answers as readonly ScoredBatch[];
  const join = (of: (batch: ScoredBatch) => ArrayLike<number>): Int32Array =>
    Int32Array.from(ranked.flatMap((batch) => Array.from(of(batch))));
  const predictions = join((batch) => batch.predictions);
  const confidence = new Float64Array(samples.length);
  const model = task.model(config);
  const weights = upload(device, await loadWeights(file, model));
  const total = task.batchCount(config, data, false);
  using prediction = predictor(device, model);
  let [done, batchesDone] = [0, 0];
  for (const batch of task.batches(config, data)) {
    const result = prediction(weights, batch);
    const { data: probabilities, shape: [rows, V] } = await read(result);
    dispose(result);
    for (let b = 0; b < rows; b++, done++) {
      confidence[done] = probabilities[b * V + predictions[done]];
    }
    onBatch?.(++batchesDone, total);
  }
  dispose([weights.params, weights.statistics]);
  return {
    split,
    config: config as SizedConfig,
    samples,
    train,
    model: {
      targets: join((batch) => batch.targets),
      predictions,
      ranks: join((batch) => batch.ranks),
      confidence,
    },
    floors: floors.map((floor) => floorAnswers(floor, train, samples)),
  };
}
