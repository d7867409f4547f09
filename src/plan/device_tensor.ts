/**
 * Tensors in GPU memory, and moving them there and back.
 *
 * @module
 */
import {
  formatShape,
  type HostTensor,
  isHostTensor,
  sizeOf,
  type Tensor,
  tensor,
} from "../core/tensor.ts";
import { flatten, leavesOf, mapLeaves, mapTree, type PathLeaf, type Tree } from "../core/tree.ts";
import { slabLayout } from "../ops/view.ts";
import type { Device, Memory, OpenDevice } from "../gpu/device.ts";

/** GPU memory that tensors share. */
export interface Storage {
  readonly device: OpenDevice;
  readonly memory: Memory;
  /** 4-byte elements in use. */
  readonly size: number;
  /** Why it can no longer be used, once it cannot. */
  gone?: string;
}

/** A tensor in GPU memory. */
export interface DeviceTensor extends Tensor {
  readonly storage: Storage;
  /** First element in the storage; a multiple of 64. */
  readonly offset: number;
}

/** Whether a value is a tensor in GPU memory. */
export function isDeviceTensor(value: unknown): value is DeviceTensor {
  return typeof value === "object" && value !== null && "storage" in value;
}

/** Throws if the tensor's memory has been given away. */
export function checkUsable(leaf: DeviceTensor, path: string): void {
  if (leaf.storage.gone !== undefined) {
    throw new TypeError(
      `Cannot use ${path === "" ? "the tensor" : path} ${
        formatShape(leaf.shape)
      }: ${leaf.storage.gone}`,
    );
  }
}

/**
 * Copies a tree of tensors into one piece of GPU memory.
 *
 * @returns The same tree, its leaves in GPU memory. `dispose` frees it.
 * @throws {TypeError} If a leaf is neither a host nor a device tensor.
 *
 * @example
 * ```ts
 * import { dispose, openDevice, put, read, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const params = put(device, { weight: tensor([1, 2, 3, 4], [2, 2]), bias: tensor([0, 1]) });
 * console.log(await read(params));
 * dispose(params);
 * ```
 */
export function put<T extends Tree>(device: Device, tree: T): T {
  const open = device as OpenDevice;
  open.check();
  const leaves = flatten(tree);
  const { offsets, size } = slabLayout(leaves.map(({ leaf }) => sizeOf(leaf.shape)));
  const memory = open.allocate(4 * size);
  const storage: Storage = { device: open, memory, size };
  const encoder = open.gpu.createCommandEncoder();
  encoder.clearBuffer(memory.buffer);
  open.gpu.queue.submit([encoder.finish()]);
  const copies = open.gpu.createCommandEncoder();
  leaves.forEach(({ leaf, path }, i) => {
    if (sizeOf(leaf.shape) === 0) return;
    if (isHostTensor(leaf)) {
      open.gpu.queue.writeBuffer(
        memory.buffer,
        4 * offsets[i],
        leaf.data as Float32Array<ArrayBuffer>,
      );
    } else if (isDeviceTensor(leaf)) {
      checkUsable(leaf, path);
      copies.copyBufferToBuffer(
        leaf.storage.memory.buffer,
        4 * leaf.offset,
        memory.buffer,
        4 * offsets[i],
        4 * sizeOf(leaf.shape),
      );
    } else {
      throw new TypeError(`Cannot put ${path} on the device: it is no tensor with values`);
    }
  });
  open.gpu.queue.submit([copies.finish()]);
  let i = 0;
  return mapTree(tree, (leaf) => deviceTensor(storage, offsets[i++], leaf));
}

/** A view of a storage. */
export function deviceTensor(storage: Storage, offset: number, like: Tensor): DeviceTensor {
  return Object.freeze({ shape: like.shape, dtype: like.dtype, storage, offset });
}

/**
 * Copies tensors from the GPU to the host. Waits until everything submitted before has run; read
 * many tensors at once rather than one by one.
 *
 * @param tree Device tensors; host tensors and other leaves pass through.
 * @returns The same tree of host tensors.
 * @throws {TypeError} If a tensor was consumed by a step or disposed of.
 * @throws {DeviceError} If the GPU failed or was lost.
 */
export async function read<T>(tree: T): Promise<HostTree<T>> {
  const leaves = leavesOf(tree).filter((entry): entry is PathLeaf<DeviceTensor> => {
    if (isDeviceTensor(entry.leaf)) checkUsable(entry.leaf, entry.path);
    return isDeviceTensor(entry.leaf);
  });
  if (leaves.length === 0) return tree as HostTree<T>;
  const device = leaves[0].leaf.storage.device;
  device.check();
  const { offsets, size } = slabLayout(leaves.map(({ leaf }) => sizeOf(leaf.shape)));
  const staging = device.gpu.createBuffer({
    size: Math.max(4 * size, 16),
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  const encoder = device.gpu.createCommandEncoder();
  leaves.forEach(({ leaf }, i) => {
    const bytes = 4 * sizeOf(leaf.shape);
    if (bytes === 0) return;
    encoder.copyBufferToBuffer(
      leaf.storage.memory.buffer,
      4 * leaf.offset,
      staging,
      4 * offsets[i],
      bytes,
    );
  });
  device.gpu.queue.submit([encoder.finish()]);
  await device.wait(staging.mapAsync(GPUMapMode.READ));
  const bytes = staging.getMappedRange().slice(0);
  staging.unmap();
  staging.destroy();
  let i = 0;
  return mapLeaves(tree, (leaf) => {
    if (!isDeviceTensor(leaf)) return leaf;
    const at = 4 * offsets[i++];
    const size = sizeOf(leaf.shape);
    const data = leaf.dtype === "f32"
      ? new Float32Array(bytes, at, size)
      : leaf.dtype === "i32"
      ? new Int32Array(bytes, at, size)
      : new Uint32Array(bytes, at, size);
    return tensor(data.slice(), leaf.shape);
  }) as HostTree<T>;
}

/** A tree whose tensors are on the host. */
export type HostTree<T> = T extends Tensor ? HostTensor
  : { readonly [K in keyof T]: HostTree<T[K]> };

/** Frees the GPU memory of a tree's tensors. Other tensors in the same memory go with it. */
export function dispose(tree: Tree): void {
  for (const { leaf } of leavesOf(tree)) {
    if (isDeviceTensor(leaf) && leaf.storage.gone === undefined) {
      leaf.storage.gone = "its memory was disposed of";
      leaf.storage.device.release(leaf.storage.memory);
    }
  }
}
