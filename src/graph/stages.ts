import type { Tensor } from "../core/tensor.ts";

/** What is being recorded, while {@linkcode stages} traces a function. */
let recording: Map<string, Tensor> | undefined;

/**
 * Names a tensor inside a forward pass, so that {@linkcode stages} can show it. It computes nothing.
 *
 * @param name What the tensor is; one that was given before gets a number: `lstm`, `lstm 2`.
 * @returns `x`.
 */
export function stage<T extends Tensor>(name: string, x: T): T {
  if (recording !== undefined) {
    let free = name;
    for (let n = 2; recording.has(free); n++) free = `${name} ${n}`;
    recording.set(free, x);
  }
  return x;
}

/** A function's result, and the tensors that it named on the way, in order. */
export interface Staged<R> {
  /** What the function returns. */
  readonly result: R;
  /** Tensors by the name that {@linkcode stage} was given. */
  readonly stages: Readonly<Record<string, Tensor>>;
}

/**
 * The function that also gives what `fn` names with {@linkcode stage} on its way; for `compile` and
 * `run`.
 *
 * @example
 * ```ts
 * import { openDevice, read, relu, run, scale, stage, stages, type Tensor, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const fn = (x: Tensor) => relu(stage("doubled", scale(x, 2)));
 * const { result, stages: named } = await read(run(device, stages(fn))(tensor([-1, 3])));
 * console.log(named.doubled.data, result.data); // Float32Array [ -2, 6 ] Float32Array [ 0, 6 ]
 * ```
 */
export function stages<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
): (...args: A) => Staged<R> {
  return (...args) => {
    const outer = recording;
    const own = recording = new Map<string, Tensor>();
    try {
      const result = fn(...args);
      return { result, stages: Object.fromEntries(own) };
    } finally {
      recording = outer;
    }
  };
}
