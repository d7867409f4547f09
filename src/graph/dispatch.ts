/**
 * What operations lower to: pure data that says which kernel runs over which buffers. The plan turns
 * it into pipelines and bind groups.
 *
 * @module
 */
import type { TracedPacking } from "./graph.ts";

/** A number that may be known only when the plan runs. */
export type Extent =
  | number
  /** Packed rows N of a packing. */
  | { readonly packing: TracedPacking }
  /** Number of segments that the host found; `input` is the position of the `segments` output. */
  | { readonly segmentsOf: number };

/** A buffer that a dispatch binds, by its place in the node. */
export type BufferReference =
  | { readonly input: number }
  | { readonly output: number }
  /** Memory for this node only, by name; `size` in 4-byte elements. */
  | { readonly scratch: string; readonly size: number }
  /** `vec4u(extent, 0, 0, 0)`. */
  | { readonly extent: Extent }
  /** `vec4u` of constants. */
  | { readonly values: readonly [number, number, number, number] }
  /** `vec4u` that changes with the iteration (see `Dispatch.each`). */
  | { readonly iteration: true }
  /** Packed row of the previous step of each packed row, 0xffffffff at the first step: `u32[N]`. */
  | { readonly previousRows: TracedPacking };

/** One binding; bindings are numbered in order from 0. */
export type Binding = BufferReference & {
  readonly access: "read" | "write" | "uniform";
  /** First element bound and number of elements, for a window of a larger buffer. */
  readonly window?: { readonly offset: number; readonly size: number };
  /** The binding moves on by a chunk's rows with each iteration over chunks. */
  readonly moves?: boolean;
};

/** Extents of a run, as a dispatch's grid may need them. */
export interface Iteration {
  /** Value of `Dispatch.rows`. */
  readonly rows: number;
  /** Active sequences of the step, when `each` is over steps; otherwise `rows`. */
  readonly active: number;
}

/** One or more launches of a kernel. */
export interface Dispatch {
  /** Stem of the kernel's file. */
  readonly kernel: string;
  /** Values of the kernel's constants. */
  readonly constants: Readonly<Record<string, number | { readonly f32: number }>>;
  readonly bindings: readonly Binding[];
  /** The extent that the grid depends on. */
  readonly rows: Extent;
  /** Workgroups in x, y, z. */
  readonly grid: (iteration: Iteration) => readonly [number, number, number];
  /**
   * Launches the kernel once for each:
   * - time step of a packing, binding `vec4u(offset, active, previous step's offset, next step's
   *   active)`; the previous offset of the first step is 0xffffffff;
   * - chunk of `rows`, binding `vec4u(first row, rows of the chunk, 0, 0)`.
   */
  readonly each?:
    | { readonly stepsOf: TracedPacking; readonly reversed: boolean }
    | { readonly chunk: number };
  /** Straight-line expansion of the kernel's repeats (software adapters). */
  readonly straight?: boolean;
  /** Weights are read from uniform windows, which the bindings list one by one. */
  readonly uniformWeights?: boolean;
  /** Output positions that must be all zero before the kernel runs. */
  readonly clear?: readonly number[];
}
