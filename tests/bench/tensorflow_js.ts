/**
 * TensorFlow.js as a peer of the benchmark: `tensorflow_js.ts wasm` or `tensorflow_js.ts webgpu`.
 *
 * @module
 */
import {
  embDropout,
  firstValues,
  importPackages,
  type PaddedBatch,
  parameterShapes,
  readBatches,
  servePeer,
  type Session,
  Unavailable,
} from "./peer.ts";
import type { LstmWork, ModelWork, Work } from "./protocol.ts";

const version = "4.22.0";
const mode = Deno.args[0];

// Without the packages in the module graph there are no types of them either.
// deno-lint-ignore no-explicit-any
type Untyped = any;
type Tensor = Untyped;
type Tensors = Record<string, Tensor>;

async function startLibrary(): Promise<Untyped> {
  const [tf] = await importPackages([
    `npm:@tensorflow/tfjs@${version}`,
    `npm:@tensorflow/tfjs-backend-${mode}@${version}`,
  ]);
  if (!await tf.setBackend(mode)) throw new Unavailable(`TensorFlow.js has no ${mode} here`);
  await tf.ready();
  return tf;
}

/** x @ weight^T for a weight [out,in]. */
function product(tf: Untyped, x: Tensor, weight: Tensor): Tensor {
  if (mode !== "wasm") return tf.matMul(x, weight, false, true);
  // This backend's fast product is only that of two untransposed matrices: with explicit transposes
  // a training step takes a third of the time.
  return tf.customGrad((x: Tensor, weight: Tensor, save: (tensors: Tensor[]) => void) => {
    save([x, weight]);
    return {
      value: tf.matMul(x, weight.transpose()),
      gradFunc: (dy: Tensor, [x, weight]: Tensor[]) => [
        tf.matMul(dy, weight),
        tf.matMul(dy.transpose(), x),
      ],
    };
  })(x, weight);
}

/** x[T,B,I] through one layer; the outputs of every step, [B,H] each. */
function lstm(
  tf: Untyped,
  x: Tensor,
  [weightIh, weightHh, biasIh, biasHh]: readonly Tensor[],
): Tensor[] {
  const [T, B, I] = x.shape, H = weightHh.shape[1];
  const projected = product(tf, x.reshape([T * B, I]), weightIh)
    .add(biasIh.add(biasHh)).reshape([T, B, 4 * H]);
  const outputs: Tensor[] = [];
  let c: Tensor;
  for (const step of tf.unstack(projected)) {
    const h = outputs.at(-1);
    const z = h === undefined ? step : step.add(product(tf, h, weightHh));
    const [i, f, g, o] = tf.split(z, 4, 1);
    const fresh = tf.sigmoid(i).mul(tf.tanh(g));
    c = c === undefined ? fresh : tf.sigmoid(f).mul(c).add(fresh);
    outputs.push(tf.sigmoid(o).mul(tf.tanh(c)));
  }
  return outputs;
}

function nextLocation(tf: Untyped, model: ModelWork["model"]) {
  const { lstmDropout, fcDropout, layers } = model;

  const linear = (x: Tensor, weight: Tensor, bias: Tensor): Tensor =>
    product(tf, x, weight).add(bias);

  /** Rows of a table. */
  function embed(table: Tensor, ids: Tensor): Tensor {
    if (mode !== "wasm") return tf.gather(table, ids);
    // The gradient of gather needs unsortedSegmentSum, which this backend has not.
    return tf.customGrad((table: Tensor) => ({
      value: tf.gather(table, ids),
      gradFunc: (dy: Tensor) => tf.matMul(tf.oneHot(ids, table.shape[0]).transpose(), dy),
    }))(table);
  }

  /** Logits; `running` gives and takes the statistics: updated in training, read in evaluation. */
  function forward(p: Tensors, running: Tensors, batch: Untyped, training: boolean): Tensor {
    const { T, B, ids, last, user } = batch;
    const drop = (x: Tensor, rate: number): Tensor =>
      training && rate > 0 ? tf.dropout(x, rate) : x;
    const embedded = Object.keys(ids)
      .map((name) => embed(p[name], ids[name]))
      .reduce((a, b) => a.add(b))
      .reshape([T, B, model.embedding]);
    let x = drop(embedded, embDropout);
    let outputs: Tensor[] = [];
    for (let l = 0; l < layers; l++) {
      if (l > 0) x = drop(tf.stack(outputs), lstmDropout);
      const names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
      outputs = lstm(tf, x, names.map((name) => p[`${name}_l${l}`]));
    }
    const answer = last === undefined ? outputs[T - 1] : tf.stack(outputs).mul(last).sum(0);
    const { mean, variance } = tf.moments(answer, 1, true);
    const normed = answer.sub(mean).div(tf.sqrt(variance.add(1e-5)))
      .mul(p.layer_norm_weight).add(p.layer_norm_bias);
    const y = drop(normed.add(embed(p.user, user)), embDropout);
    const hidden = drop(tf.relu(linear(y, p.linear1_weight, p.linear1_bias)), fcDropout);
    const block = y.add(drop(linear(hidden, p.linear2_weight, p.linear2_bias), fcDropout));
    let out: Tensor;
    if (training) {
      const { mean, variance } = tf.moments(block, 0);
      const standard = block.sub(mean).div(tf.sqrt(variance.add(1e-5)));
      out = standard.mul(p.norm_weight).add(p.norm_bias);
      running.mean.assign(running.mean.mul(0.9).add(mean.mul(0.1)));
      running.variance.assign(running.variance.mul(0.9).add(variance.mul(0.1 * B / (B - 1))));
    } else {
      const { mean, variance } = running;
      out = tf.batchNorm(block, mean, variance, p.norm_bias, p.norm_weight, 1e-5);
    }
    return linear(out, p.output_weight, p.output_bias);
  }

  function crossEntropy(logits: Tensor, { target, weight }: Tensors): Tensor {
    const picked = tf.logSoftmax(logits).mul(tf.oneHot(target, model.V)).sum(1);
    return picked.mul(weight).sum().neg();
  }
  return { forward, crossEntropy };
}

