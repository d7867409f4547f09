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
import type { Split } from "../data/read_samples.ts";
import type { Device } from "../gpu/device.ts";
import type { BothScores } from "../metrics/scores.ts";
import type { Model, Weights } from "../models/model.ts";
import { adam } from "../optim/adam.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { linearWarmupDecay } from "../optim/schedules.ts";
import { sgd } from "../optim/sgd.ts";
import { dispose, put, read } from "../plan/device_tensor.ts";
import type { Answers, Splits, Task } from "../tasks/task.ts";
import { taskOf } from "../tasks/tasks.ts";
import type { Checkpoint, Progress } from "./checkpoint.ts";
import { type Divergence, divergenceError, largestGradient } from "./divergence.ts";
import { initialStopping, observe } from "./early_stopping.ts";
import { answersOf, evaluate, evaluator } from "./evaluate.ts";
import type { CommonConfig } from "./keys.ts";
import { pause } from "./pause.ts";
import { disposeState, type StepResult, trainer } from "./step.ts";

/** An epoch's results, with the model's scores. */
export interface Epoch<S = BothScores> {
  /** From 1. */
  readonly epoch: number;
  /** Steps made so far. */
  readonly step: number;
  /** Rate of the epoch's last step. */
  readonly learningRate: number;
  /** Mean over the epoch's batches of the loss as they were trained on. */
  readonly trainLoss: number;
  /** Over the epoch's batches as they were trained on. */
  readonly train: S;
  /** Mean over batches of the validation loss after the epoch. */
  readonly validationLoss: number;
  /** After the epoch. */
  readonly validation: S;
  /** Whether the validation loss is the best so far. */
  readonly improved: boolean;
  /** What early stopping decided. */
  readonly action: "continue" | "reduce" | "stop";
  /** Seconds that training and validation took. */
  readonly seconds: number;
}

