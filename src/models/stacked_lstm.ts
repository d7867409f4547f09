/**
 * A stack of LSTM layers with parameters of their own for each gate, whose state is carried from call
 * to call, and a linear layer from its top to the next step's input: as a language model, from each
 * character to the next.
 *
 * @module
 */
import { pack, packed, packValues } from "../core/packing.ts";
import { foldIn, type Key, uniform } from "../core/random.ts";
import { formatShape, type HostTensor, type Tensor, tensor } from "../core/tensor.ts";
import type { Tree } from "../core/tree.ts";
import type { TextChunk } from "../data/text.ts";
import { stage } from "../graph/stages.ts";
import { xavierUniform, zeros } from "../nn/init.ts";
import { concat } from "../ops/concat.ts";
import { crossEntropy } from "../ops/cross_entropy.ts";
import { dropout } from "../ops/dropout.ts";
import { linear } from "../ops/linear.ts";
import { lstm, lstmOverGates, type LstmState } from "../ops/lstm.ts";
import { slice } from "../ops/slice.ts";
import { softmax } from "../ops/softmax.ts";
import { splitKey } from "../ops/split_key.ts";
import { take } from "../ops/take.ts";
import { transpose } from "../ops/transpose.ts";
import { reshape } from "../ops/view.ts";
import type { ForwardOptions, Model, ModelOutput } from "./model.ts";

/** Sizes of the model. */
export interface StackedLstmConfig {
  /** Width I of the input and of the logits: V characters, or real values. */
  readonly inputDim: number;
  /** Hidden size H of every layer. */
  readonly hiddenDim: number;
  /** Number of layers L. */
  readonly numLayers: number;
  /** Dropout of every layer's outputs, in training. */
  readonly dropout: number;
}

/** Parameters of one gate of a layer. */
export interface GateParams {
  /** `W_x`, [I,H]: applied as `x W_x`. */
  readonly weightX: Tensor;
  /** `W_h`, [H,H]: applied as `h W_h`. */
  readonly weightH: Tensor;
  /** `b`, [H]. */
  readonly bias: Tensor;
}

/** Parameters of one layer. */
export interface StackedLstmCell {
  /** Forget gate f. */
  readonly forget: GateParams;
  /** Input gate i. */
  readonly input: GateParams;
  /** Output gate o. */
  readonly output: GateParams;
  /** Candidate g for the cell state. */
  readonly candidate: GateParams;
}

/** Parameters of the model. */
export interface StackedLstmParams {
  /** L layers, the one that reads the input first. */
  readonly layers: readonly StackedLstmCell[];
  /** From the top layer to logits. */
  readonly projection: {
    /** [I,H]. */
    readonly weight: Tensor;
    /** [I]. */
    readonly bias: Tensor;
  };
}

/** What the model sees of B sequences with N steps in all. */
export interface StackedLstmBatch {
  /** Characters, packed `u32[N]`; or real values, packed `f32[N,I]`. */
  readonly input: HostTensor;
  /** The character that follows each, 0 where it is not known, packed `u32[N]`. */
  readonly target: HostTensor;
}

/** States of all layers after a sequence's last step, in the batch's order of sequences. */
export interface CarriedState {
  /** Hidden states, [L,B,H]. */
  readonly h: Tensor;
  /** Cell states, [L,B,H]. */
  readonly c: Tensor;
}

/** How a forward pass runs. */
export interface StackedLstmOptions extends ForwardOptions {
  /**
   * What the batch before left; default zeros. Its values go on; no gradient flows back to that batch,
   * which was another call: truncated back-propagation.
   */
  readonly carried?: CarriedState;
}

/** Results of a forward pass. */
export interface StackedLstmOutput extends ModelOutput {
  /** For each step, packed [N,I]. */
  readonly logits: Tensor;
  /** What the next batch goes on from. */
  readonly carried: CarriedState;
}

/**
 * The stacked LSTM as pure functions over plain data. Its loss is the mean cross-entropy over all steps,
 * its prediction the probabilities of the characters that may follow each, packed [N,I].
 */