const common = [
  "no graph: every operation is its own kernel, time unrolled by hand",
  ...(mode === "wasm" ? ["one thread: under Deno the library turns its threads off"] : []),
];
const name = `TensorFlow.js ${version} ${mode}`;

function deviceBatch(tf: Untyped, batch: PaddedBatch): Untyped {
  const { T, B, ids, last, user, target, weight } = batch;
  return {
    T,
    B,
    ids: Object.fromEntries(Object.entries(ids).map(([key, data]) => [key, tf.tensor1d(data)])),
    ...(last && { last: tf.tensor(last, [T, B, 1]) }),
    user: tf.tensor1d(user),
    target: tf.tensor1d(target),
    weight: tf.tensor1d(weight),
  };
}

function openModel(tf: Untyped, work: ModelWork): Session {
  const { kind } = work;
  if (kind === "epoch") throw new Unavailable("left out: see the train steps");
  const { forward, crossEntropy } = nextLocation(tf, work.model);
  const padded = readBatches(work.batches);
  // Prediction counts making the tensors too.
  const batches = kind === "predict" ? [] : padded.map((batch) => deviceBatch(tf, batch));
  const parameters: Tensors = Object.fromEntries(
    Object.entries(parameterShapes(work.model)).map(([name, shape], k) => [
      name,
      tf.variable(tf.tensor(firstValues(name, k, shape), shape)),
    ]),
  );
  const variables = Object.values(parameters);
  const { hidden } = work.model;
  const running = {
    mean: tf.variable(tf.zeros([hidden]), false),
    variance: tf.variable(tf.ones([hidden]), false),
  };
  const optimizer = tf.train.adam(1e-3, 0.9, 0.999, 1e-8);

  function train(batch: Untyped): Tensor {
    const { value, grads } = tf.variableGrads(
      () => crossEntropy(forward(parameters, running, batch, true), batch),
      variables,
    );
    const squares = Object.values<Tensor>(grads).map((grad) => grad.square().sum());
    const scale = tf.minimum(tf.reciprocal(tf.sqrt(tf.stack(squares).sum()).add(1e-6)), 1);
    optimizer.applyGradients(Object.fromEntries(
      variables.map((variable) => [
        variable.name,
        grads[variable.name].mul(scale).add(variable.mul(1e-6)),
      ]),
    ));
    return value;
  }
  function evaluate(batch: Untyped): Tensor {
    return crossEntropy(forward(parameters, running, batch, false), batch);
  }
  function predict(batch: Untyped): Tensor[] {
    const { values, indices } = tf.topk(
      tf.softmax(forward(parameters, running, batch, false)),
      10,
    );
    return [values, indices];
  }
  const unit = { train, evaluate, predict }[kind];
  let result: Tensor | Tensor[];
  return {
    name,
    notes: [
      ...common,
      ...(mode === "wasm" && kind === "train"
        ? ["gradients of the embeddings as one-hot matrix products: unsortedSegmentSum is missing"]
        : []),
      ...(kind === "train" ? ["dropout draws its numbers on the host"] : []),
      ...(padded.some(({ last }) => last) ? ["padded to the longest of each batch"] : []),
    ],
    units: padded.length,
    batched: mode === "webgpu" && kind !== "predict",
    start(k) {
      tf.dispose(result);
      result = tf.tidy(() => unit(batches[k] ?? deviceBatch(tf, padded[k])));
    },
    async finish() {
      if (!Array.isArray(result)) return (await result.data())[0];
      await Promise.all(result.map((tensor) => tensor.data()));
    },
    end() {
      optimizer.dispose();
      for (const batch of batches) tf.dispose(batch);
      tf.dispose([result, variables, running]);
    },
  };
}

function openLstm(tf: Untyped, { T, B, I, H }: LstmWork): Session {
  const shapes = [[T, B, I], [4 * H, I], [4 * H, H], [4 * H], [4 * H], [T, B, H]];
  const values: Tensor[] = shapes.map((shape, k) =>
    tf.tensor(firstValues("lstm", k, shape), shape)
  );
  const [dy] = values.slice(-1);
  const gradients = tf.valueAndGrads((...[x, ...weights]: Tensor[]) =>
    tf.stack(lstm(tf, x, weights)).mul(dy).sum()
  );
  let result: Untyped;
  return {
    name,
    notes: common,
    units: 1,
    batched: mode === "webgpu",
    start() {
      tf.dispose(result);
      result = tf.tidy(() => gradients(values.slice(0, -1)));
    },
    async finish() {
      await result.grads[0].data();
      return (await result.value.data())[0];
    },
    end() {
      tf.dispose([result, values]);
    },
  };
}

let library: Promise<Untyped> | undefined;

await servePeer(async (work: Work): Promise<Session> => {
  const tf = await (library ??= startLibrary());
  return work.kind === "lstm" ? openLstm(tf, work) : openModel(tf, work);
});
