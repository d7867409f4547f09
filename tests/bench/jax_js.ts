/**
 * jax-js as a peer of the benchmark: `jax_js.ts wasm` or `jax_js.ts webgpu`.
 *
 * Every function owns its array arguments (jax-js counts references): `.ref` keeps one for later.
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

const version = "0.1.25";
const mode = Deno.args[0];

// Without the package in the module graph there are no types of it either.
// deno-lint-ignore no-explicit-any
type Untyped = any;
type NdArray = Untyped;
type Arrays = Record<string, NdArray>;

async function startLibrary(): Promise<Untyped> {
  const [jax] = await importPackages([`npm:@jax-js/jax@${version}`]);
  const devices: readonly string[] = await jax.init(mode);
  if (!devices.includes(mode)) throw new Unavailable(`jax-js finds no ${mode} device here`);
  jax.defaultDevice(mode);
  return jax;
}

function recurrent(jax: Untyped) {
  const { numpy: np, nn } = jax;

  /**
   * One layer over the T steps of x[T,B,I], unrolled; the outputs of every step, [B,H] each.
   * tanh(x) = 2 sigmoid(2x) - 1, over all gates at once, and slices instead of a split: a quarter
   * fewer kernels than the library makes of its tanh and split.
   */
  function lstm(x: NdArray, [weightIh, weightHh, biasIh, biasHh]: readonly NdArray[]): NdArray[] {
    const [T] = x.shape, H = weightHh.shape[1];
    const projected = np.matmul(x, weightIh.transpose()).add(biasIh.add(biasHh));
    const recurrence = weightHh.transpose();
    const gain = np.array(
      Float32Array.from({ length: 4 * H }, (_, n) => Math.floor(n / H) === 2 ? 2 : 1),
    );
    const outputs: NdArray[] = [];
    let c: NdArray;
    for (const step of np.unstack(projected, 0)) {
      const t = outputs.length;
      const z = t === 0 ? step : step.add(np.matmul(outputs[t - 1].ref, recurrence.ref));
      const gates = nn.sigmoid(z.mul(gain.ref));
      const gate = (k: number): NdArray => gates.ref.slice([], [k * H, (k + 1) * H]);
      const fresh = gate(0).mul(gate(2).mul(2).sub(1));
      c = t === 0 ? fresh : gate(1).mul(c).add(fresh);
      const squashed = nn.sigmoid((t === T - 1 ? c : c.ref).mul(2)).mul(2).sub(1);
      outputs.push(gate(3).mul(squashed));
      gates.dispose();
    }
    recurrence.dispose();
    gain.dispose();
    return outputs;
  }
  return lstm;
}

function nextLocation(jax: Untyped, model: ModelWork["model"]) {
  const { numpy: np, nn, random } = jax;
  const { lstmDropout, fcDropout, layers } = model;
  const lstm = recurrent(jax);

  const linear = (x: NdArray, weight: NdArray, bias: NdArray): NdArray =>
    np.matmul(x, weight.transpose()).add(bias);

  function embed(table: NdArray, ids: NdArray): NdArray {
    // The scatter of take's gradient does not compile in Deno: WGSL's naga refuses its pointer.
    return mode === "webgpu"
      ? np.matmul(nn.oneHot(ids, table.shape[0]), table)
      : np.take(table, ids, 0);
  }

  /** [x - mean, variance] along an axis. */
  function centred(x: NdArray, axis: number): [NdArray, NdArray, NdArray] {
    const mean = np.mean(x.ref, axis, { keepdims: true });
    const difference = x.sub(mean.ref);
    return [difference, np.mean(np.square(difference.ref), axis, { keepdims: true }), mean];
  }
  const inverseDeviation = (variance: NdArray): NdArray =>
    np.reciprocal(np.sqrt(variance.add(1e-5)));

  /** Logits and the statistics; trains with a key, evaluates without. */
  function forward(
    parameters: Arrays,
    { mean, variance }: Arrays,
    batch: Untyped,
    key?: NdArray,
  ): [NdArray, Arrays] {
    const p = parameters;
    const { ids, last, user } = batch;
    const [T, B] = ids.location.shape;
    const keys: NdArray[] = key === undefined ? [] : np.unstack(random.split(key, 3 + layers), 0);
    const drop = (x: NdArray, rate: number): NdArray => {
      if (key === undefined) return x;
      const use = keys.pop();
      if (rate === 0) {
        use.dispose();
        return x;
      }
      const keep = random.bernoulli(use, 1 - rate, x.shape);
      return np.where(keep, x.mul(1 / (1 - rate)), 0);
    };
    const embedded = Object.keys(ids)
      .map((name) => embed(p[name], ids[name].reshape([T * B])))
      .reduce((a, b) => a.add(b))
      .reshape([T, B, model.embedding]);
    let x = drop(embedded, embDropout);
    let outputs: NdArray[] = [];
    for (let l = 0; l < layers; l++) {
      if (l > 0) x = drop(np.stack(outputs), lstmDropout);
      const names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
      outputs = lstm(x, names.map((name) => p[`${name}_l${l}`]));
    }
    const answer = last === undefined
      ? outputs.pop()
      : np.stack(outputs).mul(last.reshape([T, B, 1])).sum(0);
    for (const unused of last === undefined ? outputs : []) unused.dispose();

    const [difference, spread, centre] = centred(answer, 1);
    centre.dispose();
    const normed = difference.mul(inverseDeviation(spread))
      .mul(p.layer_norm_weight).add(p.layer_norm_bias);
    const y = drop(normed.add(embed(p.user, user)), embDropout);
    const hidden = drop(nn.relu(linear(y.ref, p.linear1_weight, p.linear1_bias)), fcDropout);
    const block = y.add(drop(linear(hidden, p.linear2_weight, p.linear2_bias), fcDropout));
    let standard: NdArray, statistics: Arrays;
    if (key === undefined) {
      standard = block.sub(mean).mul(inverseDeviation(variance));
      statistics = {};
    } else {
      const [difference, spread, centre] = centred(block, 0);
      standard = difference.mul(inverseDeviation(spread.ref));
      statistics = {
        mean: mean.mul(0.9).add(centre.reshape([-1]).mul(0.1)),
        variance: variance.mul(0.9).add(spread.reshape([-1]).mul(0.1 * B / (B - 1))),
      };
    }
    const out = standard.mul(p.norm_weight).add(p.norm_bias);
    return [linear(out, p.output_weight, p.output_bias), statistics];
  }

  function crossEntropy(logits: NdArray, { target, weight }: Arrays): NdArray {
    const picked = nn.oneHot(target, model.V).mul(nn.logSoftmax(logits, 1)).sum(1);
    return np.negative(picked.mul(weight).sum());
  }
  return { forward, crossEntropy };
}