/** Running results within an epoch. */
export interface Interval<S = BothScores> {
  /** From 1. */
  readonly epoch: number;
  /** Steps made so far. */
  readonly step: number;
  /** Rate of the last step. */
  readonly learningRate: number;
  /** Mean over the epoch's batches so far of the loss. */
  readonly trainLoss: number;
  /** Over the epoch's batches so far. */
  readonly train: S;
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
export interface FitEvents<S = BothScores> {
  /** Before an epoch, or a pass over validation or test samples, of so many batches. */
  readonly onPass?: (name: string, total: number) => void;
  /** After each batch of the pass; the loss is the running mean, where known. */
  readonly onBatch?: (done: number, loss?: number) => void;
  /** Every `printStep` steps. */
  readonly onInterval?: (interval: Interval<S>) => void;
  /** After an epoch and its validation. */
  readonly onEpoch?: (epoch: Epoch<S>) => void;
  /** A state to go on from, every `checkpointStep` steps, after each epoch, and when ended. */
  readonly onCheckpoint?: (checkpoint: Checkpoint) => Promise<void>;
  /** The loss was not finite, and training goes on from the last checkpoint at half the rate. */
  readonly onRewind?: (rewind: Rewind) => void;
  /** New best weights, on the host. */
  readonly onBest?: (weights: Weights, step: number) => Promise<void>;
}

/** Results of a training. */
export interface FitResult<S = BothScores> {
  /** Every epoch, in order. */
  readonly epochs: readonly Epoch<S>[];
  /** The epoch with the best validation loss, from 1. */
  readonly bestEpoch: number;
  /** Best weights, on the host. */
  readonly weights: Weights;
  /** Answers to the test, by the best weights. */
  readonly testAnswers: readonly Answers[];
  /** Scores of the test, by the best weights. */
  readonly test: S;
  /** Seconds that it took, without what was lost between checkpoint and end. */
  readonly seconds: number;
}

/** The optimizer of a configuration. */
export function optimizerOf(config: CommonConfig): Optimizer<Tree> {
  const { weightDecay, clipNorm: maxNorm, beta1, beta2, momentum } = config;
  return config.optimizer === "Adam"
    ? adam({ beta1, beta2, weightDecay, maxNorm })
    : sgd({ momentum, nesterov: momentum > 0, weightDecay, maxNorm });
}

/**
 * Checks that the training data make batches.
 *
 * @throws {InputError} If they are fewer than a batch holds, or a batch holds too few.
 */
export function checkBatchSize(config: CommonConfig, { train }: Pick<Splits, "train">): void {
  const task = taskOf(config), { batchSize } = config;
  const { leastBatch = 1 } = task;
  if (task.batchCount(config, train, true) < 1) {
    throw new InputError(
      `training.batch_size is ${batchSize}, but there are only ${
        task.elements(train).length
      } training samples: give at most that`,
    );
  }
  if (batchSize < leastBatch) {
    throw new InputError(
      `training.batch_size is ${batchSize}: batch normalization needs at least ${leastBatch} to train`,
    );
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
 * Trains the model of a configuration and tests it. The same configuration, data and
 * adapter give the same result, bit for bit, also when training is ended and goes on from a
 * checkpoint.
 *
 * @throws {InputError} As {@linkcode checkBatchSize}, or if the loss is no longer finite.
 * @throws What `signal` was aborted with, after a last checkpoint.
 */
export async function fit<S = BothScores>(
  device: Device,
  config: CommonConfig,
  samples: Splits,
  events: FitEvents<S> = {},
  { from, signal }: FitOptions = {},
): Promise<FitResult<S>> {
  checkBatchSize(config, samples);
  const { patience } = config;
  const task = taskOf(config) as Task<CommonConfig, unknown, Tree, S>;
  const steps = task.batchCount(config, samples.train, true);
  const model = task.model(config);
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
  let pending: { targets: Readonly<Record<string, HostTensor>>; result: StepResult }[] = [];
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

  /** Reads the results of the steps since the last time. */
  const collect = async (): Promise<Divergence | undefined> => {
    const results = await read(pending.map(({ result }) => result));
    const first = state.step - results.length + 1;
    for (const [i, result] of results.entries()) {
      const loss = result.loss.data[0];
      if (!Number.isFinite(loss)) return { step: first + i, loss };
      answers.push(answersOf(result, pending[i].targets));
    }
    dispose(pending.map(({ result }) => result));
    pending = [];
  };

  const save = async (): Promise<Divergence | undefined> => {
    const diverged = await collect();
    if (diverged !== undefined) return diverged;
    // All at once, since each read waits for the GPU.
    const held = model.carriedStart === undefined ? {} : { carried: state.carried };
    const kept = await read({ weights: weightsOf(state), optimizer: state.optimizer, ...held });
    if (!isFinite(kept)) return { step: state.step };
    tick();
    const { step, learningRate } = state;
    progress = { ...progress, step, learningRate };
    saved = { progress, ...kept, best, answers: [...answers] };
    await events.onCheckpoint?.(saved);
  };

  const pass = async (
    name: string,
    weights: Weights,
    split: Split,
  ): Promise<readonly Answers[]> => {
    events.onPass?.(name, task.batchCount(config, samples[split], false));
    return await evaluate(evaluation, weights, task.batches(config, samples[split]), {
      signal,
      onBatch: (done) => events.onBatch?.(done),
    });
  };

  /** The batches of the running epoch that are still to be trained on. */
  const batchesLeft = (): IteratorObject<Tree> => {
    const shuffle = foldIn(foldIn(key, 2), progress.epoch);
    return task.batches(config, samples.train, shuffle).drop(progress.done);
  };

  /** The rest of the running epoch's steps. */
  const trainEpoch = async (): Promise<Divergence | undefined> => {
    const { epoch } = progress;
    events.onPass?.(`epoch ${epoch}`, steps);
    for (const batch of batchesLeft()) {
      if (progress.done === 0) state = training.restart(state, batch);
      state = training.step({ ...state, learningRate: rateOf(state.step) }, batch);
      pending.push({ targets: model.targets(batch), result: state.result! });
      const done = progress.done + 1;
      progress = { ...progress, done };
      if (done % config.printStep === 0 || done === steps) {
        const diverged = await collect();
        if (diverged !== undefined) return diverged;
        const { step, learningRate } = state;
        const train = task.score(config, answers);
        events.onInterval?.({ epoch, step, learningRate, trainLoss: lossOf(answers), train });
      }
      events.onBatch?.(done, answers.length === 0 ? undefined : lossOf(answers));
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
    const trainLoss = lossOf(answers), train = task.score(config, answers);
    let validated: readonly Answers[];
    try {
      validated = await pass("validation", weightsOf(state), "validation");
    } catch (error) {
      // Validation changes nothing, so that a checkpoint may still be made.
      if (signal?.aborted) await save();
      throw error;
    }
    const validationLoss = lossOf(validated), validation = task.score(config, validated);
    const { state: stopping, improved, action } = observe(progress.stopping, validationLoss, {
      patience,
    });
    if (improved) {
      best = await read(weightsOf(state));
      progress = { ...progress, bestEpoch: epoch, bestStep: step };
      await events.onBest?.(best, step);
    }
    tick();
    const seconds = progress.epochSeconds;
    const result: Epoch<S> = {
      ...{ epoch, step, learningRate, trainLoss, train, validationLoss, validation },
      ...{ improved, action, seconds },
    };
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
      const restart = progress.done === 0;
      const replay = { training, state, batches: batchesLeft(), restart, rateOf };
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
  const testAnswers = await pass("test", weights, "test");
  dispose([weights.params, weights.statistics]);
  tick();
  const { epochs, bestEpoch, seconds } = progress;
  return {
    epochs: epochs as readonly Epoch<S>[],
    ...{ bestEpoch, weights: best, testAnswers, test: task.score(config, testAnswers), seconds },
  };
}

/** The state before the first step. */
function firstCheckpoint(config: CommonConfig, model: Model, key: Key): Checkpoint {
  const weights = model.init(foldIn(key, 0));
  const optimizer = optimizerOf(config).init(weights.params);
  return { progress: firstProgress, weights, optimizer, answers: [] };
}

/** The mean over batches of their loss. */
function lossOf(answers: readonly Answers[]): number {
  return answers.reduce((sum, { loss }) => sum + loss!, 0) / answers.length;
}

function isFinite(tree: Tree): boolean {
  return flatten(tree).every(({ leaf }) => (leaf as HostTensor).data.every(Number.isFinite));
}

function weightsOf({ params, statistics }: Weights): Weights {
  return { params, statistics };
}

/** Weights in GPU memory. */
export function upload<P extends Tree, S extends Tree>(
  device: Device,
  { params, statistics }: Weights<P, S>,
): Weights<P, S> {
  return { params: put(device, params), statistics: put(device, statistics) };
}
