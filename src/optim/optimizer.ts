import { formatShape, type HostTensor, sizeOf, type Tensor, tensor } from "../core/tensor.ts";
import { flatten, type Tree } from "../core/tree.ts";
import { type Traced, traced } from "../graph/graph.ts";
import { sgdStep } from "../ops/sgd.ts";
import { ravel, slabLayout, unravel } from "../ops/view.ts";

/**
 * How parameters follow gradients: pure functions, used inside `compile` or `run`.
 *
 * Compile the function that calls `step` with the state and the parameters among the arguments that
 * it is given (`donate`), and the step happens in place in GPU memory.
 */
export interface Optimizer<S extends Tree = Tree> {
  /** The state before the first step, on the host; only shapes of the parameters matter. */
  init(params: Tree): S;
  /**
   * One step.
   *
   * @param grads Gradients, in the form of the parameters.
   * @param state What `init` or the previous step returned.
   * @param learningRate Scalar; a number that is an argument of the compiled function may differ
   * from call to call.
   * @returns New parameters and state.
   * @throws {TypeError} If gradients and parameters differ in form.
   */
  step<P extends Tree>(
    grads: P,
    state: S,
    params: P,
    learningRate: Tensor | number,
  ): readonly [P, S];
}

/**
 * A change of gradients, with a memory of its own: what optimizers are made of. See `chain` and
 * `descend`.
 */
export interface Transform<S extends Tree = Tree> {
  /** The state before the first step, on the host; only shapes of the parameters matter. */
  init(params: Tree): S;
  /** Changed gradients and the new state. */
  update<P extends Tree>(grads: P, state: S, params: P): readonly [P, S];
}

/** The state of what remembers nothing. */
export type NoState = Readonly<Record<string, never>>;

/**
 * Transforms one after the other.
 *
 * @returns A transform whose state is the list of theirs.
 *
 * @example
 * ```ts
 * import { addDecayedWeights, chain, clipByGlobalNorm, descend, scaleByAdam } from "@gatewise/lstm";
 *
 * const optimizer = descend(chain(clipByGlobalNorm(1), addDecayedWeights(1e-6), scaleByAdam()));
 * ```
 */
export function chain(...transforms: readonly Transform[]): Transform<readonly Tree[]> {
  return Object.freeze({
    init: (params: Tree): readonly Tree[] => transforms.map(({ init }) => init(params)),
    update<P extends Tree>(
      grads: P,
      state: readonly Tree[],
      params: P,
    ): readonly [P, readonly Tree[]] {
      let changed = grads;
      const states = transforms.map(({ update }, i) => {
        const [next, own] = update(changed, state[i], params);
        changed = next;
        return own;
      });
      return [changed, states];
    },
  });
}

/**
 * The optimizer that subtracts the learning rate times what a transform makes of the gradients.
 *
 * @example
 * ```ts
 * import { descend, trace } from "@gatewise/lstm";
 *
 * const optimizer = descend(trace(0.9, { nesterov: true }));
 * ```
 */
export function descend<S extends Tree>(transform: Transform<S>): Optimizer<S> {
  return Object.freeze({
    init: (params: Tree): S => transform.init(params),
    step<P extends Tree>(
      grads: P,
      state: S,
      params: P,
      learningRate: Tensor | number,
    ): readonly [P, S] {
      const [direction, next] = transform.update(grads, state, params);
      const slabs = slabsOf(direction, params);
      const moved = sgdStep(slabs.grads, { params: slabs.params }, rateOf(learningRate));
      return [unravel(moved.params, params), next];
    },
  });
}

/**
 * Gradients and parameters as slabs.
 *
 * @throws {TypeError} If they differ in form, or a leaf is not of `f32`.
 */
export function slabsOf(
  grads: Tree,
  params: Tree,
): { readonly grads: Traced; readonly params: Traced } {
  const [from, to] = [flatten(grads), flatten(params)];
  if (to.length === 0) throw new TypeError("Cannot step no parameters: the record is empty");
  to.forEach(({ path, leaf }, i) => {
    const name = path === "" ? "a parameter" : path;
    if (leaf.dtype !== "f32") {
      throw new TypeError(
        `Cannot step ${name} ${formatShape(leaf.shape)} of ${leaf.dtype}: parameters are f32`,
      );
    }
    const gradient = from[i];
    if (gradient === undefined || gradient.path !== path) {
      throw new TypeError(
        `Cannot step ${name} ${formatShape(leaf.shape)}: there is no gradient of that name`,
      );
    }
    if (formatShape(gradient.leaf.shape) !== formatShape(leaf.shape)) {
      throw new TypeError(
        `Cannot step ${name} ${formatShape(leaf.shape)} by a gradient of shape ${
          formatShape(gradient.leaf.shape)
        }`,
      );
    }
  });
  if (from.length > to.length) {
    throw new TypeError(`Cannot step by the gradient ${from[to.length].path}: no such parameter`);
  }
  return { grads: ravel(grads), params: ravel(params) };
}

/** Zeros for every parameter: a slab on the host, [S]. */
export function zeroSlab(params: Tree): HostTensor {
  const { size } = slabLayout(flatten(params).map(({ leaf }) => sizeOf(leaf.shape)));
  return tensor(new Float32Array(size));
}

/**
 * A slab of an optimizer's state.
 *
 * @throws {TypeError} If it is not of the size that the parameters' slab has.
 */
export function stateSlab(name: string, slab: Tensor, params: Traced): Traced {
  if (formatShape(slab.shape) !== formatShape(params.shape)) {
    throw new TypeError(
      `Cannot step: the state's ${name} is ${formatShape(slab.shape)}, the parameters take ${
        formatShape(params.shape)
      }; make the state with init() of these parameters`,
    );
  }
  return traced(slab, "step");
}

/** A learning rate as a scalar of the graph. */
export function rateOf(learningRate: Tensor | number): Traced {
  const rate = typeof learningRate === "number" ? tensor([learningRate], []) : learningRate;
  if (sizeOf(rate.shape) !== 1 || rate.dtype !== "f32") {
    throw new TypeError(
      `Cannot step with a learning rate ${formatShape(rate.shape)} of ${rate.dtype}: give a scalar`,
    );
  }
  return traced(rate, "step");
}

/** Larger numbers are infinite as `f32`. */
const FLOAT_END = 3.4e38;

/**
 * Checks a setting.
 *
 * @throws {RangeError} If `value` is not in `[from, below)`.
 */
export function checkSetting(name: string, value: number, from: number, below = FLOAT_END): void {
  if (value >= from && value < below) return;
  throw new RangeError(
    `Cannot make an optimizer with ${name} ${value}: it is a number from ${from} to below ${below}`,
  );
}
