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
  /** A `u32` that is 0 when a launch begins and that the launch leaves at 0. */
  | { readonly counter: true }
  /** `vec4u(extent, 0, 0, 0)`. */
  | { readonly extent: Extent }
  /** `vec4u` of constants. */
  | { readonly values: readonly [number, number, number, number] }
  /** `vec4u` that changes with the iteration (see `Dispatch.each`). */
  | { readonly iteration: true }
  /** Numbers that follow from a packing: `u32[N]`, `vec4u[N]`, `u32[B]` or `vec4u[T]`. */
  | { readonly rowIndex: RowIndex; readonly of: TracedPacking };

/**
 * Numbers that follow from a packing. A row number for each packed row, 0xffffffff where there is
 * none:
 * - `previous`, `next`: packed row of the step before or after;
 * - `reversed`: packed row of the same sequence that is as far from its end as this one from its start;
 * - `starts`, `ends`: the sequence, in the caller's order, whose first or last step the row is;
 * - `places`: place of the row when sequences lie one after the other, in the caller's order;
 * - `steps`: its time step, from 0.
 *
 * For each place of that order:
 * - `sequential`: packed row;
 * - `spans`: `vec4u(first place of its sequence, place after its last, sequence, 0)`.
 *
 * One for each sequence:
 * - `firsts`, `lasts`: packed row of the first or last step, in the caller's order;
 * - `order`: the sequence, in the caller's order, that is the j-th of a step's rows.
 *
 * For each time step:
 * - `eachStep`: `vec4u(first row, sequences, first row at the step before, sequences that have a next
 *   step)`; at the first step the third is 0xffffffff.
 */
export type RowIndex =
  | "previous"
  | "next"
  | "reversed"
  | "starts"
  | "ends"
  | "places"
  | "steps"
  | "sequential"
  | "spans"
  | "firsts"
  | "lasts"
  | "order"
  | "eachStep";

/**
 * One binding; bindings are numbered in order from 0. An `image` is a texture that the plan copies the
 * buffer to beforehand: software adapters gather from it several times faster. An `exchange` is scratch
 * memory that is a texture, which a kernel writes and reads.
 */
export type Binding = BufferReference & {
  readonly access: "read" | "write" | "uniform" | "image" | "exchange";
  /** First element bound and number of elements, for a window of a larger buffer. */
  readonly window?: { readonly offset: number; readonly size: number };
  /**
   * Elements of a row, where an iteration writes only the rows that it is for. Of a tensor that is
   * too large to be bound a part is then, which begins with the element that is the iteration's fourth
   * word.
   */
  readonly ofRows?: number;
};

/** Extents of a run, as a dispatch's grid may need them. */
export interface Iteration {
  /** Value of `Dispatch.rows`. */
  readonly rows: number;
  /** Sequences or rows of the iteration. */
  readonly active: number;
}

/** What `elementwise.wgsl` computes. */
export interface ElementProgram {
  /** What each input is: `elements` as those of the output, or an array. */
  readonly inputs: readonly ("elements" | "f32" | "u32" | "vec4f")[];
  /**
   * WGSL expressions, each a `vec4f`. `e0`, `e1` ... are the elements of an input, `x0`, `x1` ... its
   * array, and `v0`, `v1` ... the values of expressions before. The last is the output.
   */
  readonly steps: readonly string[];
}

/** One or more launches of a kernel. */
export interface Dispatch {
  /** Stem of the kernel's file. */
  readonly kernel: string;
  /** Values of the kernel's constants. */
  readonly constants: Readonly<Record<string, number | { readonly f32: number }>>;
  /** For the kernel `elementwise`. */
  readonly program?: ElementProgram;
  readonly bindings: readonly Binding[];
  /** The extent that the grid depends on. */
  readonly rows: Extent;
  /** Fewer rows than these are an error of the caller. */
  readonly leastRows?: number;
  /** More time steps than these in the packing of `rows` are an error of the caller. */
  readonly mostSteps?: number;
  /** Workgroups in x, y, z. */
  readonly grid: (iteration: Iteration) => readonly [number, number, number];
  /**
   * Launches the kernel once for each:
   * - time step of a packing, binding the step's `eachStep`;
   * - run of at most `most` time steps of a packing, binding `vec4u(first step, step after its last,
   *   sequences B, first element that is bound)`; active are the sequences of its first step;
   * - chunk of `rows`, binding `vec4u(first row, rows of the chunk, 0, first element that is bound)`.
   */
  readonly each?:
    | { readonly stepsOf: TracedPacking; readonly most?: number; readonly reversed: boolean }
    | { readonly chunk: number };
  /** Straight-line expansion of the kernel's repeats (software adapters). */
  readonly straight?: boolean;
  /** The kernel's elements are images (software adapters). */
  readonly images?: boolean;
  /** Output positions that must be all zero before the kernel runs. */
  readonly clear?: readonly number[];
}
