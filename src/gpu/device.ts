/**
 * The GPU: its adapter, its memory and its pipelines. Only this folder and `plan` speak WebGPU.
 *
 * @module
 */
// Deno has these types built in; the package is for editors and tools that do not.
import type {} from "@webgpu/types";
import { DeviceError, type DeviceFailure, InputError } from "../core/errors.ts";

/** What a machine computes on, for logs and results. */
export interface AdapterDescription {
  /** Name that the driver gives. */
  readonly name: string;
  /** Whether it is a software adapter that runs best on straight-line kernels. */
  readonly straight: boolean;
  /** Most bytes of a buffer that a kernel can bind. */
  readonly maxBindingBytes: number;
  /** Most buffers that a kernel can bind, or images in their place. */
  readonly maxBuffers: number;
}

/** How to open a device. */
export interface DeviceOptions {
  /**
   * Which form of the kernels to use. Default: `straight` on Mesa's llvmpipe, `loop` elsewhere. Both
   * compute the same.
   */
  readonly kernels?: "straight" | "loop";
  /**
   * Sizes of buffers and bindings to open with. `adapter`, the default: the largest that the adapter
   * has. `default`: those that WebGPU promises on every adapter, 256 MiB a buffer and 128 MiB a
   * binding, to see whether a model would run anywhere.
   */
  readonly limits?: "default" | "adapter";
}

/** GPU memory. */
export interface Memory {
  readonly buffer: GPUBuffer;
  /** Bytes that the buffer was made with. */
  readonly bytes: number;
}

/** Elements in a texel of an image: four that are only read, or one that a kernel reads and writes. */
export type Texel = 4 | 1;

/** A texture that holds elements as {@linkcode imageRows} says. */
export interface Image {
  readonly view: GPUTextureView;
  readonly texture: GPUTexture;
  readonly texel: Texel;
  /** Rows of 4096 texels. */
  readonly rows: number;
}

/** Texels of a row of an image. */
const ROW_TEXELS = 4096;

/** Elements of a row of an image of four to a texel. */
export const IMAGE_ROW = 4 * ROW_TEXELS;

/** Rows of an image that hold so many elements. */
export function imageRows(elements: number, texel: Texel = 4): number {
  return Math.max(1, Math.ceil(elements / texel / ROW_TEXELS));
}

/** An open adapter. Dispose of it with `using`, or by `device[Symbol.dispose]()`. */
export interface Device extends Disposable {
  /** What it computes on. */
  readonly adapter: AdapterDescription;
  /** Bytes of GPU memory in use by tensors and plans. */
  readonly liveBytes: number;
}

/** The inside of a device, for `plan`. */
export interface OpenDevice extends Device {
  readonly gpu: GPUDevice;
  /** Memory of at least `bytes`; its content is arbitrary. */
  allocate(bytes: number): Memory;
  /** Gives memory back. */
  release(memory: Memory): void;
  /** A texture of at least so many rows; its content is arbitrary. */
  allocateImage(rows: number, texel?: Texel): Image;
  /** Gives a texture back. */
  releaseImage(image: Image): void;
  /** A compute pipeline for WGSL and the access of its bindings; made once. */
  pipeline(code: string, access: readonly BindingAccess[], label: string): Pipeline;
  /** Throws the first error that the GPU reported, if any. */
  check(): void;
  /** Waits for the GPU, but not longer than it works: throws as `check` as soon as it failed. */
  wait(work: Promise<unknown>): Promise<void>;
}

/** How a kernel uses a binding; what is moving has an offset that is given at each launch. */
export type BindingAccess =
  | "read"
  | "write"
  | "moving write"
  | "uniform"
  | "moving uniform"
  | "image"
  | "exchange";

/** A pipeline and the layout of its only bind group. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/**
 * Room after each buffer, so that a uniform window of the largest size (64 KiB) may start at any
 * element.
 */
const SLACK = 65536;

/** WebGPU lets kernels both read and write a texture of single elements, but of no more. */
const formats: Readonly<Record<Texel, GPUTextureFormat>> = { 4: "rgba32float", 1: "r32float" };
const layoutEntries: Readonly<
  Record<BindingAccess, Pick<GPUBindGroupLayoutEntry, "buffer" | "storageTexture">>
> = {
  read: { buffer: { type: "read-only-storage" } },
  write: { buffer: { type: "storage" } },
  "moving write": { buffer: { type: "storage", hasDynamicOffset: true } },
  uniform: { buffer: { type: "uniform" } },
  "moving uniform": { buffer: { type: "uniform", hasDynamicOffset: true } },
  image: { storageTexture: { access: "read-only", format: formats[4] } },
  exchange: { storageTexture: { access: "read-write", format: formats[1] } },
};

