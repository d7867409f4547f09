import { formatShape, type Tensor } from "../core/tensor.ts";
import {
  type Node,
  type Operation,
  record,
  specLike,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { axisOf, copyColumns } from "./columns.ts";

const operation: Operation = {
  name: "slice",
  lower({ inputs: [x], outputs: [y], attributes }) {
    const axis = Number(attributes.axis);
    const part = { axis, first: 0, count: y.shape[axis], shift: Number(attributes.start) };
    return [copyColumns(0, x, y, part)];
  },
  vjp({ inputs: [x], attributes }: Node, [dy]: readonly (Traced | undefined)[]) {
    if (dy === undefined) return [];
    const { axis, start } = attributes;
    return [record(backward, [dy], { axis, start, size: x.shape[Number(axis)] }, [x])[0]];
  },
};

/** Zeros before and after dy. */
const backward: Operation = {
  name: "slice_backward",
  lower({ inputs: [dy], outputs: [dx], attributes }) {
    const axis = Number(attributes.axis);
    const all = { axis, first: 0, count: dx.shape[axis], shift: -Number(attributes.start) };
    return [copyColumns(0, dy, dx, all)];
  },
};

/**
 * The part of a tensor from `start` up to, not including, `end` along an axis.
 *
 * @param x Any shape.
 * @param axis From 0; -1 is the last.
 * @throws {RangeError} If there is no such axis or part, or the part is empty.
 * @throws {TypeError} If the axis counts packed rows.
 *
 * @example
 * ```ts
 * import { openDevice, read, run, slice, type Tensor, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const last = run(device, (x: Tensor) => slice(x, 1, 2, 3));
 * console.log((await read(last(tensor([1, 2, 3, 4, 5, 6], [2, 3])))).data); // [ 3, 6 ]
 * ```
 */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  const from = traced(x, "slice");
  const at = axisOf("slice", from, axis);
  const whole = Number.isSafeInteger(start) && Number.isSafeInteger(end);
  if (!whole || start < 0 || end <= start || end > x.shape[at]) {
    throw new RangeError(
      `Cannot slice ${formatShape(x.shape)} from ${start} to ${end} along axis ${axis}: ` +
        `its size there is ${x.shape[at]}`,
    );
  }
  if (end - start === x.shape[at]) return from;
  const shape = x.shape.with(at, end - start);
  return record(operation, [from], { axis: at, start, end }, [specLike(from, shape)])[0];
}
