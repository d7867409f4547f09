/**
 * The whole recipe: epochs over shuffled batches, warm-up and decay of the rate, validation, early
 * stopping with reductions of the rate, and a test with the best weights.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { foldIn, randomKey } from "../core/random.ts";
import type { HostTensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import { batches } from "../data/batches.ts";
import type { Device } from "../gpu/device.ts";
import { type ScoredBatch, type Scores, scores } from "../metrics/scores.ts";
import { type Initial, nextLocation } from "../models/next_location.ts";
import { adam } from "../optim/adam.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { constant, linearWarmupDecay } from "../optim/schedules.ts";
import { sgd } from "../optim/sgd.ts";
import { dispose, put, read } from "../plan/device_tensor.ts";
import type { Samples, SizedConfig } from "./data.ts";
import { initialStopping, observe } from "./early_stopping.ts";
import { evaluate, evaluator } from "./evaluate.ts";
import { disposeState, type StepResult, trainer } from "./step.ts";

/** Scores over all targets and over known places. */
export interface BothScores {
  /** All targets. */
  readonly all: Scores;
  /** Targets of id 2 and up. */
  readonly known: Scores;
}

/** Both scores of a split's answers. */
export function bothScores(answers: readonly ScoredBatch[]): BothScores {
  return { all: scores(answers), known: scores(answers, { known: true }) };
}

/** An epoch's results. */
export interface Epoch {
  /** From 1. */
  readonly epoch: number;
  /** Steps made so far. */
  readonly step: number;
  /** Rate of the epoch's last step. */
  readonly learningRate: number;
  /** Over the epoch's batches as they were trained on. */
  readonly train: BothScores;
  /** After the epoch. */
  readonly validation: BothScores;
  /** Whether the validation loss is the best so far. */
  readonly improved: boolean;
  /** What early stopping decided. */
  readonly action: "continue" | "reduce" | "stop";
  /** Seconds that training and validation took. */
  readonly seconds: number;
}

/** Running results within an epoch. */
export interface Interval {
  /** From 1. */
  readonly epoch: number;
  /** Steps made so far. */
  readonly step: number;
  /** Rate of the last step. */
  readonly learningRate: number;
  /** Over the epoch's batches so far. */
  readonly train: BothScores;
}

/** What goes on, for progress and logs. */
export interface FitEvents {
  /** Before an epoch, or a pass over validation or test samples, of so many batches. */
  readonly onPass?: (name: string, total: number) => void;
  /** After each batch of the pass; the loss is the running mean, where known. */
  readonly onBatch?: (done: number, loss?: number) => void;
  /** Every `printStep` steps. */
  readonly onInterval?: (interval: Interval) => void;
  /** After an epoch and its validation. */
  readonly onEpoch?: (epoch: Epoch) => void;
  /** New best weights, on the host. */
  readonly onBest?: (weights: Initial, step: number) => Promise<void>;
}

/** Results of a training. */
export interface FitResult {
  /** Every epoch, in order. */
  readonly epochs: readonly Epoch[];
  /** The epoch with the best validation loss, from 1. */
  readonly bestEpoch: number;
  /** Best weights, on the host. */
  readonly weights: Initial;
  /** With the best weights. */
  readonly test: BothScores;
}

/** The optimizer of a configuration. */
export function optimizerOf(config: SizedConfig): Optimizer<Tree> {
  const { weightDecay, clipNorm: maxNorm, beta1, beta2, momentum } = config;
  return config.optimizer === "Adam"
    ? adam({ beta1, beta2, weightDecay, maxNorm })
    : sgd({ momentum, nesterov: momentum > 0, weightDecay, maxNorm });
}

/**
 * Checks that the training samples make batches.
 *
 * @throws {InputError} If they are fewer than a batch holds, or a batch holds only one.
 */
export function checkBatchSize({ batchSize }: SizedConfig, { train }: Samples): void {
  if (batchSize > train.length) {
    throw new InputError(
      `training.batch_size is ${batchSize}, but there are only ${train.length} training samples: ` +
        "give at most that",
    );
  }
  if (batchSize < 2) {
    throw new InputError("training.batch_size is 1: batch normalization needs at least 2 to train");
  }
}

/**
 * Trains the next-location model by a configuration and tests it. The same configuration, data and
 * adapter give the same result, bit for bit.
 *
 * @throws {InputError} As {@linkcode checkBatchSize}, or if the loss is no longer finite.
 */
