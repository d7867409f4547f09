/**
 * The whole recipe: epochs over shuffled batches, warm-up and decay of the rate, validation, early
 * stopping with reductions of the rate, and a test with the best weights.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { foldIn, type Key, randomKey } from "../core/random.ts";
import type { HostTensor } from "../core/tensor.ts";
import { flatten, type Tree } from "../core/tree.ts";
import { batches } from "../data/batches.ts";
import type { Device } from "../gpu/device.ts";
import { type ScoredBatch, type Scores, scores } from "../metrics/scores.ts";
import {
  type Initial,
  type NextLocation,
  nextLocation,
  type NextLocationBatch,
} from "../models/next_location.ts";
import { adam } from "../optim/adam.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { linearWarmupDecay } from "../optim/schedules.ts";
import { sgd } from "../optim/sgd.ts";
import { dispose, put, read } from "../plan/device_tensor.ts";
import type { Checkpoint, Progress } from "./checkpoint.ts";
import type { Samples, SizedConfig } from "./data.ts";
import { type Divergence, divergenceError, largestGradient } from "./divergence.ts";
import { initialStopping, observe } from "./early_stopping.ts";
import { evaluate, evaluator } from "./evaluate.ts";
import { pause } from "./pause.ts";
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

/** Going back to a checkpoint. */
export interface Rewind {
  /** The step that diverged. */
  readonly step: number;
  /** Its loss; undefined if only its parameters are not finite. */
  readonly loss?: number;
  /** Steps made at the checkpoint. */
  readonly to: number;
  /** Factor on the rate from now on. */
  readonly rateFactor: number;
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
  /** A state to go on from, every `checkpointStep` steps, after each epoch, and when ended. */
  readonly onCheckpoint?: (checkpoint: Checkpoint) => Promise<void>;
  /** The loss was not finite, and training goes on from the last checkpoint at half the rate. */
  readonly onRewind?: (rewind: Rewind) => void;
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
  /** Seconds that it took, without what was lost between checkpoint and end. */
  readonly seconds: number;
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

/** How a training goes on and how it may be ended. */
export interface FitOptions {
  /** A checkpoint of the same configuration and samples to go on from. */
  readonly from?: Checkpoint;
  /** Aborting it ends training after the running step, with a checkpoint. */
  readonly signal?: AbortSignal;
}

/** Rewinds at most: a rate 32 times lower that still diverges is no matter of the rate. */
const MAX_REWINDS = 5;

const firstProgress: Progress = {
  epoch: 1,
  done: 0,
  step: 0,
  learningRate: 0,
  heldRate: null,
  rateFactor: 1,
  rewinds: 0,
  stopping: initialStopping,
  stopped: false,
  bestEpoch: 0,
  bestStep: 0,
  epochs: [],
  epochSeconds: 0,
  seconds: 0,
};

/**
 * Trains the next-location model by a configuration and tests it. The same configuration, data and
 * adapter give the same result, bit for bit, also when training is ended and goes on from a
 * checkpoint.
 *
 * @throws {InputError} As {@linkcode checkBatchSize}, or if the loss is no longer finite.
 * @throws What `signal` was aborted with, after a last checkpoint.
 */
export async function fit(
  device: Device,
  config: SizedConfig,
  samples: Samples,
  events: FitEvents = {},
  { from, signal }: FitOptions = {},
): Promise<FitResult> {
  checkBatchSize(config, samples);
  const { batchSize, patience } = config;
  const steps = Math.floor(samples.train.length / batchSize);
  const model = nextLocation(config);
  const key = randomKey(config.seed);
  using training = trainer(device, model, optimizerOf(config));
  using evaluation = evaluator(device, model);
  const schedule = linearWarmupDecay({
    peak: config.lr,
    warmupSteps: steps * config.numWarmupEpochs,
    totalSteps: steps * config.numTrainingEpochs,
  });
  let saved = from ?? firstCheckpoint(config, model, key);
  let { progress, best } = saved;
  let answers = [...saved.answers];
  let state = training.init(saved.weights, foldIn(key, 1), saved);
  let pending: { targets: HostTensor; result: StepResult }[] = [];
  let clock = performance.now();

  const rateOf = (step: number): number =>
    (progress.heldRate ?? schedule(step)) * progress.rateFactor;
  const tick = (): void => {
    const now = performance.now(), seconds = (now - clock) / 1000;
    clock = now;
    progress = {
      ...progress,
      seconds: progress.seconds + seconds,
      epochSeconds: progress.epochSeconds + seconds,
    };
  };
  const runningLoss = (): number | undefined =>
    answers.length === 0
      ? undefined
      : answers.reduce((sum, { loss }) => sum + loss!, 0) / answers.length;

  /** Reads the results of the steps since the last time. */
  const collect = async (): Promise<Divergence | undefined> => {
    const results = await read(pending.map(({ result }) => result));
    const first = state.step - results.length + 1;
    for (const [i, { loss, ranks, predictions }] of results.entries()) {
      if (!Number.isFinite(loss.data[0])) return { step: first + i, loss: loss.data[0] };
      answers.push({
        targets: pending[i].targets.data,
        ranks: ranks.data,
        predictions: predictions.data,
        loss: loss.data[0],
      });
    }
    dispose(pending.map(({ result }) => result));
    pending = [];
  };

  const save = async (): Promise<Divergence | undefined> => {
    const diverged = await collect();
    if (diverged !== undefined) return diverged;
    const weights = await read(weightsOf(state));
    const optimizer = await read(state.optimizer);
    if (!isFinite([weights, optimizer])) return { step: state.step };
    tick();
    const { step, learningRate } = state;
    progress = { ...progress, step, learningRate };
    saved = { progress, weights, optimizer, best, answers: [...answers] };
    await events.onCheckpoint?.(saved);
  };

  const pass = async (
    name: string,
    weights: Initial,
    part: Samples["train"],
  ): Promise<readonly ScoredBatch[]> => {
    events.onPass?.(name, Math.ceil(part.length / batchSize));
    return await evaluate(evaluation, model, weights, part, {
      batchSize,
      signal,
      onBatch: (done) => events.onBatch?.(done),
    });
  };

  /** The batches of the running epoch that are still to be trained on. */
  const batchesLeft = (): IteratorObject<NextLocationBatch> => {
    const shuffle = foldIn(foldIn(key, 2), progress.epoch);
    return batches(samples.train, { batchSize, key: shuffle, dropLast: true })
      .drop(progress.done)
      .map((part) => model.batch(part));
  };

  /** The rest of the running epoch's steps. */
  const trainEpoch = async (): Promise<Divergence | undefined> => {
    const { epoch } = progress;
    events.onPass?.(`epoch ${epoch}`, steps);
    for (const batch of batchesLeft()) {
      state = training.step({ ...state, learningRate: rateOf(state.step) }, batch);
      pending.push({ targets: batch.target, result: state.result! });
      const done = progress.done + 1;
      progress = { ...progress, done };
      if (done % config.printStep === 0 || done === steps) {
        const diverged = await collect();
        if (diverged !== undefined) return diverged;
        const { step, learningRate } = state;
        events.onInterval?.({ epoch, step, learningRate, train: bothScores(answers) });
      }
      events.onBatch?.(done, runningLoss());
      await pause();
      const due = config.checkpointStep > 0 && state.step % config.checkpointStep === 0;
      if (due && done < steps || signal?.aborted) {
        const diverged = await save();
        if (diverged !== undefined) return diverged;
      }
      signal?.throwIfAborted();
    }
  };

  /** What follows the steps of an epoch. */
  const closeEpoch = async (): Promise<Divergence | undefined> => {
    const { epoch } = progress;
    const { step, learningRate } = state;
    const train = bothScores(answers);
    let validation: BothScores;
    try {
      validation = bothScores(await pass("validation", weightsOf(state), samples.validation));
    } catch (error) {
      // Validation changes nothing, so that a checkpoint may still be made.
      if (signal?.aborted) await save();
      throw error;
    }
    const { state: stopping, improved, action } = observe(
      progress.stopping,
      validation.all.loss!,
      { patience },
    );
    if (improved) {
      best = await read(weightsOf(state));
      progress = { ...progress, bestEpoch: epoch, bestStep: step };
      await events.onBest?.(best, step);
    }
    tick();
    const seconds = progress.epochSeconds;
    const result = { epoch, step, learningRate, train, validation, improved, action, seconds };
    events.onEpoch?.(result);
    answers = [];
    progress = {
      ...progress,
      epoch: epoch + 1,
      done: 0,
      stopping,
      stopped: action === "stop",
      epochs: [...progress.epochs, result],
      epochSeconds: 0,
    };
    if (action === "reduce") {
      progress = { ...progress, heldRate: learningRate * config.lrGamma, rateFactor: 1 };
      dispose([state.params, state.statistics]);
      state = { ...state, ...upload(device, best!) };
    }
    return await save();
  };

  /** Back to the last checkpoint with half the rate, or the end. */
  const recover = async (diverged: Divergence): Promise<void> => {
    const rate = rateOf(diverged.step - 1);
    const { rewinds, rateFactor, seconds } = progress;
    dispose(pending.map(({ result }) => result));
    pending = [];
    disposeState(state);
    progress = { ...saved.progress, seconds, rewinds, rateFactor };
    state = training.init(saved.weights, foldIn(key, 1), saved);
    if (config.onNan === "stop" || rewinds === MAX_REWINDS) {
      const replay = { training, state, batches: batchesLeft(), rateOf };
      const culprit = await largestGradient(device, model, replay, diverged.step);
      throw divergenceError(diverged, rate, culprit, config.onNan === "stop" ? undefined : rewinds);
    }
    progress = { ...progress, rewinds: rewinds + 1, rateFactor: rateFactor / 2 };
    best = saved.best;
    answers = [...saved.answers];
    saved = { ...saved, progress };
    events.onRewind?.({ ...diverged, to: saved.progress.step, rateFactor: progress.rateFactor });
    await events.onCheckpoint?.(saved);
  };

  while (!progress.stopped && progress.epoch <= config.maxEpoch) {
    const diverged = await trainEpoch() ?? await closeEpoch();
    if (diverged !== undefined) await recover(diverged);
  }
  disposeState(state);
  if (best === undefined) {
    throw new InputError("the validation loss was never a finite number: lower optimiser.lr");
  }
  const weights = upload(device, best);
  const test = bothScores(await pass("test", weights, samples.test));
  dispose([weights.params, weights.statistics]);
  tick();
  const { epochs, bestEpoch, seconds } = progress;
  return { epochs, bestEpoch, weights: best, test, seconds };
}

/** The state before the first step. */
function firstCheckpoint(config: SizedConfig, model: NextLocation, key: Key): Checkpoint {
  const weights = model.init(foldIn(key, 0));
  const optimizer = optimizerOf(config).init(weights.params);
  return { progress: firstProgress, weights, optimizer, answers: [] };
}

function isFinite(tree: Tree): boolean {
  return flatten(tree).every(({ leaf }) => (leaf as HostTensor).data.every(Number.isFinite));
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
