/**
 * The trainer as a reducer: a state and a batch give the next state.
 *
 * @module
 */
import { foldIn, type Key } from "../core/random.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import type { Device } from "../gpu/device.ts";
import type { Model, ModelOutput, Weights } from "../models/model.ts";
import { valueAndGrad } from "../ops/gradient.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { compile } from "../plan/compile.ts";
import { dispose, put } from "../plan/device_tensor.ts";

/** Everything that training goes on from. */
export interface TrainState<P extends Tree = Tree, S extends Tree = Tree> extends Weights<P, S> {
  /** What the optimizer remembers. */
  readonly optimizer: Tree;
  /** What the model carries from batch to batch; `{}` for one that carries nothing. */
  readonly carried: Tree;
  /** Steps made. */
  readonly step: number;
  /** Rate of the next step. */
  readonly learningRate: number;
  /** Dropout of step `n` is drawn from this key folded with `n`. */
  readonly key: Key;
  /** What the last step computed; absent before the first. */
  readonly result?: StepResult;
}

/**
 * What a step computed besides the new state, in GPU memory: the mean loss of the batch, [], and the
 * model's answers.
 */
export type StepResult = Readonly<Record<string, Tensor>> & {
  /** Mean loss of the batch, []. */
  readonly loss: Tensor;
};

/** Where a training goes on, on the host. */
export interface TrainStart {
  /** What the optimizer remembers. */
  readonly optimizer: Tree;
  /** What the model carries; absent for nothing. */
  readonly carried?: Tree;
  /** Where training is. */
  readonly progress: { readonly step: number; readonly learningRate: number };
}

/** A reducer over training states. */
export interface Trainer<P extends Tree = Tree, S extends Tree = Tree, B extends Tree = Tree>
  extends Disposable {
  /**
   * The state before the first step, or the one to go on from; copies everything to the GPU.
   *
   * @param from Where training is.
   */
  init(weights: Weights<P, S>, key: Key, from?: TrainStart): TrainState<P, S>;
  /**
   * The state with what the model carries at the start of an epoch, before its first batch; the same
   * for a model that carries nothing.
   */
  restart(state: TrainState<P, S>, batch: B): TrainState<P, S>;
  /**
   * One step on a batch. The new state takes over the old one's GPU memory: parameters, statistics
   * and moments of the old state can no longer be used, and say so.
   */
  step(state: TrainState<P, S>, batch: B): TrainState<P, S>;
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
export function trainer<
  P extends Tree,
  S extends Tree,
  B extends Tree,
  O extends ModelOutput<S>,
  M extends Tree,
>(
  device: Device,
  model: Model<P, S, B, O>,
  optimizer: Optimizer<M>,
): Trainer<P, S, B> {
  const step = compile(
    device,
    (
      { params, statistics }: Weights<P, S>,
      memory: Tree,
      carried: Tree,
      batch: B,
      key: Tensor,
      learningRate: number,
    ) => {
      const [[loss, output], grads] = valueAndGrad(
        (p: P) => model.loss(p, batch, { statistics, key, carried }),
        { hasAux: true },
      )(params);
      const [next, remembered] = optimizer.step(grads, memory as M, params, learningRate);
      return {
        params: next,
        statistics: output.statistics,
        optimizer: remembered,
        carried: output.carried ?? {},
        result: { ...model.answers(output, batch), loss },
      };
    },
    { donate: [0, 1, 2], name: "the training step" },
  );
  return {
    init({ params, statistics }, key, from): TrainState<P, S> {
      const memory = from?.optimizer ?? optimizer.init(params);
      return Object.freeze({
        params: put(device, params),
        statistics: put(device, statistics),
        // Each part has memory of its own, so that the step can update it in place.
        optimizer: Object.fromEntries(
          Object.entries(memory as Record<string, Tree>)
            .map(([name, part]) => [name, put(device, part)]),
        ),
        carried: put(device, from?.carried ?? {}),
        step: from?.progress.step ?? 0,
        learningRate: from?.progress.learningRate ?? 0,
        key,
      });
    },
    restart(state, batch): TrainState<P, S> {
      if (model.carriedStart === undefined) return state;
      dispose(state.carried);
      return Object.freeze({ ...state, carried: put(device, model.carriedStart(batch)) });
    },
    step(state, batch): TrainState<P, S> {
      const { params, statistics, optimizer, carried, learningRate, key } = state;
      const next = step(
        { params, statistics },
        optimizer,
        carried,
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
export function disposeState({ params, statistics, optimizer, carried, result }: TrainState): void {
  dispose([params, statistics, optimizer, carried, result]);
}
