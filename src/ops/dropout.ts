import { formatShape, type Tensor } from "../core/tensor.ts";
import { type Formula, type Node, type Operation, record, type Traced } from "../graph/graph.ts";
import { floats } from "./elementwise.ts";
import { keyOf } from "./split_key.ts";

/** Constants of kernels that keep what has a random word of at least THRESHOLD, times KEEP. */
export function keepingAt(
  rate: number,
): { readonly THRESHOLD: number; readonly KEEP: { readonly f32: number } } {
  // A word u is below rate 2³² just where u / 2³² is below rate.
  const THRESHOLD = Math.min(Math.ceil(rate * 2 ** 32), 2 ** 32 - 1);
  return { THRESHOLD, KEEP: { f32: 1 / (1 - rate) } };
}

const operation: Operation = {
  name: "dropout",
  // Element 4c + j stays where word j of philox(key, (c, 0, 0, 0)) is at least rate 2³². Times zero
  // elsewhere, so that NaN and infinity are not hidden. Backward is the same function of dy.
  formula({ attributes: { rate } }: Node): Formula {
    const { THRESHOLD, KEEP } = keepingAt(Number(rate));
    const words = "philox(vec2u($1[0], $1[1]), vec4u(i / 4u, 0u, 0u, 0u))";
    const kept = `${words} >= vec4u(${THRESHOLD}u)`;
    return {
      text: `$0 * select(vec4f(0.0), vec4f(${KEEP.f32.toExponential()}), ${kept})`,
      arrays: { 1: "u32" },
    };
  },
  vjp(node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
    const [, key] = node.inputs;
    return dy === undefined ? [] : [dropout(dy, Number(node.attributes.rate), key) as Traced];
  },
};

/**
 * Sets each element to zero with probability `rate` and scales the others by `1 / (1 - rate)`
 * (Srivastava et al. 2014). Element i, in memory order, stays where `uniform(key, n)[i] >= rate`; no
 * mask is stored, the gradient draws it again.
 *
 * @param x Any shape.
 * @param rate From 0, which returns `x` itself, to below 1.
 * @param key u32[2], for this use only: one of `splitKey`.
 * @throws {RangeError} If the rate is out of range.
 * @throws {TypeError} If `x` is not of `f32` or the key is none.
 *
 * @example
 * ```ts
 * import { dropout, openDevice, randomKey, read, run, splitKey } from "@gatewise/lstm";
 * import { type Tensor, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const twice = (x: Tensor, key: Tensor) => {
 *   const [first, second] = splitKey(key, 2);
 *   return [dropout(x, 0.5, first), dropout(x, 0.5, second)];
 * };
 * console.log(await read(run(device, twice)(tensor([1, 2, 3, 4]), randomKey(7))));
 * ```
 */
export function dropout(x: Tensor, rate: number, key: Tensor): Tensor {
  if (!(rate >= 0 && rate < 1)) {
    throw new RangeError(
      `Cannot drop elements of ${formatShape(x.shape)} at rate ${rate}: it is from 0 to below 1`,
    );
  }
  const [from] = floats("drop elements of", x);
  const bits = keyOf("drop elements", key);
  return rate === 0 ? from : record(operation, [from, bits], { rate }, [from])[0];
}
