/**
 * This library as a peer of the benchmark.
 *
 * @module
 */
import { stdin } from "node:process";
import { createInterface } from "node:readline";
import denoConfig from "../../deno.json" with { type: "json" };
import {
  adam,
  compile,
  defaultConfig,
  type Device,
  dispose,
  evaluator,
  initLstm,
  InputError,
  lstm,
  type LstmParams,
  type NextLocation,
  nextLocation,
  type NextLocationBatch,
  openDevice,
  pack,
  packed,
  predictor,
  put,
  randomKey,
  read,
  type Sample,
  sum,
  type Tensor,
  trainer,
  type Tree,
  uniform,
  valueAndGrad,
} from "../../mod.ts";
import type {
  BenchSample,
  LstmWork,
  ModelSizes,
  ModelWork,
  Ran,
  Ready,
  Request,
  Skip,
  Work,
} from "./protocol.ts";

/** Steps between reads of the losses, as the trainer's `print_step`. */
const PRINT_STEP = 20;

/** A kind of work that is ready to be repeated. */
interface Session extends Disposable {
  readonly run: (steps: number) => Promise<Ran>;
}

/** The model of the benchmark. */
export function modelOf(sizes: ModelSizes): NextLocation {
  const { V, U, embedding, hidden, layers, lstmDropout, fcDropout } = sizes;
  return nextLocation({
    ...defaultConfig,
    totalLocNum: V,
    totalUserNum: U,
    baseEmbSize: embedding,
    lstmHiddenSize: hidden,
    lstmNumLayers: layers,
    lstmDropout,
    fcDropout,
  });
}

/** A sample as the library has it. */
export function sampleOf({ x, user, weekday, startMin, dur, target }: BenchSample): Sample {
  return {
    X: Int32Array.from(x),
    user_X: new Int32Array(x.length).fill(user),
    weekday_X: Int32Array.from(weekday),
    start_min_X: Int32Array.from(startMin),
    dur_X: Float64Array.from(dur),
    diff: new Int32Array(x.length),
    Y: target,
  };
}

/** The batches of a file. */
export function readBatches(path: string): readonly (readonly Sample[])[] {
  const batches: readonly (readonly BenchSample[])[] = JSON.parse(Deno.readTextFileSync(path));
  return batches.map((samples) => samples.map(sampleOf));
}

/** The recipe's optimizer. */
export const optimizer = adam({ weightDecay: 1e-6, maxNorm: 1 });

function trainSession(device: Device, work: ModelWork): Session {
  const model = modelOf(work.model);
  const prepared = readBatches(work.batches).map((samples) => model.batch(samples));
  const training = trainer(device, model, optimizer);
  let state = { ...training.init(model.init(randomKey(42)), randomKey(7)), learningRate: 1e-3 };
  return {
    async run(steps) {
      const start = performance.now();
      const pending: Tensor[] = [];
      for (let i = 0; i < steps; i++) {
        const next = training.step(state, prepared[i % prepared.length]);
        pending.push(...Object.values(next.result!) as Tensor[]);
        state = { ...next, result: undefined };
        if ((i + 1) % PRINT_STEP === 0 || i + 1 === steps) {
          await read(pending);
          dispose(pending);
          pending.length = 0;
        }
      }
      return averaged(start, steps, device);
    },
    [Symbol.dispose]() {
      dispose([state.params, state.statistics, state.optimizer] as Tree);
      training[Symbol.dispose]();
    },
  };
}

function epochSession(device: Device, work: ModelWork): Session {
  const model = modelOf(work.model);
  const batches = readBatches(work.batches);
  const training = trainer(device, model, optimizer);
  let state = { ...training.init(model.init(randomKey(42)), randomKey(7)), learningRate: 1e-3 };
  const epoch = async (count: number): Promise<number> => {
    const start = performance.now();
    const pending: Tensor[] = [];
    for (let i = 0; i < count; i++) {
      const next = training.step(state, model.batch(batches[i]));
      pending.push(...Object.values(next.result!) as Tensor[]);
      state = { ...next, result: undefined };
      if ((i + 1) % PRINT_STEP === 0 || i + 1 === count) {
        await read(pending);
        dispose(pending);
        pending.length = 0;
      }
    }
    return performance.now() - start;
  };
  return {
    async run(steps) {
      // No steps: a warm-up, of as many batches as meet every form of a batch.
      if (steps === 0) await epoch(Math.min(PRINT_STEP, batches.length));
      const ms: number[] = [];
      for (let i = 0; i < steps; i++) ms.push(await epoch(batches.length));
      return { ms, bytes: device.liveBytes };
    },
    [Symbol.dispose]() {
      dispose([state.params, state.statistics, state.optimizer] as Tree);
      training[Symbol.dispose]();
    },
  };
}

