import { formatShape, type Tensor } from "../core/tensor.ts";
import { type Operation, record, samePacking, type Traced } from "../graph/graph.ts";
import { elementwise, floats } from "./elementwise.ts";
import { scale } from "./scale.ts";

function operation(name: "add" | "sub" | "mul", vjp: NonNullable<Operation["vjp"]>): Operation {
  const choice = { ADD: 0, SUB: 0, MUL: 0, [name.toUpperCase()]: 1 };
  return { name, lower: (node, target) => [elementwise("binary", node, target, choice)], vjp };
}

const addOperation = operation("add", (_node, [dy]) => [dy, dy]);

const subOperation = operation("sub", (_node, [dy]) => [dy, dy && scale(dy, -1) as Traced]);

const mulOperation = operation(
  "mul",
  ({ inputs: [a, b] }, [dy]) =>
    dy === undefined ? [] : [mul(dy, b) as Traced, mul(dy, a) as Traced],
);

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