/** Gradients clipped to a global norm of 1, then Adam. */
function update(np: Untyped, state: Untyped, grads: Arrays, powers: NdArray): Untyped {
  const names = Object.keys(grads);
  const squares = names.map((name) => np.square(grads[name].ref).sum());
  const norm = np.sqrt(squares.reduce((a, b) => a.add(b)));
  const scale = np.minimum(np.reciprocal(norm.add(1e-6)), 1);
  const [beta1Power, beta2Power] = np.unstack(powers, 0);
  const [unbias1, unbias2] = [beta1Power, beta2Power].map((power: NdArray) =>
    np.reciprocal(np.negative(power).add(1))
  );
  const next: Untyped = { parameters: {}, first: {}, second: {} };
  for (const name of names) {
    const parameter = state.parameters[name];
    const gradient = grads[name].mul(scale.ref).add(parameter.ref.mul(1e-6));
    const first = state.first[name].mul(0.9).add(gradient.ref.mul(0.1));
    const second = state.second[name].mul(0.999).add(np.square(gradient).mul(0.001));
    const step = first.ref.mul(unbias1.ref)
      .div(np.sqrt(second.ref.mul(unbias2.ref)).add(1e-8)).mul(1e-3);
    next.parameters[name] = parameter.sub(step);
    next.first[name] = first;
    next.second[name] = second;
  }
  for (const used of [scale, unbias1, unbias2]) used.dispose();
  return next;
}

const common = [
  "time unrolled by hand: the library has no scan",
  ...(mode === "webgpu"
    ? ["embeddings as one-hot matrix products: the gradient of take does not compile in Deno"]
    : [`${navigator.hardwareConcurrency} worker threads, as the library chooses`]),
];
const name = `jax-js ${version} ${mode}`;

function deviceBatch(np: Untyped, { T, B, ids, last, user, target, weight }: PaddedBatch): Untyped {
  const shaped = (data: Int32Array | Float32Array): NdArray => np.array(data).reshape([T, B]);
  return {
    ids: Object.fromEntries(Object.entries(ids).map(([key, data]) => [key, shaped(data)])),
    ...(last && { last: shaped(last) }),
    user: np.array(user),
    target: np.array(target),
    weight: np.array(weight),
  };
}

/**
 * Results not waited for yet. They are kept until then: the library is lazy and would never compute
 * what was dropped before.
 */
function pendingResults({ blockUntilReady, tree }: Untyped) {
  let kept: Untyped[] = [];
  return {
    add(result: Untyped): void {
      kept.push(result);
    },
    /** Waits for all; the values of the last one's arrays that are up to a scalar or a top ten. */
    async finish(): Promise<readonly ArrayLike<number>[]> {
      await blockUntilReady(kept);
      const last: NdArray[] = tree.leaves(kept.at(-1)).filter(({ size }: NdArray) => size <= 10);
      const values = await Promise.all(last.map((array) => array.ref.data()));
      tree.dispose(kept);
      kept = [];
      return values;
    },
  };
}

