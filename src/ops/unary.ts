import type { Tensor } from "../core/tensor.ts";
import { type Operation, record } from "../graph/graph.ts";
import { elementwise, floats } from "./elementwise.ts";

/** The operation of a function and, from its result, of its derivative. */
function operation(name: "relu" | "sigmoid" | "tanh"): Operation {
  const choice = { RELU: 0, SIGMOID: 0, TANH: 0, [name.toUpperCase()]: 1 };
  const backward: Operation = {
    name: `${name}_backward`,
    lower: (node, target) => [elementwise("unary_backward", node, target, choice)],
  };
  return {
    name,
    lower: (node, target) => [elementwise("unary", node, target, choice)],
    vjp: ({ outputs: [y] }, [dy]) =>
      dy === undefined ? [] : [record(backward, [y, dy], {}, [y])[0]],
  };
}

const reluOperation = operation("relu");
const sigmoidOperation = operation("sigmoid");
const tanhOperation = operation("tanh");

function unary(operation: Operation, x: Tensor): Tensor {
  const [from] = floats(`take the ${operation.name} of`, x);
  return record(operation, [from], {}, [from])[0];
}

/**
 * `max(x, 0)` of each element. The gradient at 0 is 0, as PyTorch's.
 *
 * @throws {TypeError} If `x` is not of `f32`.
 *
 * @example
 * ```ts
 * import { openDevice, read, relu, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * console.log((await read(run(device, relu)(tensor([-1, 2])))).data); // [ 0, 2 ]
 * ```
 */
export function relu(x: Tensor): Tensor {
  return unary(reluOperation, x);
}

/**
 * `1 / (1 + exp(-x))` of each element.
 *
 * @throws {TypeError} If `x` is not of `f32`.
 */
export function sigmoid(x: Tensor): Tensor {
  return unary(sigmoidOperation, x);
}

/**
 * The hyperbolic tangent of each element.
 *
 * @throws {TypeError} If `x` is not of `f32`.
 */
export function tanh(x: Tensor): Tensor {
  return unary(tanhOperation, x);
}
