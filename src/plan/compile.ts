/**
 * Running functions of the library's operations on a device.
 *
 * @module
 */
import { isPacking, packed, packedRows, type Packing } from "../core/packing.ts";
import {
  type HostTensor,
  isHostTensor,
  type Shape,
  sizeOf,
  type Tensor,
  tensor,
} from "../core/tensor.ts";
import { leavesOf, mapLeaves } from "../core/tree.ts";
import type { Device, OpenDevice } from "../gpu/device.ts";
import { input, isTraced, type Traced, type TracedPacking } from "../graph/graph.ts";
import { view } from "../ops/view.ts";
import { checkUsable, deviceTensor, isDeviceTensor, type Storage } from "./device_tensor.ts";
import { type InputValue, makePlan, type Plan } from "./plan.ts";

/** How a function is compiled. */
export interface CompileOptions {
  /**
   * Positions of arguments whose GPU memory the results may take over. The caller gives them up:
   * using them afterwards is an error that names this function.
   */
  readonly donate?: readonly number[];
  /** Name of the function in errors; default its own. */
  readonly name?: string;
}

/** A compiled function: takes host or device tensors, returns device tensors. */
export type Compiled<A extends readonly unknown[], R> = ((...args: A) => R) & Disposable;

/** What one call was given. */
interface Call {
  readonly leaves: readonly unknown[];
  /** Device memory, in order of appearance. */
  readonly storages: readonly Storage[];
  readonly packings: readonly Packing[];
  readonly signature: string;
  readonly donated: ReadonlySet<Storage>;
}

interface Prepared {
  readonly plan: Plan;
  readonly packings: readonly TracedPacking[];
  /** The result's form, with traced leaves. */
  readonly form: unknown;
  /** Positions of the form's tensors in the plan's outputs. */
  readonly outputs: ReadonlyMap<Traced, number>;
}

/** Rows that buffers are sized for: powers of two, so that few plans serve batches of any lengths. */
function capacityOf(packing: Packing): number {
  return 2 ** Math.max(7, Math.ceil(Math.log2(packedRows(packing))));
}

function describe(args: readonly unknown[], donate: readonly number[]): Call {
  const leaves: unknown[] = [];
  const storages: Storage[] = [];
  const packings: Packing[] = [];
  const donated = new Set<Storage>();
  const place = <T>(list: T[], item: T): number => {
    const at = list.indexOf(item);
    return at >= 0 ? at : list.push(item) - 1;
  };
  const parts: string[] = [];
  args.forEach((arg, position) => {
    for (const { leaf, path } of leavesOf(arg)) {
      leaves.push(leaf);
      let text: string;
      if (isDeviceTensor(leaf)) {
        checkUsable(leaf, path);
        if (donate.includes(position)) donated.add(leaf.storage);
        text = `d${
          place(storages, leaf.storage)
        }@${leaf.offset}/${leaf.storage.size}${leaf.dtype}${leaf.shape}`;
      } else if (isPacking(leaf)) {
        text = `p${place(packings, leaf)}`;
      } else if (isHostTensor(leaf)) {
        text = leaf.packing === undefined
          ? `h${leaf.dtype}${leaf.shape}`
          : `r${place(packings, leaf.packing)}${leaf.dtype}${leaf.shape.slice(1)}`;
      } else if (typeof leaf === "number") {
        text = "n";
      } else if (isTraced(leaf)) {
        throw new TypeError(
          `Cannot call a compiled function inside another: pass the function itself, not compiled`,
        );
      } else {
        const value = JSON.stringify(leaf);
        if (value === undefined) {
          throw new TypeError(
            `Cannot call a compiled function with a ${typeof leaf} (argument ${position}): ` +
              `compile a function that has it already`,
          );
        }
        text = `=${value}`;
      }
      parts.push(`${position}.${path}:${text}`);
    }
  });
  for (const packing of packings) parts.push(`${packing.lengths.length}x${capacityOf(packing)}`);
  for (const storage of storages) parts.push(donated.has(storage) ? "given" : "kept");
  return { leaves, storages, packings, signature: parts.join("\n"), donated };
}

function prepare(
  device: OpenDevice,
  fn: (...args: never[]) => unknown,
  args: readonly unknown[],
  call: Call,
): Prepared {
  const packings = call.packings.map((packing): TracedPacking =>
    Object.freeze({
      kind: "packing",
      batch: packing.lengths.length,
      capacity: capacityOf(packing),
    })
  );
  const slabs = call.storages.map((storage, slot) =>
    input(slot, { shape: [storage.size], dtype: "f32" })
  );
  let slot = slabs.length;
  const tracedArgs = args.map((arg) =>
    mapLeaves(arg, (leaf) => {
      if (isDeviceTensor(leaf)) {
        return view(slabs[call.storages.indexOf(leaf.storage)], leaf.offset, {
          shape: leaf.shape,
          dtype: leaf.dtype,
        });
      }
      if (isPacking(leaf)) return packings[call.packings.indexOf(leaf)];
      if (typeof leaf === "number") return input(slot++, { shape: [], dtype: "f32" });
      if (!isHostTensor(leaf)) return leaf;
      if (leaf.packing === undefined) {
        return input(slot++, { shape: leaf.shape, dtype: leaf.dtype });
      }
      const packing = packings[call.packings.indexOf(leaf.packing)];
      const shape: Shape = [packing.capacity, ...leaf.shape.slice(1)];
      return input(slot++, { shape, dtype: leaf.dtype, packing });
    })
  );
  const form = fn(...tracedArgs as never[]);
  const outputs = new Map<Traced, number>();
  for (const { leaf } of leavesOf(form)) {
    if (isTraced(leaf) && !outputs.has(leaf)) outputs.set(leaf, outputs.size);
  }
  const donated = new Set<number>();
  call.storages.forEach((storage, i) => {
    if (call.donated.has(storage)) donated.add(i);
  });
  return { plan: makePlan(device, [...outputs.keys()], donated), packings, form, outputs };
}