function openModel(jax: Untyped, work: ModelWork): Session {
  const { kind } = work;
  if (kind === "epoch") throw new Unavailable("left out: see the train steps");
  const { numpy: np, nn, random, jit, tree, lax } = jax;
  const { forward, crossEntropy } = nextLocation(jax, work.model);
  const padded = readBatches(work.batches);
  // Prediction counts making the arrays too.
  const batches = kind === "predict" ? [] : padded.map((batch) => deviceBatch(np, batch));
  const shapes = Object.entries(parameterShapes(work.model));
  const each = (make: (name: string, shape: readonly number[], k: number) => NdArray): Arrays =>
    Object.fromEntries(shapes.map(([name, shape], k) => [name, make(name, shape, k)]));
  const parameters = each((name, shape, k) => np.array(firstValues(name, k, shape)).reshape(shape));
  const statistics = {
    mean: np.zeros([work.model.hidden]),
    variance: np.ones([work.model.hidden]),
  };
  const notes = [
    ...common,
    ...(padded.some(({ last }) => last) ? ["padded to the longest of each batch"] : []),
  ];

  if (kind === "train") {
    const step = jit((state: Untyped, batch: Untyped, powers: NdArray) => {
      const [key, use] = np.unstack(random.split(state.key, 2), 0);
      const loss = (parameters: Arrays): [NdArray, Arrays] => {
        const [logits, statistics] = forward(parameters, state.statistics, batch, use);
        return [crossEntropy(logits, batch), statistics];
      };
      const [[value, statistics], grads] = jax.valueAndGrad(loss, { hasAux: true })(
        tree.ref(state.parameters),
      );
      return { ...update(np, state, grads, powers), statistics, key, loss: value };
    });
    const zeros = (): Arrays => each((_, shape) => np.zeros(shape));
    let state: Untyped = {
      parameters,
      first: zeros(),
      second: zeros(),
      statistics,
      key: random.key(42),
    };
    let count = 0, last: NdArray;
    return {
      name,
      notes,
      units: padded.length,
      batched: mode === "webgpu",
      start(unit) {
        count++;
        const powers = np.array(Float32Array.of(0.9 ** count, 0.999 ** count));
        last?.dispose();
        ({ loss: last, ...state } = step(state, tree.ref(batches[unit]), powers));
      },
      async finish() {
        await jax.blockUntilReady(state);
        return (await last.ref.data())[0];
      },
      end() {
        last?.dispose();
        tree.dispose(state);
        tree.dispose(batches);
        step.dispose();
      },
    };
  }

  const evaluate = jit((parameters: Arrays, statistics: Arrays, batch: Untyped) => {
    const [logits] = forward(parameters, statistics, batch);
    if (kind === "evaluate") return crossEntropy(logits, batch);
    tree.dispose([batch.target, batch.weight]);
    return lax.topK(nn.softmax(logits, 1), 10);
  });
  const results = pendingResults(jax);
  return {
    name,
    notes,
    units: padded.length,
    batched: mode === "webgpu" && kind === "evaluate",
    start(unit) {
      const batch = kind === "predict" ? deviceBatch(np, padded[unit]) : tree.ref(batches[unit]);
      results.add(evaluate(tree.ref(parameters), tree.ref(statistics), batch));
    },
    async finish() {
      const read = await results.finish();
      if (kind === "evaluate") return read[0][0];
    },
    end() {
      tree.dispose([parameters, statistics, batches]);
      evaluate.dispose();
    },
  };
}

function openLstm(jax: Untyped, { T, B, I, H }: LstmWork): Session {
  const { numpy: np, tree, jit } = jax;
  const lstm = recurrent(jax);
  const shapes = [[T, B, I], [4 * H, I], [4 * H, H], [4 * H], [4 * H], [T, B, H]];
  const values = shapes.map((shape, k) => np.array(firstValues("lstm", k, shape)).reshape(shape));
  const loss = (values: readonly NdArray[], dy: NdArray): NdArray =>
    np.stack(lstm(values[0], values.slice(1))).mul(dy).sum();
  const step = jit((values: readonly NdArray[], dy: NdArray) => jax.valueAndGrad(loss)(values, dy));
  const results = pendingResults(jax);
  return {
    name,
    notes: common.filter((note) => !note.startsWith("embeddings")),
    units: 1,
    batched: mode === "webgpu",
    start() {
      results.add(step(tree.ref(values.slice(0, 5)), values[5].ref));
    },
    async finish() {
      return (await results.finish())[0][0];
    },
    end() {
      tree.dispose(values);
      step.dispose();
    },
  };
}

let library: Promise<Untyped> | undefined;

await servePeer(async (work: Work): Promise<Session> => {
  const jax = await (library ??= startLibrary());
  return work.kind === "lstm" ? openLstm(jax, work) : openModel(jax, work);
});
