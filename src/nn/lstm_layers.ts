import { foldIn, type Key } from "../core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../core/tensor.ts";
import { concat } from "../ops/concat.ts";
import { dropout } from "../ops/dropout.ts";
import { lstm, type LstmParams, type LstmState } from "../ops/lstm.ts";
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

/** Parameters of a layer with both biases and no projection. */
export type BiasedLstmParams = Required<Omit<LstmParams, "weightHr">>;

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
): readonly BiasedLstmParams[] {
  const bias = (forget: number): HostTensor =>
    forget === 0 ? zeros([4 * H]) : tensor(new Float32Array(4 * H).fill(forget, H, 2 * H));
  return Array.from({ length: layers }, (_, l) => ({
    weightIh: xavierUniform(foldIn(key, 2 * l), [4 * H, l === 0 ? inputSize : H]),
    weightHh: orthogonal(foldIn(key, 2 * l + 1), [4 * H, H]),
    biasIh: bias(forgetBias[0]),
    biasHh: bias(forgetBias[1]),
  }));
}

/** One layer: its parameters, or those of both directions, the one from the first step first. */
export type LstmLayer = LstmParams | readonly [forwards: LstmParams, backwards: LstmParams];

/** How a stack of LSTM layers runs. */
export interface LstmLayersOptions {
  /** Dropout of every layer's outputs but the last's: a probability and a key, `u32[2]`. */
  readonly dropout?: { readonly rate: number; readonly key: Tensor };
  /** States before the first step, as {@linkcode LstmLayersResult.final}; default zeros. */
  readonly initial?: readonly LstmState[];
}

/** What a stack of LSTM layers gives. */
export interface LstmLayersResult {
  /** Hidden states of the last layer, packed rows [N,P], or [N,2P] with both directions. */
  readonly output: Tensor;
  /** Final states by layer, and in it by direction: PyTorch's order. */
  readonly final: readonly LstmState[];
}

/**
 * A stack of LSTM layers over packed sequences, each reading the one below, in one direction or both
 * (Schuster and Paliwal 1997): `torch.nn.LSTM` with `num_layers`, `bidirectional`, `dropout`,
 * `proj_size` and `bias`.
 *
 * @param x Packed rows, [N,I].
 * @param layers Parameters, first layer first.
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
 * const { output } = await read(run(device, lstmLayers)(x, layers));
 * console.log(output.shape); // [ 4, 3 ]
 * ```
 */
export function lstmLayers(
  x: Tensor,
  layers: readonly LstmLayer[],
  { dropout: between, initial }: LstmLayersOptions = {},
): LstmLayersResult {
  const directions = layers.flat().length;
  if (initial !== undefined && initial.length !== directions) {
    throw new TypeError(
      `Cannot start ${directions} layers and directions from ${initial.length} states`,
    );
  }
  const keys = between !== undefined && between.rate > 0 && layers.length > 1
    ? splitKey(between.key, layers.length - 1)
    : [];
  const final: LstmState[] = [];
  let output = x;
  layers.forEach((layer, l) => {
    const input = l > 0 && keys.length > 0 ? dropout(output, between!.rate, keys[l - 1]) : output;
    const both = isBoth(layer) ? layer : [layer];
    const results = both.map((params, direction) => {
      const result = lstm(input, params, {
        initial: initial?.[final.length],
        reversed: direction === 1,
      });
      final.push(result.final);
      return result.output;
    });
    output = results.length === 1 ? results[0] : concat(results, 1);
  });
  return { output, final };
}

/**
 * The layers of a `torch.nn.LSTM` from its `state_dict`: `weight_ih_l0`, `weight_hh_l0_reverse` and so
 * on, with biases and projections where it has them.
 *
 * @param tensors By name, as `readSafetensors` gives them.
 * @param prefix Before each name: `encoder.lstm.`.
 * @throws {TypeError} If the first layer, or a tensor that belongs to another, is missing.
 *
 * @example
 * ```ts
 * import { lstmFromTorch, tensor } from "@gatewise/lstm";
 *
 * const weights = new Map([
 *   ["rnn.weight_ih_l0", tensor(new Float32Array(12 * 2), [12, 2])],
 *   ["rnn.weight_hh_l0", tensor(new Float32Array(12 * 3), [12, 3])],
 * ]);
 * console.log(lstmFromTorch(weights, "rnn.").length); // 1 layer, without biases
 * ```
 */
export function lstmFromTorch(
  tensors: ReadonlyMap<string, HostTensor>,
  prefix = "",
): readonly LstmLayer[] {
  const direction = (suffix: string): LstmParams => {
    const find = (name: string): HostTensor | undefined =>
      tensors.get(`${prefix}${name}_${suffix}`);
    const need = (name: string): HostTensor => {
      const found = find(name);
      if (found !== undefined) return found;
      throw new TypeError(`Cannot make an LSTM: there is no ${prefix}${name}_${suffix}`);
    };
    const biased = find("bias_ih") !== undefined;
    const weightHr = find("weight_hr");
    return {
      weightIh: need("weight_ih"),
      weightHh: need("weight_hh"),
      ...(biased ? { biasIh: need("bias_ih"), biasHh: need("bias_hh") } : {}),
      ...(weightHr === undefined ? {} : { weightHr }),
    };
  };
  const layers: LstmLayer[] = [];
  do {
    const l = layers.length, forwards = direction(`l${l}`);
    layers.push(
      tensors.has(`${prefix}weight_ih_l${l}_reverse`)
        ? [forwards, direction(`l${l}_reverse`)]
        : forwards,
    );
  } while (tensors.has(`${prefix}weight_ih_l${layers.length}`));
  return layers;
}

function isBoth(layer: LstmLayer): layer is readonly [LstmParams, LstmParams] {
  return Array.isArray(layer);
}
