/**
 * Where the time of a training step goes: `profile.ts WORK CYCLES` prints a {@linkcode Profile} as
 * JSON. The library is not changed for it: WebGPU's own objects are watched from outside.
 *
 * @module
 */
import {
  compile,
  dispose,
  foldIn,
  initLstm,
  lstmLayers,
  type LstmParams,
  openDevice,
  packed,
  put,
  randomKey,
  read,
  sum,
  type Tensor,
  trainer,
  type Tree,
  uniform,
  valueAndGrad,
} from "../../mod.ts";
import { modelOf, optimizer, readBatches } from "./gatewise.ts";
import { measurePeak, type PeakResult } from "./peak.ts";
import type { ModelWork } from "./protocol.ts";
import { mean, median } from "./report.ts";
import { lstmLayersFlop, modelFlop } from "./work.ts";

/** GPU time of a kernel in a step. */
export interface KernelTime {
  readonly kernel: string;
  readonly dispatches: number;
  readonly ms: number;
}

/** What a training step costs, on average over the batches. */
export interface Profile {
  readonly adapter: string;
  readonly kernels: string;
  /** Wall time, no wait but at the end. */
  readonly stepMs: number;
  /** JavaScript: in `step()` but not in `queue.submit()`, of a step that finds the GPU idle. */
  readonly javascriptMs: number;
  /** The same while the GPU computes the step before: a software adapter takes the cores for it. */
  readonly javascriptBusyMs: number;
  /** In `queue.submit()`; software adapters may compute in it. */
  readonly submitMs: number;
  /** Making a batch of samples, before `step()`. */
  readonly batchMs: number;
  readonly dispatches: number;
  readonly submits: number;
  readonly passes: number;
  /** Memory in use between steps. */
  readonly liveBytes: number;
  /** GPU time of the step's passes as they are; absent without timestamp queries. */
  readonly gpuMs?: number;
  /** GPU time of each kernel, every dispatch in a pass of its own, which itself costs time. */
  readonly perKernel?: readonly KernelTime[];
  /** The LSTM layers alone on the same batches, forward and backward. */
  readonly lstmMs: number;
  readonly lstmGflop: number;
  readonly stepGflop: number;
  readonly peak: readonly PeakResult[];
}

/** Timestamps fit so many passes at once. */
const SET_SIZE = 4096;

/** What is watched. */
interface Watch {
  /** `passes`: times them as they are; `dispatches`: gives each dispatch a pass of its own. */
  mode: "off" | "passes" | "dispatches";
  dispatches: number;
  submits: number;
  passes: number;
  submitMs: number;
}

const watch: Watch = { mode: "off", dispatches: 0, submits: 0, passes: 0, submitMs: 0 };
const labels: string[] = [];
const sets: GPUQuerySet[] = [];
let gpu: GPUDevice;

// deno-lint-ignore no-explicit-any -- methods of any of WebGPU's interfaces
type Method = (this: any, ...args: any[]) => any;

/** Replaces a method; the new one is given the old one. */
function wrap(prototype: object, name: string, make: (method: Method) => Method): void {
  const methods = prototype as Record<string, Method>;
  methods[name] = make(methods[name]);
}

function timestampWrites(label: string): GPUComputePassTimestampWrites {
  const n = 2 * labels.length;
  labels.push(label);
  const set = Math.floor(n / SET_SIZE);
  sets[set] ??= gpu.createQuerySet({ type: "timestamp", count: SET_SIZE });
  return {
    querySet: sets[set],
    beginningOfPassWriteIndex: n % SET_SIZE,
    endOfPassWriteIndex: n % SET_SIZE + 1,
  };
}

/** Stands for a pass, and begins one for each dispatch. */
function splitPass(
  begin: (descriptor: GPUComputePassDescriptor) => GPUComputePassEncoder,
): Record<string, Method> {
  let pipeline: GPUComputePipeline;
  const groups = new Map<number, unknown[]>();
  const dispatch = (name: "dispatchWorkgroups" | "dispatchWorkgroupsIndirect"): Method => {
    return (...args) => {
      const pass = begin({ timestampWrites: timestampWrites(pipeline.label) });
      pass.setPipeline(pipeline);
      for (const group of groups.values()) (pass.setBindGroup as Method)(...group);
      (pass[name] as Method)(...args);
      pass.end();
    };
  };
  return {
    setPipeline: (value) => void (pipeline = value),
    setBindGroup: (...args) => void groups.set(args[0], args),
    dispatchWorkgroups: dispatch("dispatchWorkgroups"),
    dispatchWorkgroupsIndirect: dispatch("dispatchWorkgroupsIndirect"),
    pushDebugGroup: () => {},
    popDebugGroup: () => {},
    insertDebugMarker: () => {},
    end: () => {},
  };
}

