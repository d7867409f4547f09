import type { Tensor } from "../core/tensor.ts";
import { mul, sub } from "../ops/binary.ts";
import { mean } from "../ops/sum.ts";

/**
 * The mean of the squares of all differences, as PyTorch's `mse_loss`.
 *
 * @param prediction Any shape.
 * @param target Of the same shape.
 * @returns A scalar, [].
 * @throws {TypeError} If the shapes or packings differ, or one is not of `f32`.
 *
 * @example
 * ```ts
 * import { meanSquaredError, openDevice, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const loss = run(device, meanSquaredError)(tensor([1, 2]), tensor([1, 5]));
 * console.log((await read(loss)).data); // Float32Array [ 4.5 ]
 * ```
 */
export function meanSquaredError(prediction: Tensor, target: Tensor): Tensor {
  const error = sub(prediction, target);
  return mean(mul(error, error));
}
