import type { Target } from "../graph/graph.ts";

/** Elements that windows start at multiples of: those that a workgroup of global_norm.wgsl sums. */
const UNIT = 8192;

/** A part of a slab, in elements: the `window` of a binding. */
export interface SlabWindow {
  /** First element. */
  readonly offset: number;
  /** Number of elements. */
  readonly size: number;
}

/**
 * A slab of `size` elements in parts that a kernel can bind; a slab of all parameters of a model with
 * a large vocabulary is larger than that.
 */
export function slabWindows(
  size: number,
  { maxBindingBytes }: Pick<Target, "maxBindingBytes">,
): readonly SlabWindow[] {
  const most = Math.max(1, Math.floor(maxBindingBytes / 4 / UNIT)) * UNIT;
  return Array.from({ length: Math.ceil(size / most) }, (_, i) => ({
    offset: i * most,
    size: Math.min(most, size - i * most),
  }));
}

/** Bytes of a part of a slab that is read as an image, which is a copy of it. */
const COPIED = 2 ** 22;

/** A slab in parts that a kernel reads as images: small ones, as those of a large slab take turns. */
export function imageWindows(
  size: number,
  { maxBindingBytes }: Pick<Target, "maxBindingBytes">,
): readonly SlabWindow[] {
  return slabWindows(size, { maxBindingBytes: Math.min(COPIED, maxBindingBytes) });
}