export interface StackedLstm
  extends Model<StackedLstmParams, Tree, StackedLstmBatch, StackedLstmOutput> {
  /** What the model was made with. */
  readonly config: StackedLstmConfig;
  /** The forward pass. */
  forward(
    params: StackedLstmParams,
    batch: StackedLstmBatch,
    options: StackedLstmOptions,
  ): StackedLstmOutput;
  /** The mean loss of a batch, with what `forward` returns. */
  loss(
    params: StackedLstmParams,
    batch: StackedLstmBatch,
    options: StackedLstmOptions,
  ): readonly [Tensor, StackedLstmOutput];
  /** The state before the first batch, zeros on the host. */
  carriedStart(batch: StackedLstmBatch): CarriedState;
  /** Pieces of text as the model takes them. */
  readonly batch: (chunks: readonly TextChunk[]) => StackedLstmBatch;
}

/** The gates of a layer and their letters, in the order in which the seed draws them. */
const GATES = { forget: "f", input: "i", output: "o", candidate: "g" } as const;
/** The order of gates in PyTorch's layout. */
const TORCH_ORDER = ["input", "forget", "candidate", "output"] as const;

/**
 * The stacked LSTM of a configuration.
 *
 * @example
 * ```ts
 * import { openDevice, randomKey, read, run, stackedLstm } from "@gatewise/lstm";
 *
 * const model = stackedLstm({ inputDim: 5, hiddenDim: 8, numLayers: 2, dropout: 0.1 });
 * const { params, statistics } = model.init(randomKey(1));
 * using device = await openDevice();
 * const forward = run(device, model.forward);
 * const first = forward(params, model.batch([{ input: Uint32Array.of(0, 3, 1) }]), { statistics });
 * const { carried } = first;
 * const next = forward(params, model.batch([{ input: Uint32Array.of(4) }]), { statistics, carried });
 * console.log((await read(next.logits)).shape); // [ 1, 5 ]
 * ```
 */
export function stackedLstm(config: StackedLstmConfig): StackedLstm {
  const { hiddenDim: H, numLayers: L, dropout: rate } = config;
  const statistics = {};

  function forward(
    params: StackedLstmParams,
    batch: StackedLstmBatch,
    { key, carried }: StackedLstmOptions,
  ): StackedLstmOutput {
    const keys = key === undefined ? undefined : splitKey(key, L);
    const final: LstmState[] = [];
    let x: Tensor = batch.input;
    params.layers.forEach((cell, l) => {
      const initial = carried === undefined ? undefined : stateOf(carried, l);
      const { output, final: last } = runCell(x, cell, initial);
      final.push(last);
      stage(`layer ${l}`, output);
      x = keys === undefined ? output : dropout(output, rate, keys[l]);
    });
    const { weight, bias } = params.projection;
    return {
      logits: stage("logits", linear(x, weight, bias)),
      carried: {
        h: stage("carried h", stack(final.map(({ h }) => h))),
        c: stage("carried c", stack(final.map(({ c }) => c))),
      },
      statistics,
    };
  }

  return Object.freeze({
    config,
    init(key: Key) {
      let uses = 0;
      const params = layout(
        config,
        (rows, columns) => xavierUniform(foldIn(key, uses++), [rows, columns]),
        (n) => zeros([n]),
      );
      return { params, statistics };
    },
    forward,
    loss(params: StackedLstmParams, batch: StackedLstmBatch, options: StackedLstmOptions) {
      const output = forward(params, batch, options);
      return [crossEntropy(output.logits, batch.target), output] as const;
    },
    answers: () => ({}),
    targets: ({ target }: StackedLstmBatch) => ({ targets: target }),
    prediction: ({ logits }: StackedLstmOutput) => softmax(logits),
    batch: makeBatch,
    carriedStart({ input }: StackedLstmBatch): CarriedState {
      const shape = [L, input.packing!.lengths.length, H];
      return { h: zeros(shape), c: zeros(shape) };
    },
    names: namesOf(config),
    statisticsNames: new Map<string, string>(),
    shapes: () => ({
      params: layout(
        config,
        (rows, columns) => ({ shape: [rows, columns], dtype: "f32" }),
        (n) => ({ shape: [n], dtype: "f32" }),
      ),
      statistics,
    }),
  });
}

