/**
 * The trainer as a reducer: a state and a batch give the next state.
 *
 * @module
 */
import { foldIn, type Key } from "../core/random.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import type { Device } from "../gpu/device.ts";
import type { Initial, NextLocation, NextLocationBatch } from "../models/next_location.ts";
import { rank } from "../ops/rank.ts";
import { valueAndGrad } from "../ops/gradient.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { compile } from "../plan/compile.ts";
import { dispose, put } from "../plan/device_tensor.ts";

/** Everything that training goes on from. */
export interface TrainState extends Initial {
  /** What the optimizer remembers. */
  readonly optimizer: Tree;
  /** Steps made. */
  readonly step: number;
  /** Rate of the next step. */
  readonly learningRate: number;
  /** Dropout of step `n` is drawn from this key folded with `n`. */
  readonly key: Key;
  /** What the last step computed; absent before the first. */
  readonly result?: StepResult;
}

/** What a step computed besides the new state, in GPU memory. */
export interface StepResult {
  /** Mean loss of the batch, []. */
  readonly loss: Tensor;
  /** Rank of each target, `u32[B]`. */
  readonly ranks: Tensor;
  /** First choice for each sample, `u32[B]`. */
  readonly predictions: Tensor;
}

/** A reducer over training states. */
export interface Trainer extends Disposable {
  /**
   * The state before the first step, or the one to go on from; copies everything to the GPU.
   *
   * @param from What the optimizer remembers and where training is, on the host.
   */
  readonly init: (
    initial: Initial,
    key: Key,
    from?: {
      readonly optimizer: Tree;
      readonly progress: { readonly step: number; readonly learningRate: number };
    },
  ) => TrainState;
  /**
   * One step on a batch. The new state takes over the old one's GPU memory: parameters, statistics
   * and moments of the old state can no longer be used, and say so.
   */
  readonly step: (state: TrainState, batch: NextLocationBatch) => TrainState;
}

/**
 * Makes the trainer of a model.
 *
 * @example
 * ```ts
 * import { adam, batches, defaultConfig, nextLocation, simulate, trainer } from "@gatewise/lstm";
 * import { openDevice, randomKey, read } from "@gatewise/lstm";
 *
 * const { train, totalLocNum, totalUserNum } = simulate({ people: 3, days: 30 });
 * const model = nextLocation({ ...defaultConfig, totalLocNum, totalUserNum, lstmHiddenSize: 16 });
 * using device = await openDevice();
 * using training = trainer(device, model, adam({ maxNorm: 1 }));
 * let state = training.init(model.init(randomKey(1)), randomKey(2));
 * state = { ...state, learningRate: 1e-3 };
 * for (const samples of batches(train.slice(0, 24), { batchSize: 8 })) {
 *   state = training.step(state, model.batch(samples));
 * }
 * console.log((await read(state.result!.loss)).data[0]);
 * ```
 */
export function trainer<S extends Tree>(
  device: Device,
  model: NextLocation,
  optimizer: Optimizer<S>,
): Trainer {
  const step = compile(
    device,
    (
      { params, statistics }: Initial,
      memory: Tree,
      batch: NextLocationBatch,
      key: Tensor,
      learningRate: number,
    ) => {
      const [[loss, output], grads] = valueAndGrad(
        (p: Initial["params"]) => model.loss(p, batch, { statistics, key }),
        { hasAux: true },
      )(params);
      const [next, remembered] = optimizer.step(grads, memory as S, params, learningRate);
      const { ranks, predictions } = rank(output.logits, batch.target);
      return {
        params: next,
        statistics: output.statistics,
        optimizer: remembered,
        result: { loss, ranks, predictions },
      };
    },
    { donate: [0, 1], name: "the training step" },
  );
  return {
    init({ params, statistics }, key, from): TrainState {
      const memory = from?.optimizer ?? optimizer.init(params);
      return Object.freeze({
        params: put(device, params),
        statistics: put(device, statistics),
        // Each part has memory of its own, so that the step can update it in place.
        optimizer: Object.fromEntries(
          Object.entries(memory as Record<string, Tree>)
            .map(([name, part]) => [name, put(device, part)]),
        ),
        step: from?.progress.step ?? 0,
        learningRate: from?.progress.learningRate ?? 0,
        key,
      });
    },
    step(state: TrainState, batch: NextLocationBatch): TrainState {
      const { params, statistics, optimizer, learningRate, key } = state;
      const next = step(
        { params, statistics },
        optimizer,
        batch,
        foldIn(key, state.step),
        learningRate,
      );
      return Object.freeze({ ...next, step: state.step + 1, learningRate, key });
    },
    [Symbol.dispose]: () => step[Symbol.dispose](),
  };
}

/** Frees the GPU memory of a state. */
export function disposeState({ params, statistics, optimizer, result }: TrainState): void {
  dispose([params, statistics, optimizer, result]);
}
