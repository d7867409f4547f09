import { formatShape, type Tensor } from "../core/tensor.ts";
import { type Operation, record, samePacking, type Traced } from "../graph/graph.ts";
import { floats } from "./elementwise.ts";
import { scale } from "./scale.ts";

const addOperation: Operation = {
  name: "add",
  formula: () => ({ text: "$0 + $1" }),
  vjp: (_node, [dy]) => [dy, dy],
};

const subOperation: Operation = {
  name: "sub",
  formula: () => ({ text: "$0 - $1" }),
  vjp: (_node, [dy]) => [dy, dy && scale(dy, -1) as Traced],
};

const mulOperation: Operation = {
  name: "mul",
  formula: () => ({ text: "$0 * $1" }),
  vjp: ({ inputs: [a, b] }, [dy]) =>
    dy === undefined ? [] : [mul(dy, b) as Traced, mul(dy, a) as Traced],
};

function binary(operation: Operation, verb: string, a: Tensor, b: Tensor): Tensor {
  const [left, right] = floats(verb, a, b);
  if (formatShape(a.shape) !== formatShape(b.shape)) {
    throw new TypeError(`Cannot ${verb} ${formatShape(a.shape)} and ${formatShape(b.shape)}`);
  }
  samePacking(verb, left, right);
  return record(operation, [left, right], {}, [left])[0];
}

/**
 * The sum of two tensors of one shape.
 *
 * @throws {TypeError} If the shapes or packings differ, or one is not of `f32`.
 *
 * @example
 * ```ts
 * import { add, openDevice, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * console.log((await read(run(device, add)(tensor([1, 2]), tensor([3, 4])))).data); // [ 4, 6 ]
 * ```
 */
export function add(a: Tensor, b: Tensor): Tensor {
  return binary(addOperation, "add", a, b);
}

/**
 * The difference `a - b` of two tensors of one shape.
 *
 * @throws {TypeError} If the shapes or packings differ, or one is not of `f32`.
 */
export function sub(a: Tensor, b: Tensor): Tensor {
  return binary(subOperation, "subtract", a, b);
}

/**
 * The product of two tensors of one shape, element by element.
 *
 * @throws {TypeError} If the shapes or packings differ, or one is not of `f32`.
 */
export function mul(a: Tensor, b: Tensor): Tensor {
  return binary(mulOperation, "multiply", a, b);
}