/** What to do about a failure. */
const remedies: Readonly<Record<DeviceFailure, string>> = {
  lost: "try again; if that does not help, update the graphics driver",
  memory: "make the batch or the model smaller, or end other programs that use the GPU",
  command:
    "update the graphics driver; if that does not help, report it as a fault of this library",
};

/** Milliseconds within which the reason for work that failed is reported, if ever. */
const REPORT_TIME = 1000;

const noAdapter =
  "no WebGPU adapter was found on this machine: install a graphics driver, or Mesa's " +
  "software one (apt-get install mesa-vulkan-drivers; ./denow does it)";

/** How many threads Mesa's llvmpipe computes with: read when the process first asks for an adapter. */
const THREADS = "LP_NUM_THREADS";

/**
 * Lets Mesa's llvmpipe compute with twice as many threads as there are cores, where the environment
 * does not say how many and the process may change it (`--allow-env=LP_NUM_THREADS`). It gives every
 * thread an equal part of a launch and waits for the last: with more and smaller parts, a thread that
 * the system wakes late, or on a core that is taken, holds up less.
 */
export function allowMoreThreads(): void {
  const { state } = Deno.permissions.querySync({ name: "env", variable: THREADS });
  if (state !== "granted" || Deno.env.get(THREADS) !== undefined) return;
  Deno.env.set(THREADS, String(2 * navigator.hardwareConcurrency));
}