function evaluateSession(device: Device, work: ModelWork): Session {
  const model = modelOf(work.model);
  const prepared = readBatches(work.batches).map((samples) => model.batch(samples));
  const evaluation = evaluator(device, model);
  const weights = put(device, model.init(randomKey(42)) as unknown as Tree);
  return {
    async run(steps) {
      const start = performance.now();
      const pending: Tensor[] = [];
      for (let i = 0; i < steps; i++) {
        const results = evaluation.run(weights as never, prepared[i % prepared.length]).result;
        pending.push(...Object.values(results) as Tensor[]);
      }
      await read(pending);
      dispose(pending);
      return averaged(start, steps, device);
    },
    [Symbol.dispose]() {
      dispose(weights);
      evaluation[Symbol.dispose]();
    },
  };
}

function predictSession(device: Device, work: ModelWork): Session {
  const model = modelOf(work.model);
  const batches = readBatches(work.batches);
  const prediction = predictor(device, model);
  const weights = put(device, model.init(randomKey(42)) as unknown as Tree);
  const top = async (batch: NextLocationBatch): Promise<readonly number[]> => {
    const probabilities = prediction(weights as never, batch);
    const { data } = await read(probabilities);
    dispose(probabilities);
    return Array.from(data, (_, id) => id).sort((a, b) => data[b] - data[a]).slice(0, 10);
  };
  return {
    async run(steps) {
      const ms: number[] = [];
      for (let i = 0; i < steps; i++) {
        const start = performance.now();
        await top(model.batch(batches[i % batches.length]));
        ms.push(performance.now() - start);
      }
      return { ms, bytes: device.liveBytes };
    },
    [Symbol.dispose]() {
      dispose(weights);
      prediction[Symbol.dispose]();
    },
  };
}

function lstmSession(device: Device, { T, B, I, H }: LstmWork): Session {
  const packing = pack(new Uint32Array(B).fill(T));
  const noise = uniform(randomKey(3), 4096);
  const data = Float32Array.from({ length: T * B * I }, (_, i) => noise[i % 4096] - 0.5);
  const x = packed(packing, data, [I]);
  const params = put(
    device,
    initLstm(randomKey(42), { inputSize: I, hiddenSize: H, layers: 1 })[0] as unknown as Tree,
  ) as unknown as LstmParams;
  const step = compile(
    device,
    valueAndGrad((arg: { x: Tensor; params: LstmParams }) => sum(lstm(arg.x, arg.params).output)),
    { name: "the LSTM" },
  );
  return {
    async run(steps) {
      const start = performance.now();
      for (let i = 0; i < steps; i++) {
        const [value, grads] = step({ x, params });
        if (i + 1 === steps) await read(value);
        dispose([value, grads] as unknown as Tree);
      }
      return averaged(start, steps, device);
    },
    [Symbol.dispose]() {
      dispose(params as unknown as Tree);
      step[Symbol.dispose]();
    },
  };
}

/** The answer to a run of which only the end was waited for. */
function averaged(start: number, steps: number, device: Device): Ran {
  const ms = (performance.now() - start) / Math.max(1, steps);
  return { ms: new Array(steps).fill(ms), batched: true, bytes: device.liveBytes };
}

const sessions = {
  train: trainSession,
  evaluate: evaluateSession,
  predict: predictSession,
  epoch: epochSession,
};

/** Warm-up: every batch once, at least twice in all; one is enough where one takes seconds. */
async function warmUp(session: Session, work: Work): Promise<void> {
  if (work.kind === "epoch") return void await session.run(0);
  const units = work.kind === "lstm" ? 1 : readBatches(work.batches).length;
  const start = performance.now();
  await session.run(units);
  if (units < 2 && performance.now() - start < 5000) await session.run(1);
}

async function serve(): Promise<void> {
  const device = await openDevice();
  let session: Session | undefined;
  let limited: Device | undefined;
  const answer = async (request: Request): Promise<Ready | Ran | Skip> => {
    if (request.do === "setup") {
      session?.[Symbol.dispose]();
      session = undefined;
      const { work } = request;
      limited?.[Symbol.dispose]();
      limited = work.kind !== "lstm" && work.defaultLimits
        ? await openDevice({ limits: "default" })
        : undefined;
      const opened = work.kind === "lstm"
        ? lstmSession(device, work)
        : sessions[work.kind](limited ?? device, work);
      await warmUp(opened, work);
      session = opened;
      return {
        ready: true,
        name: `Gatewise ${denoConfig.version} on ${device.adapter.name}`,
        notes: work.kind === "lstm" ? ["x is uploaded with every call"] : [],
        details: {
          adapter: device.adapter.name,
          kernels: device.adapter.straight ? "straight" : "loop",
        },
      };
    }
    if (request.do === "run" && session !== undefined) return await session.run(request.steps);
    return { skip: "nothing is set up" };
  };
  for await (const line of createInterface({ input: stdin })) {
    const request: Request = JSON.parse(line);
    if (request.do === "end") break;
    try {
      console.log(JSON.stringify(await answer(request)));
    } catch (error) {
      if (!(error instanceof InputError)) console.error(error);
      console.log(JSON.stringify({ skip: (error as Error).message.split("\n")[0] }));
    }
  }
}

if (import.meta.main) {
  try {
    await serve();
  } catch (error) {
    console.log(JSON.stringify({ skip: (error as Error).message }));
  }
  Deno.exit(0);
}