function install(): void {
  wrap(
    GPUAdapter.prototype,
    "requestDevice",
    (requestDevice) =>
      async function (descriptor: GPUDeviceDescriptor = {}) {
        const timed = this.features.has("timestamp-query");
        const requiredFeatures = [
          ...descriptor.requiredFeatures ?? [],
          ...(timed ? ["timestamp-query"] : []),
        ];
        return gpu = await requestDevice.call(this, { ...descriptor, requiredFeatures });
      },
  );
  wrap(GPUQueue.prototype, "submit", (submit) =>
    function (commands) {
      const start = performance.now();
      submit.call(this, commands);
      watch.submitMs += performance.now() - start;
      watch.submits++;
    });
  for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) {
    wrap(GPUComputePassEncoder.prototype, name, (dispatch) =>
      function (...args) {
        watch.dispatches++;
        dispatch.apply(this, args);
      });
  }
  wrap(
    GPUCommandEncoder.prototype,
    "beginComputePass",
    (begin) =>
      function (descriptor: GPUComputePassDescriptor = {}) {
        watch.passes++;
        if (watch.mode === "off") return begin.call(this, descriptor);
        if (watch.mode === "passes") {
          return begin.call(this, { ...descriptor, timestampWrites: timestampWrites("pass") });
        }
        return splitPass((own) => {
          return begin.call(this, own);
        });
      },
  );
}

/** Milliseconds of every pass since the last call, with its label. Waits for the GPU. */
async function takeTimes(): Promise<readonly { readonly label: string; readonly ms: number }[]> {
  const times: number[] = [];
  for (let at = 0; at < 2 * labels.length; at += SET_SIZE) {
    const count = Math.min(SET_SIZE, 2 * labels.length - at);
    const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
    const resolved = gpu.createBuffer({ size: 8 * count, usage: QUERY_RESOLVE | COPY_SRC });
    const staging = gpu.createBuffer({ size: 8 * count, usage: COPY_DST | MAP_READ });
    const encoder = gpu.createCommandEncoder();
    encoder.resolveQuerySet(sets[at / SET_SIZE], 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, 8 * count);
    gpu.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const stamps = new BigUint64Array(staging.getMappedRange());
    for (let i = 0; i < count; i += 2) times.push(Number(stamps[i + 1] - stamps[i]) / 1e6);
    staging.unmap();
    resolved.destroy();
    staging.destroy();
  }
  return labels.splice(0).map((label, i) => ({ label, ms: times[i] }));
}

/** The middle of several measurements of a sum. */
async function repeat(count: number, measure: () => Promise<number>): Promise<number> {
  const values: number[] = [];
  for (let i = 0; i < count; i++) values.push(await measure());
  return median(values);
}

