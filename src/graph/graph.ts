/**
 * The graph that tracing records: operations and the tensors between them. Pure data and pure
 * functions; nothing here knows the GPU.
 *
 * @module
 */
import {
  formatShape,
  type HostTensor,
  isHostTensor,
  type Shape,
  type Tensor,
} from "../core/tensor.ts";
import type { Dispatch } from "./dispatch.ts";

/** A packing whose lengths are known only when the function runs. */
export interface TracedPacking {
  readonly kind: "packing";
  /** Sequences B. */
  readonly batch: number;
  /** Packed rows that buffers are sized for; a run has at most this many. */
  readonly capacity: number;
}

/** Shape and type of one output of an operation. */
export interface Spec extends Tensor {
  /** Set when dimension 0 counts packed rows; `shape[0]` is then the packing's capacity. */
  readonly packing?: TracedPacking;
}

/** A tensor in a graph: output `index` of `node`. */
export interface Traced extends Spec {
  readonly node: Node;
  readonly index: number;
}

/** One recorded use of an operation. */
export interface Node {
  /** Increases with creation, so ids are a topological order. */
  readonly id: number;
  readonly operation: Operation;
  readonly inputs: readonly Traced[];
  readonly attributes: Attributes;
  readonly outputs: readonly Traced[];
}

/** What an operation is told besides its inputs; compared by content to find equal nodes. */
export type Attributes = Readonly<
  Record<string, number | string | boolean | readonly number[] | HostTensor | TracedPacking>
>;

/** What lowering may ask of the adapter. */
export interface Target {
  /** Straight-line kernels (software adapters) instead of looping ones (GPUs). */
  readonly straight: boolean;
  /** Most bytes of a buffer that a kernel can bind. */
  readonly maxBindingBytes: number;
  /** Most buffers that a kernel can bind, or images in their place. */
  readonly maxBuffers: number;
}

/** How an operation computes each element of its only output from the same element of its inputs. */
export interface Formula {
  /**
   * WGSL of four neighbouring elements, a `vec4f`, of which the first is the `i`th, i being a multiple
   * of 4: `$0` are the same ones of input 0. There are `element_count()` elements.
   */
  readonly text: string;
  /** Inputs that are arrays instead, and their type: `$1[0]` is the first number of input 1. */
  readonly arrays?: Readonly<Record<number, "f32" | "u32" | "vec4f">>;
}

/** A kind of computation: how it runs and how it is differentiated. */
export interface Operation {
  readonly name: string;
  /**
   * The dispatches that compute the outputs. Absent where a `formula` does, and for operations that
   * compute nothing: `input`, `constant`, `view`, `ravel`, `host`.
   */
  readonly lower?: (node: Node, target: Target) => readonly Dispatch[];
  /**
   * For an operation on each element: neighbours in the graph run in one kernel. `undefined` for nodes
   * that have none; those are lowered.
   */
  readonly formula?: (node: Node) => Formula | undefined;
  /**
   * Cotangents of the inputs from cotangents of the outputs (`undefined` where no gradient flows).
   * Absent: no gradient flows to any input.
   */
  readonly vjp?: (
    node: Node,
    cotangents: readonly (Traced | undefined)[],
  ) => readonly (Traced | undefined)[];
  /** Input `i` whose storage output `j` may take over, as `[i, j]`: the kernel updates in place. */
  readonly inPlace?: readonly (readonly [number, number])[];
}

let nextId = 0;

/**
 * Records a use of `operation`.
 *
 * @param inputs Traced tensors; host tensors become constants.
 * @param outputs Shape and type of each output.
 */
export function record(
  operation: Operation,
  inputs: readonly Tensor[],
  attributes: Attributes,
  outputs: readonly Spec[],
): readonly Traced[] {
  const node = {
    id: 0,
    operation,
    inputs: inputs.map((input) => traced(input, operation.name)),
    attributes,
    outputs: [] as readonly Traced[],
  };
  node.id = nextId++;
  node.outputs = outputs.map(({ shape, dtype, packing }, index) =>
    Object.freeze(
      packing === undefined
        ? { shape, dtype, node, index }
        : { shape, dtype, packing, node, index },
    )
  );
  Object.freeze(node);
  return node.outputs;
}

/** Whether a value is a tensor of a graph. */
export function isTraced(value: unknown): value is Traced {
  return typeof value === "object" && value !== null && "node" in value;
}

const constantOperation: Operation = { name: "constant" };

/**
 * The tensor as a node of the graph.
 *
 * @throws {TypeError} If it is not a traced or host tensor.
 */
export function traced(value: Tensor, operation: string): Traced {
  if (isTraced(value)) return value;
  if (isHostTensor(value)) {
    return record(constantOperation, [], { value }, [{
      shape: value.shape,
      dtype: value.dtype,
    }])[0];
  }
  throw new TypeError(
    `Cannot ${operation}: operations compute inside compile(), run() and grad() only; ` +
      `got ${value === null || typeof value !== "object" ? typeof value : "a device tensor"}`,
  );
}

const inputOperation: Operation = { name: "input" };

/** A tensor that is given when the graph runs; `slot` numbers it. */
export function input(slot: number, spec: Spec): Traced {
  return record(inputOperation, [], { slot }, [spec])[0];
}

const hostOperation: Operation = { name: "host" };

/** Integers that the host derives from other integers before a run, by function name. */
export type HostFunction = "segments";

/**
 * Tensors that the host computes from `indices` when it uploads them.
 *
 * @throws {TypeError} If `indices` is computed on the GPU.
 */
export function host(
  name: HostFunction,
  indices: Tensor,
  outputs: readonly Spec[],
): readonly Traced[] {
  const source = traced(indices, name);
  if (source.node.operation !== inputOperation && source.node.operation !== constantOperation) {
    throw new TypeError(
      `Cannot differentiate a lookup by computed indices: pass the indices ${
        formatShape(source.shape)
      } as an argument`,
    );
  }
  return record(hostOperation, [source], { name }, outputs);
}

/** Every node that the outputs depend on, in an order in which each comes after its inputs. */
export function nodesOf(outputs: readonly Traced[]): readonly Node[] {
  const found = new Map<number, Node>();
  const pending = outputs.map((output) => output.node);
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (found.has(node.id)) continue;
    found.set(node.id, node);
    for (const { node: source } of node.inputs) pending.push(source);
  }
  return [...found.values()].sort((a, b) => a.id - b.id);
}

/** Checks that two tensors count the same rows; for error messages `operation` is a verb. */
export function samePacking(operation: string, a: Spec, b: Spec): TracedPacking | undefined {
  if (a.packing !== b.packing) {
    throw new TypeError(
      `Cannot ${operation} ${formatShape(a.shape)} and ${formatShape(b.shape)}: ` +
        `their rows are of different packings`,
    );
  }
  return a.packing;
}

/** A graph as text, one node a line, for people. */
export function print(outputs: readonly Traced[]): string {
  const name = (t: Traced): string => `%${t.node.id}${t.index > 0 ? `.${t.index}` : ""}`;
  return nodesOf(outputs).map((node) => {
    const types = node.outputs.map((o) => `${o.dtype}${formatShape(o.shape)}`).join(" ");
    return `%${node.id} = ${node.operation.name}(${node.inputs.map(name).join(", ")}) : ${types}`;
  }).join("\n");
}

/** Shape without its first dimension's meaning: the spec of a tensor shaped like `like`. */
export function specLike(like: Spec, shape: Shape = like.shape): Spec {
  return like.packing === undefined
    ? { shape, dtype: like.dtype }
    : { shape, dtype: like.dtype, packing: like.packing };
}