/**
 * Opens the machine's GPU, or its software adapter. Mesa's llvmpipe is up to a quarter faster where
 * the program may set `LP_NUM_THREADS` (`--allow-env=LP_NUM_THREADS`).
 *
 * @throws {InputError} If the machine has no WebGPU adapter.
 * @throws {DeviceError} If the adapter cannot be opened.
 *
 * @example
 * ```ts
 * import { openDevice } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * console.log(device.adapter.name, device.liveBytes); // ... 0
 * ```
 */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  allowMoreThreads();
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new InputError(noAdapter);
  const {
    maxBufferSize,
    maxStorageBufferBindingSize,
    maxStorageBuffersPerShaderStage,
    maxStorageTexturesPerShaderStage,
    maxTextureDimension2D,
  } = adapter.limits;
  const bindings = {
    maxStorageBuffersPerShaderStage,
    maxStorageTexturesPerShaderStage,
    maxTextureDimension2D,
  };
  const name = adapter.info.description || adapter.info.device || adapter.info.vendor ||
    "unnamed adapter";
  let gpu: GPUDevice;
  try {
    gpu = await adapter.requestDevice({
      requiredLimits: options.limits === "default"
        ? bindings
        : { maxBufferSize, maxStorageBufferBindingSize, ...bindings },
    });
  } catch (error) {
    throw failureOf("lost", `${name} cannot be opened`, error);
  }
  const maxBindingBytes = gpu.limits.maxStorageBufferBindingSize;
  const maxBytes = Math.floor((gpu.limits.maxBufferSize - SLACK) / 256) * 256;
  const straight = options.kernels === undefined
    ? /llvmpipe/i.test(name)
    : options.kernels === "straight";
  const maxBuffers = straight
    ? Math.min(maxStorageBuffersPerShaderStage, maxStorageTexturesPerShaderStage)
    : maxStorageBuffersPerShaderStage;
  const pipelines = new Map<string, Pipeline>();
  const layouts = new Map<string, GPUBindGroupLayout>();
  const free = new Map<number, Memory[]>();
  const all = new Set<Memory>();
  const freeImages = new Map<string, Image[]>();
  const allImages = new Set<Image>();
  let liveBytes = 0;
  let failure: DeviceError | undefined;
  let open = true;
  /** Ends what waits for the GPU. */
  const waiting = new Set<(value?: unknown) => void>();

  function stopWaiting(): void {
    for (const stop of waiting) stop();
    waiting.clear();
  }

  function fail(error: DeviceError): void {
    if (!open) return;
    failure ??= error;
    stopWaiting();
  }
  gpu.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    const { error } = event as GPUUncapturedErrorEvent;
    fail(
      error instanceof GPUOutOfMemoryError
        ? failureOf("memory", `${name} has no memory left for ${mebibytes(liveBytes)}`, error)
        : failureOf("command", `${name} could not run a command`, error),
    );
  });
  gpu.lost.then((info) => fail(failureOf("lost", `${name} was lost`, info)));

  function layoutOf(access: readonly BindingAccess[]): GPUBindGroupLayout {
    const key = access.join();
    let layout = layouts.get(key);
    if (layout === undefined) {
      layout = gpu.createBindGroupLayout({
        entries: access.map((a, binding) => ({
          binding,
          visibility: GPUShaderStage.COMPUTE,
          ...layoutEntries[a],
        })),
      });
      layouts.set(key, layout);
    }
    return layout;
  }

  const device: OpenDevice = {
    adapter: { name, straight, maxBindingBytes, maxBuffers },
    gpu,
    get liveBytes(): number {
      return liveBytes;
    },
    allocate(bytes: number): Memory {
      // Sizes are rounded so that memory given back fits later requests of about its size.
      const step = Math.max(256, 2 ** (Math.floor(Math.log2(Math.max(bytes, 1))) - 2));
      const rounded = Math.max(bytes, Math.min(Math.ceil(bytes / step) * step, maxBytes));
      const found = free.get(rounded)?.pop();
      liveBytes += rounded;
      if (found !== undefined) return found;
      if (rounded > maxBytes) {
        liveBytes -= rounded;
        throw new InputError(
          `a buffer of ${rounded} bytes is needed, but ${name} allows ${maxBytes}: make the model ` +
            "or the batch smaller",
        );
      }
      const buffer = gpu.createBuffer({
        size: rounded + SLACK,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_SRC |
          GPUBufferUsage.COPY_DST,
      });
      const memory = { buffer, bytes: rounded };
      all.add(memory);
      return memory;
    },
    release(memory: Memory): void {
      liveBytes -= memory.bytes;
      const list = free.get(memory.bytes) ?? [];
      list.push(memory);
      free.set(memory.bytes, list);
    },
    allocateImage(rows: number, texel: Texel = 4): Image {
      // Sizes are rounded, as those of buffers; never to powers of two, as Mesa compiles a kernel anew
      // for images of which others are such.
      const step = 2 ** Math.max(0, Math.floor(Math.log2(rows)) - 2);
      let rounded = Math.ceil(rows / step) * step;
      while (Number.isInteger(Math.log2(rounded))) rounded += step;
      liveBytes += imageBytes(texel, rounded);
      const found = freeImages.get(`${texel} ${rounded}`)?.pop();
      if (found !== undefined) return found;
      const texture = gpu.createTexture({
        size: [ROW_TEXELS, rounded],
        format: formats[texel],
        usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
      });
      const image = { texture, view: texture.createView(), texel, rows: rounded };
      allImages.add(image);
      return image;
    },
    releaseImage(image: Image): void {
      const { texel, rows } = image;
      liveBytes -= imageBytes(texel, rows);
      const list = freeImages.get(`${texel} ${rows}`) ?? [];
      list.push(image);
      freeImages.set(`${texel} ${rows}`, list);
    },
    pipeline(code: string, access: readonly BindingAccess[], label: string): Pipeline {
      const key = `${access.join()}\n${code}`;
      let found = pipelines.get(key);
      if (found === undefined) {
        const layout = layoutOf(access);
        const pipeline = gpu.createComputePipeline({
          label,
          layout: gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
          compute: { module: gpu.createShaderModule({ label, code }), entryPoint: "main" },
        });
        found = { pipeline, layout };
        pipelines.set(key, found);
      }
      return found;
    },
    check(): void {
      if (failure !== undefined) throw new DeviceError(failure.kind, failure.message);
      if (!open) throw new TypeError("The device is closed: open one with openDevice()");
    },
    async wait(work: Promise<unknown>): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<unknown>();
      let timer: ReturnType<typeof setTimeout> | undefined;
      waiting.add(resolve);
      work.then(resolve, (reason) => {
        if (!waiting.has(resolve)) return;
        // Why it failed is reported apart, and may come later.
        const error = failureOf("command", `${name} did not return its results`, reason);
        timer = setTimeout(() => fail(error), REPORT_TIME);
      });
      await promise;
      clearTimeout(timer);
      waiting.delete(resolve);
      device.check();
    },
    [Symbol.dispose](): void {
      if (!open) return;
      open = false;
      stopWaiting();
      for (const { buffer } of all) buffer.destroy();
      for (const { texture } of allImages) texture.destroy();
      all.clear();
      allImages.clear();
      free.clear();
      freeImages.clear();
      liveBytes = 0;
      gpu.destroy();
    },
  };
  return device;
}

/** The error for what a driver reported. */
function failureOf(kind: DeviceFailure, what: string, reported: unknown): DeviceError {
  const reason = String((reported as { readonly message?: unknown })?.message ?? reported)
    .replace(/\s+/g, " ").trim().slice(0, 300);
  return new DeviceError(kind, `${what}${reason && ` (${reason})`}: ${remedies[kind]}`);
}

function imageBytes(texel: Texel, rows: number): number {
  return 4 * texel * ROW_TEXELS * rows;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
