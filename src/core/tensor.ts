import type { Packing } from "./packing.ts";

/** Element types: 32-bit float, signed and unsigned integer. */
export type DType = "f32" | "i32" | "u32";

/** Sizes of a tensor's dimensions, outermost first; `[]` is a scalar. Tensors are row-major. */
export type Shape = readonly number[];

/** What every tensor has, whether it lives on the host, on the GPU, or only in a traced graph. */
export interface Tensor {
  /** Sizes, outermost first. */
  readonly shape: Shape;
  /** Element type. */
  readonly dtype: DType;
}

/** The typed array that holds a tensor's elements on the host. */
export type TensorData = Float32Array | Int32Array | Uint32Array;

/** A tensor whose elements are in host memory. Treat `data` as read-only: tensors never change. */
export interface HostTensor extends Tensor {
  /** Elements, row-major; its length is the product of `shape`. */
  readonly data: TensorData;
  /** Set when dimension 0 counts the rows of a packing (see `packed`). */
  readonly packing?: Packing;
}

/** Number of elements of a shape: the product of its sizes (1 for a scalar). */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const n of shape) size *= n;
  return size;
}

/** A shape as text: `[32,128]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(",")}]`;
}

function dtypeOf(data: TensorData): DType {
  return data instanceof Float32Array ? "f32" : data instanceof Int32Array ? "i32" : "u32";
}

/**
 * A host tensor over `data`. Plain numbers become `f32`.
 *
 * @param data Elements, row-major. A typed array is kept, not copied.
 * @param shape Sizes; default one dimension of `data.length`.
 * @throws {RangeError} If the number of elements does not match the shape.
 *
 * @example
 * ```ts
 * import { tensor } from "@gatewise/lstm";
 *
 * const x = tensor([1, 2, 3, 4, 5, 6], [2, 3]);
 * console.log(x.shape, x.dtype); // [2, 3] "f32"
 * ```
 */
export function tensor(
  data: TensorData | readonly number[],
  shape: Shape = [data.length],
): HostTensor {
  const typed = data instanceof Float32Array || data instanceof Int32Array ||
      data instanceof Uint32Array
    ? data
    : Float32Array.from(data as readonly number[]);
  for (const n of shape) {
    if (!Number.isSafeInteger(n) || n < 0) {
      throw new RangeError(`Cannot make a tensor of shape ${formatShape(shape)}: ${n} is no size`);
    }
  }
  if (sizeOf(shape) !== typed.length) {
    throw new RangeError(
      `Cannot make a tensor of shape ${
        formatShape(shape)
      } from ${typed.length} elements: it takes ${sizeOf(shape)}`,
    );
  }
  return Object.freeze({ shape: Object.freeze([...shape]), dtype: dtypeOf(typed), data: typed });
}

/** Whether a value is a tensor whose elements are in host memory. */
export function isHostTensor(value: unknown): value is HostTensor {
  return typeof value === "object" && value !== null && "data" in value && "shape" in value &&
    "dtype" in value;
}