async function profile(work: ModelWork, cycles: number): Promise<Profile> {
  install();
  using device = await openDevice();
  const timed = gpu.features.has("timestamp-query");
  const model = modelOf(work.model);
  const samples = readBatches(work.batches);
  const batchTimes: number[] = [];
  const prepared = samples.map((batch) => {
    const start = performance.now();
    const made = model.batch(batch);
    batchTimes.push(performance.now() - start);
    return made;
  });
  using training = trainer(device, model, optimizer);
  let state = { ...training.init(model.init(randomKey(42)), randomKey(7)), learningRate: 1e-3 };
  const calls: { readonly total: number; readonly submit: number }[] = [];
  const step = (i: number): Tensor => {
    watch.submitMs = 0;
    const start = performance.now();
    const next = training.step(state, prepared[i]);
    calls.push({ total: performance.now() - start, submit: watch.submitMs });
    const { loss, ...others } = next.result!;
    dispose(others);
    state = { ...next, result: undefined };
    return loss;
  };
  /** All batches once; milliseconds until the last is done. */
  const cycle = async (): Promise<number> => {
    const start = performance.now();
    const losses = prepared.map((_, i) => step(i));
    await read(losses);
    const ms = performance.now() - start;
    dispose(losses);
    return ms;
  };
  const units = prepared.length;
  // Some batches may meet kernels of another size only in the second round.
  await cycle();
  await cycle();

  calls.length = 0;
  Object.assign(watch, { dispatches: 0, submits: 0, passes: 0 });
  const stepMs = await repeat(cycles, cycle) / units;
  // Each cycle's read of the losses is one submit more.
  const counts = {
    dispatches: watch.dispatches / cycles / units,
    submits: (watch.submits - cycles) / cycles / units,
    passes: watch.passes / cycles / units,
  };
  const javascriptBusyMs = median(calls.map(({ total, submit }) => total - submit));
  const submitMs = median(calls.map(({ submit }) => submit));
  const liveBytes = device.liveBytes;
  calls.length = 0;
  for (let i = 0; i < units; i++) {
    const loss = step(i);
    await read(loss);
    dispose(loss);
  }
  const javascriptMs = median(calls.map(({ total, submit }) => total - submit));

  let gpuMs: number | undefined, perKernel: readonly KernelTime[] | undefined;
  if (timed) {
    watch.mode = "passes";
    gpuMs = await repeat(cycles, async () => {
      await cycle();
      return (await takeTimes()).reduce((all, { ms }) => all + ms, 0);
    }) / units;
    watch.mode = "dispatches";
    const kernels = new Map<string, { ms: number[]; dispatches: number }>();
    for (let n = 0; n < cycles; n++) {
      await cycle();
      for (const { label, ms } of await takeTimes()) {
        const entry = kernels.get(label) ?? { ms: new Array(cycles).fill(0), dispatches: 0 };
        entry.ms[n] += ms;
        entry.dispatches++;
        kernels.set(label, entry);
      }
    }
    perKernel = [...kernels].map(([kernel, { ms, dispatches }]) => ({
      kernel,
      dispatches: dispatches / cycles / units,
      ms: median(ms) / units,
    })).sort((a, b) => b.ms - a.ms);
    watch.mode = "off";
  }

  const { embedding, hidden, layers } = work.model;
  const noise = uniform(foldIn(randomKey(5), 1), 4096);
  const inputs = prepared.map(({ location }) =>
    packed(
      location.packing!,
      Float32Array.from(
        { length: location.data.length * embedding },
        (_, i) => noise[i % 4096] - 0.5,
      ),
      [embedding],
    )
  );
  const params = put(
    device,
    initLstm(randomKey(6), { inputSize: embedding, hiddenSize: hidden, layers }) as unknown as Tree,
  ) as unknown as readonly LstmParams[];
  using lstm = compile(
    device,
    valueAndGrad((p: { x: Tensor; layers: readonly LstmParams[] }) =>
      sum(lstmLayers(p.x, p.layers).output)
    ),
  );
  const lstmCycle = async (): Promise<number> => {
    const start = performance.now();
    const values = inputs.map((x) => {
      const [value, grads] = lstm({ x, layers: params });
      dispose(grads as unknown as Tree);
      return value;
    });
    await read(values);
    const ms = performance.now() - start;
    dispose(values);
    return ms;
  };
  await lstmCycle();
  if (timed) watch.mode = "passes";
  const lstmMs = await repeat(cycles, async () => {
    const wall = await lstmCycle();
    return timed ? (await takeTimes()).reduce((all, { ms }) => all + ms, 0) : wall;
  }) / units;
  watch.mode = "off";
  const tokens = mean(inputs.map(({ shape }) => shape[0]));
  return {
    adapter: device.adapter.name,
    kernels: device.adapter.straight ? "straight" : "loop",
    stepMs,
    javascriptMs,
    javascriptBusyMs,
    submitMs,
    batchMs: median(batchTimes),
    ...counts,
    liveBytes,
    gpuMs,
    perKernel,
    lstmMs,
    lstmGflop: 3 * lstmLayersFlop(work.model, tokens) / 1e9,
    stepGflop: 3 * modelFlop(work.model, work.B, tokens) / 1e9,
    peak: await measurePeak(),
  };
}

if (import.meta.main) {
  const [work, cycles] = Deno.args;
  console.log(JSON.stringify(await profile(JSON.parse(work), Number(cycles))));
  Deno.exit(0);
}
