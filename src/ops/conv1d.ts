import { formatShape, type Tensor, tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Traced,
  type TracedPacking,
} from "../graph/graph.ts";
import { concat } from "./concat.ts";
import { elementGrid } from "./grid.ts";
import { linear } from "./linear.ts";
import { packedFloats, rowsOf } from "./rows.ts";
import { transpose } from "./transpose.ts";
import { reshape } from "./view.ts";

function dispatch(kernel: string, node: Node, O: number, PAD: number): Dispatch {
  const of = node.inputs[0].packing as TracedPacking;
  const rows = rowsOf(node.inputs[0]);
  return {
    kernel,
    constants: { O, PAD },
    bindings: [
      { extent: rows, access: "uniform" },
      { rowIndex: "previous", of, access: "read" },
      { rowIndex: "next", of, access: "read" },
      { input: 0, access: "read" },
      { output: 0, access: "write" },
    ],
    rows,
    grid: ({ rows }) => elementGrid(rows * Math.ceil(O / 4)),
  };
}

/** Sums what rows give to the rows around them: [N,kO] to [N,O]. */
const operation: Operation = {
  name: "conv1d",
  lower: (node) => [
    dispatch("conv1d", node, node.outputs[0].shape[1], Number(node.attributes.pad)),
  ],
  vjp: ({ inputs: [z], attributes }, [dy]) =>
    dy === undefined ? [] : [record(backward, [dy], attributes, [z])[0]],
};

const backward: Operation = {
  name: "conv1d_backward",
  lower: (node) => [
    dispatch("conv1d_backward", node, node.inputs[0].shape[1], Number(node.attributes.pad)),
  ],
};

/**
 * A convolution along time over packed sequences, as PyTorch's `Conv1d` with `padding` k / 2: as many
 * steps come out as went in, and each sequence sees zeros before its first step and after its last.
 *
 * @param x Packed rows, [N,I].
 * @param weight [O,I,k], k odd; PyTorch's layout (a cross-correlation).
 * @param bias [O].
 * @returns Packed rows, [N,O].
 * @throws {TypeError} If `x` is not packed or the shapes do not fit.
 * @throws {RangeError} If k is even.
 *
 * @example
 * ```ts
 * import { conv1d, openDevice, pack, packed, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * // Steps 1, 2, 3 of one sequence and 5 of another.
 * const x = packed(pack([3, 1]), Float32Array.of(1, 5, 2, 3), [1]);
 * const y = run(device, conv1d)(x, tensor([1, 1, 1], [1, 1, 3]), tensor([0]));
 * console.log((await read(y)).data); // Float32Array [ 3, 5, 6, 5 ]
 * ```
 */
export function conv1d(x: Tensor, weight: Tensor, bias: Tensor): Tensor {
  const from = packedFloats("convolve", x);
  const [O, I, k] = weight.shape;
  const fits = weight.shape.length === 3 && O > 0 && x.shape[1] === I &&
    formatShape(bias.shape) === `[${O}]`;
  if (!fits) {
    throw new TypeError(
      `Cannot convolve ${formatShape(x.shape)} with ${formatShape(weight.shape)} and a bias of ` +
        `${formatShape(bias.shape)}: give [N,I], [O,I,k] and [O]`,
    );
  }
  if (k % 2 === 0) {
    throw new RangeError(`Cannot convolve with ${k} taps: their number must be odd, as 3 or 5`);
  }
  // One product gives what each row adds to the k rows around it. It is narrower than the rows laid
  // beside each other would be wherever O < I, and as wide as the fast kernels take.
  const pad = (k - 1) / 2;
  const taps = reshape(transpose(reshape(weight, [O * I, k])), [k * O, I]);
  const none = tensor(new Float32Array(pad * O));
  const z = linear(from, taps, pad === 0 ? bias : concat([none, bias, none], 0)) as Traced;
  const { packing } = from;
  return record(operation, [z], { pad }, [{ shape: [x.shape[0], O], dtype: "f32", packing }])[0];
}