/**
 * Makes a function of the library's operations run on a device. The function is traced once for each
 * form of its arguments (shapes, not values or lengths of packed sequences); later calls upload the
 * arguments, launch the kernels and return at once. `read` waits for results.
 *
 * Numbers among the arguments are scalars that may differ from call to call. Strings, booleans
 * and null are passed to the function as they are.
 *
 * @param fn Pure: it only composes operations on its arguments.
 * @returns A function of the same arguments, whose results are device tensors.
 * @throws {TypeError} When called with a tensor that was given away or disposed of, or with a function.
 *
 * @example
 * ```ts
 * import { add, compile, openDevice, read, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const sum = compile(device, add);
 * console.log((await read(sum(tensor([1, 2]), tensor([3, 4])))).data); // Float32Array [ 4, 6 ]
 * ```
 */
export function compile<A extends readonly unknown[], R>(
  device: Device,
  fn: (...args: A) => R,
  options: CompileOptions = {},
): Compiled<A, R> {
  const open = device as OpenDevice;
  const { donate = [], name = fn.name || "a compiled function" } = options;
  const prepared = new Map<string, Prepared>();
  let calls = 0;
  const compiled = (...args: A): R => {
    open.check();
    const call = describe(args, donate);
    calls++;
    let ready = prepared.get(call.signature);
    if (ready === undefined) {
      ready = prepare(open, fn as (...args: never[]) => unknown, args, call);
      prepared.set(call.signature, ready);
    }
    const values: InputValue[] = call.storages.map((storage) => storage.memory);
    for (const leaf of call.leaves) {
      if (isDeviceTensor(leaf)) continue;
      if (isHostTensor(leaf)) values.push(leaf.data);
      else if (typeof leaf === "number") values.push(Float32Array.of(leaf));
    }
    const packings = new Map(ready.packings.map((traced, i) => [traced, call.packings[i]]));
    const results = ready.plan.run({ values, packings });
    return collect(open, ready, results, call, `${name} (call ${calls})`) as R;
  };
  return Object.assign(compiled, {
    [Symbol.dispose](): void {
      for (const { plan } of prepared.values()) plan.dispose();
      prepared.clear();
    },
  });
}

function collect(
  device: OpenDevice,
  ready: Prepared,
  results: ReturnType<Plan["run"]>,
  call: Call,
  name: string,
): unknown {
  const storages = new Map<unknown, Storage>();
  const hostLeaves = call.leaves.filter((leaf): leaf is HostTensor | number =>
    isHostTensor(leaf) || typeof leaf === "number"
  );
  for (const storage of call.donated) {
    storage.gone = `it was given to ${name}; use the result of that call instead`;
  }
  const form = mapLeaves(ready.form, (leaf) => {
    if (!isTraced(leaf)) return leaf;
    const { memory, offset, size } = results[ready.outputs.get(leaf)!];
    if ("slot" in memory && memory.slot >= call.storages.length) {
      const given = hostLeaves[memory.slot - call.storages.length];
      return onHost(given, offset, leaf, packingOf(leaf, call, ready));
    }
    const key = "slot" in memory ? memory.slot : memory;
    let storage = storages.get(key);
    if (storage === undefined) {
      if ("slot" in memory) {
        const given = call.storages[memory.slot];
        storage = call.donated.has(given)
          ? { device, memory: given.memory, size: given.size }
          : given;
      } else {
        storage = { device, memory, size };
      }
      storages.set(key, storage);
    }
    return deviceTensor(storage, offset, withActualRows(leaf, call, ready));
  });
  for (const storage of call.donated) {
    const slot = call.storages.indexOf(storage);
    if (!storages.has(slot)) device.release(storage.memory);
  }
  return form;
}

/** A result that computes nothing: an argument on the host, or the same elements in another shape. */
function onHost(
  given: HostTensor | number,
  offset: number,
  { node, shape }: Traced,
  packing: Packing | undefined,
): HostTensor | number {
  if (node.operation.name === "input") return given;
  const data = typeof given === "number" ? Float32Array.of(given) : given.data;
  return packing === undefined
    ? tensor(data.subarray(offset, offset + sizeOf(shape)), shape)
    : packed(packing, data, shape.slice(1));
}

/** This call's lengths of a packed result. */
function packingOf(leaf: Traced, call: Call, ready: Prepared): Packing | undefined {
  return leaf.packing && call.packings[ready.packings.indexOf(leaf.packing)];
}

/** Packed results have as many rows as this call's lengths, not as many as the buffers hold. */
function withActualRows(leaf: Traced, call: Call, ready: Prepared): Tensor {
  const packing = packingOf(leaf, call, ready);
  if (packing === undefined) return leaf;
  return { shape: [packedRows(packing), ...leaf.shape.slice(1)], dtype: leaf.dtype };
}

/**
 * Compiles a function and calls it once; `compile` is for functions that are called again.
 *
 * @returns A function of the same arguments, whose results are device tensors.
 */
export function run<A extends readonly unknown[], R>(
  device: Device,
  fn: (...args: A) => R,
): (...args: A) => R {
  return (...args: A): R => {
    const compiled = compile(device, fn);
    const result = compiled(...args);
    compiled[Symbol.dispose]();
    return result;
  };
}
