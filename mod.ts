/**
 * LSTM models as pure functions, computed by WGSL kernels on any WebGPU adapter.
 *
 * A model is functions over plain data; `valueAndGrad` differentiates them, `compile` and `run` run
 * them on a device, optimizers are pure functions, and a trainer is a reducer over states.
 *
 * @example
 * ```ts
 * import { linear, mean, mul, openDevice, read, run, sub, valueAndGrad } from "@gatewise/lstm";
 * import { type Tensor, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const loss = (params: { weight: Tensor }) => {
 *   const error = sub(linear(tensor([1, 2, 3, 4], [2, 2]), params.weight), tensor([1, 2], [2, 1]));
 *   return mean(mul(error, error));
 * };
 * const [value, grads] = run(device, valueAndGrad(loss))({ weight: tensor([0, 0], [1, 2]) });
 * console.log((await read(value)).data, (await read(grads)).weight.data);
 * ```
 *
 * @module
 */
export { DeviceError, type DeviceFailure, InputError } from "./src/core/errors.ts";
export * from "./src/core/packing.ts";
export {
  foldIn,
  type Key,
  normal,
  permutation,
  philox,
  randomKey,
  uniform,
} from "./src/core/random.ts";
export * from "./src/core/tensor.ts";
export * from "./src/core/tree.ts";

export { stage, type Staged, stages } from "./src/graph/stages.ts";
export {
  type AdapterDescription,
  type Device,
  type DeviceOptions,
  openDevice,
} from "./src/gpu/device.ts";
export { compile, type Compiled, type CompileOptions, run } from "./src/plan/compile.ts";
export { dispose, type HostTree, put, read } from "./src/plan/device_tensor.ts";

export { type Attention, attention, type AttentionOptions } from "./src/ops/attention.ts";
export {
  type BatchNorm,
  batchNorm,
  type BatchNormOptions,
  type RunningStatistics,
} from "./src/ops/batch_norm.ts";
export { add, mul, sub } from "./src/ops/binary.ts";
export { concat } from "./src/ops/concat.ts";
export { conv1d } from "./src/ops/conv1d.ts";
export { crossEntropy, type CrossEntropyOptions } from "./src/ops/cross_entropy.ts";
export { dropout } from "./src/ops/dropout.ts";
export { globalNorm } from "./src/ops/global_norm.ts";
export { grad, type ValueAndGrad, valueAndGrad } from "./src/ops/gradient.ts";
export { layerNorm, type LayerNormOptions } from "./src/ops/layer_norm.ts";
export { linear } from "./src/ops/linear.ts";
export {
  lstm,
  type LstmOptions,
  lstmOverGates,
  type LstmParams,
  type LstmResult,
  type LstmState,
} from "./src/ops/lstm.ts";
export { lastStep, maxOverTime, meanOverTime } from "./src/ops/pool.ts";
export {
  positionalEncoding,
  type PositionalEncodingOptions,
} from "./src/ops/positional_encoding.ts";
export { rank, type Ranking } from "./src/ops/rank.ts";
export { scale } from "./src/ops/scale.ts";
export { slice } from "./src/ops/slice.ts";
export { softmax } from "./src/ops/softmax.ts";
export { splitKey } from "./src/ops/split_key.ts";
export { mean, sum } from "./src/ops/sum.ts";
export { take } from "./src/ops/take.ts";
export { relu, sigmoid, tanh } from "./src/ops/unary.ts";
export { reshape } from "./src/ops/view.ts";

export * from "./src/nn/init.ts";
export * from "./src/nn/lstm_layers.ts";
export * from "./src/nn/mean_squared_error.ts";

export {
  adam,
  type AdamOptions,
  type AdamState,
  scaleByAdam,
  type ScaleByAdamOptions,
} from "./src/optim/adam.ts";
export { clipByGlobalNorm } from "./src/optim/clip.ts";
export { addDecayedWeights } from "./src/optim/decay.ts";
export {
  chain,
  descend,
  type NoState,
  type Optimizer,
  type Transform,
} from "./src/optim/optimizer.ts";
export * from "./src/optim/schedules.ts";
export { sgd, type SgdOptions, type SgdState, trace, type TraceState } from "./src/optim/sgd.ts";

export * from "./src/models/model.ts";
export * from "./src/models/next_location.ts";
export * from "./src/models/sequence_classifier.ts";
export * from "./src/models/sequence_ensemble.ts";
export * from "./src/models/stacked_lstm.ts";
export * from "./src/models/state_dict.ts";

export * from "./src/tasks/task.ts";
export { findTask, taskOf, tasks } from "./src/tasks/tasks.ts";

export * from "./src/data/batches.ts";
export * from "./src/data/floors.ts";
export type { Place } from "./src/data/places.ts";
export * from "./src/data/read_samples.ts";
export * from "./src/data/read_sequences.ts";
export * from "./src/data/samples.ts";
export * from "./src/data/sequences.ts";
export * from "./src/data/simulate.ts";
export * from "./src/data/simulate_sequences.ts";
export * from "./src/data/text.ts";

export * from "./src/metrics/classification.ts";
export * from "./src/metrics/feature_importance.ts";
export * from "./src/metrics/language.ts";
export * from "./src/metrics/regression.ts";
export * from "./src/metrics/scores.ts";

export * from "./src/train/checkpoint.ts";
export * from "./src/train/config.ts";
export * from "./src/train/keys.ts";
export * from "./src/train/data.ts";
export * from "./src/train/early_stopping.ts";
export * from "./src/train/evaluate.ts";
export * from "./src/train/fit.ts";
export * from "./src/train/safetensors.ts";
export * from "./src/train/step.ts";
export * from "./src/train/trace.ts";
export * from "./src/train/weights.ts";