/** The record of parameters, its leaves made by their shapes. */
function layout(
  { inputDim, hiddenDim: H, numLayers }: StackedLstmConfig,
  matrix: (rows: number, columns: number) => Tensor,
  vector: (n: number) => Tensor,
): StackedLstmParams {
  const gate = (from: number): GateParams => ({
    weightX: matrix(from, H),
    weightH: matrix(H, H),
    bias: vector(H),
  });
  return {
    layers: Array.from({ length: numLayers }, (_, l) => {
      const from = l === 0 ? inputDim : H;
      const forget = gate(from), input = gate(from), output = gate(from), candidate = gate(from);
      return { forget, input, output, candidate };
    }),
    projection: { weight: matrix(inputDim, H), bias: vector(inputDim) },
  };
}

/** One layer over its input, computed by the fused operation. */
function runCell(
  x: Tensor,
  cell: StackedLstmCell,
  initial: LstmState | undefined,
): { readonly output: Tensor; readonly final: LstmState } {
  const beside = (part: keyof GateParams, axis: number): Tensor =>
    concat(TORCH_ORDER.map((gate) => cell[gate][part]), axis);
  const fromInput = beside("weightX", 1);
  const weights = { weightHh: transpose(beside("weightH", 1)), biasHh: beside("bias", 0) };
  // The product of a one-hot row and a matrix is a row of the matrix.
  return x.dtype === "f32"
    ? lstm(x, { weightIh: transpose(fromInput), ...weights }, { initial })
    : lstmOverGates(stage("gate inputs", take(fromInput, x)), weights, initial);
}

/** The state of one layer. */
function stateOf({ h, c }: CarriedState, layer: number): LstmState {
  const [, B, H] = h.shape;
  const of = (x: Tensor): Tensor => reshape(slice(x, 0, layer, layer + 1), [B, H]);
  return { h: of(h), c: of(c) };
}

/** [B,H] of each layer as [L,B,H]. */
function stack(states: readonly Tensor[]): Tensor {
  return concat(states.map((x) => reshape(x, [1, ...x.shape])), 0);
}

function makeBatch(chunks: readonly TextChunk[]): StackedLstmBatch {
  const packing = pack(chunks.map(({ input }) => input.length));
  const characters = (value: (b: number, t: number) => number): HostTensor =>
    packed(packing, packValues(packing, value));
  return {
    input: characters((b, t) => chunks[b].input[t]),
    target: characters((b, t) => chunks[b].target?.[t] ?? 0),
  };
}

function namesOf({ numLayers }: StackedLstmConfig): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (let l = 0; l < numLayers; l++) {
    for (const [gate, letter] of Object.entries(GATES)) {
      names.set(`layers.${l}.${gate}.weightX`, `layers.${l}.W_x${letter}`);
      names.set(`layers.${l}.${gate}.weightH`, `layers.${l}.W_h${letter}`);
      names.set(`layers.${l}.${gate}.bias`, `layers.${l}.b_${letter}`);
    }
  }
  names.set("projection.weight", "proj.weight");
  names.set("projection.bias", "proj.bias");
  return names;
}

/** The transpose of a matrix on the host. */
function flipped({ data, shape: [rows, columns] }: HostTensor): HostTensor {
  const values = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) values[c * rows + r] = data[r * columns + c];
  }
  return tensor(values, [columns, rows]);
}

/**
 * The layers in PyTorch's layout: gates one below the other in the order i, f, g, o, matrices that are
 * applied as `W x`, and two biases of which the second is zero.
 *
 * @param layers On the host.
 * @returns `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0` and so on, as in a `state_dict`
 * of `torch.nn.LSTM`.
 */
export function toTorchLstm(
  layers: readonly StackedLstmCell[],
): Readonly<Record<string, HostTensor>> {
  const entries = layers.flatMap((cell, l) => {
    const below = (part: keyof GateParams): HostTensor => {
      const gates = TORCH_ORDER.map((gate) => cell[gate][part] as HostTensor)
        .map((t) => part === "bias" ? t : flipped(t));
      const size = gates[0].data.length;
      const values = new Float32Array(4 * size);
      gates.forEach(({ data }, i) => values.set(data, i * size));
      const [rows, ...columns] = gates[0].shape;
      return tensor(values, [4 * rows, ...columns]);
    };
    const bias = below("bias");
    return [
      [`weight_ih_l${l}`, below("weightX")],
      [`weight_hh_l${l}`, below("weightH")],
      [`bias_ih_l${l}`, bias],
      [`bias_hh_l${l}`, zeros(bias.shape)],
    ] as const;
  });
  return Object.fromEntries(entries);
}

