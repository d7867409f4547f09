import type { Tensor } from "../core/tensor.ts";
import { type Operation, record } from "../graph/graph.ts";
import { floats } from "./elementwise.ts";

/** The operation of a function f of x and, from y = f(x), of its derivative times dy. */
function operation(name: string, ofX: string, ofYAndDy: string): Operation {
  const backward: Operation = { name: `${name}_backward`, formula: () => ({ text: ofYAndDy }) };
  return {
    name,
    formula: () => ({ text: ofX }),
    vjp: ({ outputs: [y] }, [dy]) =>
      dy === undefined ? [] : [record(backward, [y, dy], {}, [y])[0]],
  };
}

// Not max(), which may make NaN a number.
const reluOperation = operation(
  "relu",
  "select($0, vec4f(0.0), $0 <= vec4f(0.0))",
  "select($1, vec4f(0.0), $0 <= vec4f(0.0))",
);
const sigmoidOperation = operation("sigmoid", "sigmoid4($0)", "$0 * (1.0 - $0) * $1");
const tanhOperation = operation("tanh", "tanh4($0)", "(1.0 - $0 * $0) * $1");

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
