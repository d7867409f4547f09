import { formatShape, sizeOf, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record, specLike } from "../graph/graph.ts";
import { elementRows, floats } from "./elementwise.ts";
import { elementGrid } from "./grid.ts";

/** Elements that a workgroup of 64 adds. */
const GROUP = 1024;

/** Stages that each make `GROUP` numbers one, until one is left. */
function stages(node: Node, mean: number): readonly Dispatch[] {
  const [x] = node.inputs;
  const { rows, N } = elementRows(x);
  const most = sizeOf(x.shape);
  const dispatches: Dispatch[] = [];
  let last = false;
  for (let span = 1; !last; span *= GROUP) {
    const size = Math.ceil(most / span / GROUP);
    last = size === 1;
    dispatches.push({
      kernel: "sum",
      constants: { N, SPAN: span, MEAN: last ? mean : 0 },
      bindings: [
        { extent: rows, access: "uniform" },
        span === 1
          ? { input: 0, access: "read" }
          : { scratch: `sums ${span}`, size: Math.ceil(most / span), access: "read" },
        last
          ? { output: 0, access: "write" }
          : { scratch: `sums ${span * GROUP}`, size, access: "write" },
      ],
      rows,
      grid: ({ rows }) => elementGrid(64 * Math.ceil(rows * N / span / GROUP)),
    });
  }
  return dispatches;
}

function operation(name: "sum" | "mean"): Operation {
  const mean = name === "mean" ? 1 : 0;
  const backward: Operation = {
    name: `${name}_backward`,
    formula: () => ({
      text: mean === 1 ? "vec4f($0[0] / f32(element_count()))" : "vec4f($0[0])",
      arrays: { 0: "f32" },
    }),
  };
  return {
    name,
    lower: (node) => stages(node, mean),
    vjp: ({ inputs: [x] }, [dy]) =>
      dy === undefined ? [] : [record(backward, [dy], { ...specLike(x) }, [x])[0]],
  };
}

const sumOperation = operation("sum");
const meanOperation = operation("mean");

function reduce(operation: Operation, x: Tensor): Tensor {
  const [from] = floats(`take the ${operation.name} of`, x);
  if (sizeOf(x.shape) === 0) {
    throw new TypeError(
      `Cannot take the ${operation.name} of ${formatShape(x.shape)}: it has no elements`,
    );
  }
  return record(operation, [from], {}, [{ shape: [], dtype: "f32" }])[0];
}

/**
 * The sum of all elements. Additions have a fixed order, so that equal inputs give equal bits.
 *
 * @param x Any shape; of packed rows only those that the packing has.
 * @returns A scalar, [].
 * @throws {TypeError} If `x` is not of `f32` or has no elements.
 */
export function sum(x: Tensor): Tensor {
  return reduce(sumOperation, x);
}

/**
 * The mean of all elements.
 *
 * @param x Any shape; of packed rows only those that the packing has.
 * @returns A scalar, [].
 * @throws {TypeError} If `x` is not of `f32` or has no elements.
 *
 * @example
 * ```ts
 * import { mean, openDevice, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * console.log((await read(run(device, mean)(tensor([1, 2, 6])))).data); // [ 3 ]
 * ```
 */
export function mean(x: Tensor): Tensor {
  return reduce(meanOperation, x);
}
