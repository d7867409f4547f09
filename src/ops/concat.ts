import { formatShape, type Tensor } from "../core/tensor.ts";
import {
  type Node,
  type Operation,
  record,
  samePacking,
  specLike,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { axisOf, copyColumns } from "./columns.ts";
import { slice } from "./slice.ts";

/** Where each input begins along the axis. */
function starts(inputs: readonly Traced[], axis: number): readonly number[] {
  let at = 0;
  return inputs.map((x) => (at += x.shape[axis]) - x.shape[axis]);
}

const operation: Operation = {
  name: "concat",
  lower({ inputs, outputs: [y], attributes }) {
    const axis = Number(attributes.axis);
    const firsts = starts(inputs, axis);
    return inputs.map((x, i) => {
      const part = { axis, first: firsts[i], count: x.shape[axis], shift: -firsts[i] };
      return copyColumns(i, x, y, part);
    });
  },
  vjp({ inputs, attributes }: Node, [dy]: readonly (Traced | undefined)[]) {
    if (dy === undefined) return [];
    const axis = Number(attributes.axis);
    const firsts = starts(inputs, axis);
    return inputs.map((x, i) => slice(dy, axis, firsts[i], firsts[i] + x.shape[axis]) as Traced);
  },
};

/**
 * Tensors side by side along an axis.
 *
 * @param tensors At least one; equal shapes but for the size along the axis.
 * @param axis From 0; -1 is the last.
 * @throws {RangeError} If there is no tensor or no such axis.
 * @throws {TypeError} If the other sizes, the types or the packings differ, or the axis counts packed
 * rows.
 *
 * @example
 * ```ts
 * import { concat, openDevice, read, run, type Tensor, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const beside = run(device, (a: Tensor, b: Tensor) => concat([a, b], 1));
 * const y = beside(tensor([1, 2], [2, 1]), tensor([3, 4], [2, 1]));
 * console.log((await read(y)).data); // [ 1, 3, 2, 4 ]
 * ```
 */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  if (tensors.length === 0) {
    throw new RangeError("Cannot concatenate no tensors: give at least one");
  }
  const parts = tensors.map((x) => traced(x, "concatenate"));
  const [first] = parts;
  const at = axisOf("concatenate", first, axis);
  for (const part of parts) {
    axisOf("concatenate", part, axis);
    const fits = part.shape.length === first.shape.length && part.dtype === first.dtype &&
      part.shape.every((size, i) => i === at || size === first.shape[i]);
    if (!fits) {
      throw new TypeError(
        `Cannot concatenate ${first.dtype}${formatShape(first.shape)} and ` +
          `${part.dtype}${formatShape(part.shape)} along axis ${axis}: other sizes must be equal`,
      );
    }
    samePacking("concatenate", first, part);
  }
  if (parts.length === 1) return first;
  const size = parts.reduce((sum, part) => sum + part.shape[at], 0);
  return record(operation, parts, { axis: at }, [specLike(first, first.shape.with(at, size))])[0];
}