export async function fit(
  device: Device,
  config: SizedConfig,
  samples: Samples,
  events: FitEvents = {},
): Promise<FitResult> {
  checkBatchSize(config, samples);
  const { batchSize, patience } = config;
  const steps = Math.floor(samples.train.length / batchSize);
  const model = nextLocation(config);
  const key = randomKey(config.seed);
  using training = trainer(device, model, optimizerOf(config));
  using evaluation = evaluator(device, model);
  let state = training.init(model.init(foldIn(key, 0)), foldIn(key, 1));
  let schedule = linearWarmupDecay({
    peak: config.lr,
    warmupSteps: steps * config.numWarmupEpochs,
    totalSteps: steps * config.numTrainingEpochs,
  });
  let stopping = initialStopping;
  let best: Initial | undefined;
  let bestEpoch = 0;
  const epochs: Epoch[] = [];

  const pass = async (
    name: string,
    weights: Initial,
    part: Samples["train"],
  ): Promise<readonly ScoredBatch[]> => {
    events.onPass?.(name, Math.ceil(part.length / batchSize));
    return await evaluate(evaluation, model, weights, part, {
      batchSize,
      onBatch: (done) => events.onBatch?.(done),
    });
  };

  for (let epoch = 1; epoch <= config.maxEpoch; epoch++) {
    const start = performance.now();
    events.onPass?.(`epoch ${epoch}`, steps);
    const answers: ScoredBatch[] = [];
    const pending: { targets: HostTensor; result: StepResult }[] = [];
    let done = 0, lossSum = 0;
    let train = bothScores(answers);
    const shuffle = foldIn(foldIn(key, 2), epoch);
    for (const part of batches(samples.train, { batchSize, key: shuffle, dropLast: true })) {
      const batch = model.batch(part);
      state = training.step({ ...state, learningRate: schedule(state.step) }, batch);
      pending.push({ targets: batch.target, result: state.result! });
      done++;
      if (done % config.printStep === 0 || done === steps) {
        const results = await read(pending.map(({ result }) => result));
        results.forEach(({ loss, ranks, predictions }, i) => {
          const [value] = loss.data;
          const step = state.step - results.length + i + 1;
          if (!Number.isFinite(value)) throw diverged(value, step, schedule(step - 1));
          lossSum += value;
          answers.push({
            targets: pending[i].targets.data,
            ranks: ranks.data,
            predictions: predictions.data,
            loss: value,
          });
        });
        dispose(pending.map(({ result }) => result));
        pending.length = 0;
        train = bothScores(answers);
        events.onInterval?.({
          epoch,
          step: state.step,
          learningRate: state.learningRate,
          train,
        });
      }
      events.onBatch?.(done, answers.length > 0 ? lossSum / answers.length : undefined);
    }
    const validation = bothScores(await pass("validation", weightsOf(state), samples.validation));
    const decision = observe(stopping, validation.all.loss!, { patience });
    stopping = decision.state;
    if (decision.improved) {
      best = await read(weightsOf(state));
      bestEpoch = epoch;
      await events.onBest?.(best, state.step);
    }
    const result: Epoch = {
      epoch,
      step: state.step,
      learningRate: state.learningRate,
      train,
      validation,
      improved: decision.improved,
      action: decision.action,
      seconds: (performance.now() - start) / 1000,
    };
    epochs.push(result);
    events.onEpoch?.(result);
    if (decision.action === "stop") break;
    if (decision.action === "reduce") {
      schedule = constant(state.learningRate * config.lrGamma);
      dispose([state.params, state.statistics]);
      state = { ...state, ...upload(device, best!) };
    }
  }
  disposeState(state);
  if (best === undefined) {
    throw new InputError("the validation loss was never a finite number: lower optimiser.lr");
  }
  const weights = upload(device, best);
  const test = bothScores(await pass("test", weights, samples.test));
  dispose([weights.params, weights.statistics]);
  return { epochs, bestEpoch, weights: best, test };
}

function weightsOf({ params, statistics }: Initial): Initial {
  return { params, statistics };
}

/** Weights in GPU memory. */
export function upload(device: Device, { params, statistics }: Initial): Initial {
  return {
    params: put(device, params),
    statistics: put(device, statistics),
  };
}

function diverged(loss: number, step: number, rate: number): InputError {
  return new InputError(
    `training diverged: the loss of step ${step} is ${loss} at learning rate ${
      rate.toPrecision(3)
    }; lower optimiser.lr or optimiser.clip_norm`,
  );
}
