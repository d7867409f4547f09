/**
 * What every model is: pure functions over plain data.
 *
 * @module
 */
import type { Key } from "../core/random.ts";
import type { HostTensor, Tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";

/** What a model knows: on the host or in GPU memory. */
export interface Weights<P extends Tree = Tree, S extends Tree = Tree> {
  /** What gradients change. */
  readonly params: P;
  /** What training updates without gradients, such as running means; `{}` if there is nothing. */
  readonly statistics: S;
}

/** How a forward pass runs. */
export interface ForwardOptions<S extends Tree = Tree> {
  /** Of the weights. */
  readonly statistics: S;
  /** Key of this step's dropout, `u32[2]`; present in training, absent in evaluation. */
  readonly key?: Tensor;
  /** What the batch before left, for models that carry a state from batch to batch. */
  readonly carried?: Tree;
}

/** Results of a forward pass; a model's own come with them. */
export interface ModelOutput<S extends Tree = Tree> {
  /** Statistics, updated in training. */
  readonly statistics: S;
  /** What the next batch goes on from, for models that carry a state. */
  readonly carried?: Tree;
}

/**
 * A model as pure functions over plain data, for batches `B` and with outputs `O`. `forward`, `loss`,
 * `answers` and `prediction` compute inside `compile`, `run` or `grad`.
 */
export interface Model<
  P extends Tree = Tree,
  S extends Tree = Tree,
  B extends Tree = Tree,
  O extends ModelOutput<S> = ModelOutput<S>,
> {
  /** Initial parameters and statistics, on the host. */
  init(key: Key): Weights<P, S>;
  /** The forward pass. */
  forward(params: P, batch: B, options: ForwardOptions<S>): O;
  /** The mean loss of a batch, with what `forward` returns. */
  loss(params: P, batch: B, options: ForwardOptions<S>): readonly [Tensor, O];
  /** What is kept of an output for scores. */
  answers(output: O, batch: B): Readonly<Record<string, Tensor>>;
  /** What is right, beside `answers`, from the batch on the host. */
  targets(batch: B): Readonly<Record<string, HostTensor>>;
  /** What people ask for: probabilities, or values. */
  prediction(output: O): Tensor;
  /** The state before the first batch, on the host, for models that carry one. */
  carriedStart?(batch: B): Tree;
  /** PyTorch's name of each parameter, by its path in the record. */
  readonly names: ReadonlyMap<string, string>;
  /** PyTorch's name of each statistic, by its path in the record. */
  readonly statisticsNames: ReadonlyMap<string, string>;
  /** Shapes of all weights, without making values. */
  shapes(): Weights<P, S>;
}
