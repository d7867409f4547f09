import { foldIn, type Key } from "../core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../core/tensor.ts";
import { dropout } from "../ops/dropout.ts";
import { lstm, type LstmParams } from "../ops/lstm.ts";
import { splitKey } from "../ops/split_key.ts";
import { orthogonal, xavierUniform, zeros } from "./init.ts";

/** Sizes of a stack of LSTM layers. */
export interface LstmSizes {
  /** Width I of the input. */
  readonly inputSize: number;
  /** Hidden size H of every layer. */
  readonly hiddenSize: number;
  /** Number of layers L. */
  readonly layers: number;
}

/** How biases begin. */
export interface LstmInitOptions {
  /** Value of both biases of the forget gate; default `[1, 0]` (Jozefowicz et al. 2015). */
  readonly forgetBias?: readonly [number, number];
}

/**
 * Initial parameters of a stack of LSTM layers in PyTorch's layout: `weightIh` Xavier-uniform,
 * `weightHh` orthogonal, biases zero but for the forget gate's.
 *
 * @returns L records of `weightIh` [4H,I] (or [4H,H] after the first), `weightHh` [4H,H], `biasIh`
 * and `biasHh` [4H].
 */
export function initLstm(
  key: Key,
  { inputSize, hiddenSize: H, layers }: LstmSizes,
  { forgetBias = [1, 0] }: LstmInitOptions = {},
): readonly Required<LstmParams>[] {
  const bias = (forget: number): HostTensor =>
    forget === 0 ? zeros([4 * H]) : tensor(new Float32Array(4 * H).fill(forget, H, 2 * H));
  return Array.from({ length: layers }, (_, l) => ({
    weightIh: xavierUniform(foldIn(key, 2 * l), [4 * H, l === 0 ? inputSize : H]),
    weightHh: orthogonal(foldIn(key, 2 * l + 1), [4 * H, H]),
    biasIh: bias(forgetBias[0]),
    biasHh: bias(forgetBias[1]),
  }));
}

/** Dropout between layers. */
export interface LstmDropout {
  /** Probability that an output of a layer but the last is dropped. */
  readonly rate: number;
  /** `u32[2]`. */
  readonly key: Tensor;
}

/**
 * A stack of LSTM layers over packed sequences, each reading the one below.
 *
 * @param x Packed rows, [N,I].
 * @param layers Parameters, first layer first.
 * @param between Dropout between layers; default none.
 * @returns Hidden states of the last layer, packed rows [N,H].
 * @throws {TypeError} If `x` is not packed or shapes do not fit.
 *
 * @example
 * ```ts
 * import { initLstm, lstmLayers, openDevice, pack, packed, randomKey, read, run } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const packing = pack([3, 1]);
 * const x = packed(packing, new Float32Array(4 * 2).fill(0.5), [2]);
 * const layers = initLstm(randomKey(1), { inputSize: 2, hiddenSize: 3, layers: 2 });
 * const h = await read(run(device, lstmLayers)(x, layers));
 * console.log(h.shape); // [ 4, 3 ]
 * ```
 */
export function lstmLayers(
  x: Tensor,
  layers: readonly LstmParams[],
  between?: LstmDropout,
): Tensor {
  const keys = between !== undefined && between.rate > 0 && layers.length > 1
    ? splitKey(between.key, layers.length - 1)
    : [];
  return layers.reduce((below, params, l) => {
    const input = l > 0 && keys.length > 0 ? dropout(below, between!.rate, keys[l - 1]) : below;
    return lstm(input, params);
  }, x);
}