/**
 * Layers from PyTorch's layout, the inverse of {@linkcode toTorchLstm}. A gate's bias is the sum of
 * PyTorch's two.
 *
 * @param tensors `weight_ih_l0` and so on, of one direction and without a projection.
 * @throws {TypeError} If a tensor is missing or its shape does not fit.
 */
export function fromTorchLstm(
  tensors: Readonly<Record<string, HostTensor>>,
): readonly StackedLstmCell[] {
  const layers: StackedLstmCell[] = [];
  for (let l = 0; `weight_ih_l${l}` in tensors; l++) {
    const H = tensors[`weight_ih_l${l}`].shape[0] / 4;
    const get = (name: string, columns?: number): HostTensor => {
      const found = tensors[`${name}_l${l}`];
      const wide = columns ?? found?.shape[1];
      const shape = name.startsWith("bias") ? [4 * H] : [4 * H, wide];
      if (found === undefined || formatShape(found.shape) !== formatShape(shape)) {
        throw new TypeError(
          `Cannot make layer ${l} of ${name}_l${l} ${
            found === undefined ? "that is missing" : formatShape(found.shape)
          }: give ${formatShape(shape)}`,
        );
      }
      return found;
    };
    const parts = { weightX: get("weight_ih"), weightH: get("weight_hh", H) };
    const [first, second] = [get("bias_ih"), get("bias_hh")];
    const biases = tensor(Float32Array.from(first.data, (b, i) => b + second.data[i]));
    const gate = (i: number): GateParams => {
      const part = ({ data, shape: [, columns] }: HostTensor): HostTensor =>
        flipped(tensor(data.slice(i * H * columns, (i + 1) * H * columns), [H, columns]));
      return {
        weightX: part(parts.weightX),
        weightH: part(parts.weightH),
        bias: tensor(biases.data.slice(i * H, (i + 1) * H)),
      };
    };
    const [input, forget, candidate, output] = [0, 1, 2, 3].map(gate);
    layers.push({ forget, input, output, candidate });
  }
  if (layers.length === 0) throw new TypeError("Cannot make layers: weight_ih_l0 is missing");
  return layers;
}

/** How a character is drawn. */
export interface SampleOptions {
  /**
   * Logits are divided by it: below 1 the likely become likelier, above 1 less so; 0 takes the
   * likeliest. Default 1.
   */
  readonly temperature?: number;
  /** Only so many of the likeliest are drawn from; default all. Of equals the smaller number comes first. */
  readonly topK?: number;
  /** Key of this draw: `foldIn(key, step)`. */
  readonly key: Key;
}

/**
 * Draws a class by its logits.
 *
 * @param logits V of them.
 * @returns A number from 0 to V - 1.
 * @throws {RangeError} If `temperature` is below 0 or `topK` below 1, or the largest logit is not
 * finite, or one is NaN.
 *
 * @example
 * ```ts
 * import { randomKey, sampleLogits } from "@gatewise/lstm";
 *
 * const logits = [0, 2, 1];
 * console.log(sampleLogits(logits, { temperature: 0, key: randomKey(1) })); // 1
 * console.log(sampleLogits(logits, { topK: 2, key: randomKey(1) })); // 1 or 2
 * ```
 */
export function sampleLogits(
  logits: ArrayLike<number>,
  { temperature = 1, topK = Infinity, key }: SampleOptions,
): number {
  if (!(temperature >= 0)) {
    throw new RangeError(`Cannot draw at temperature ${temperature}: it is 0 or more`);
  }
  if (!(topK >= 1)) throw new RangeError(`Cannot draw from the first ${topK}: give 1 or more`);
  const values = Array.from(logits);
  const largest = Math.max(...values);
  if (!Number.isFinite(largest)) {
    throw new RangeError("Cannot draw from logits that are not finite");
  }
  const order = values.keys().toArray()
    .sort((a, b) => values[b] - values[a] || a - b)
    .slice(0, topK);
  if (temperature === 0) return order[0];
  const weights = order.map((i) => Math.exp((values[i] - largest) / temperature));
  let left = uniform(key, 1)[0] * weights.reduce((sum, w) => sum + w, 0);
  for (const [place, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return order[place];
  }
  return order[0];
}
