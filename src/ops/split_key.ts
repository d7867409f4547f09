import { formatShape, type Tensor } from "../core/tensor.ts";
import { type Operation, record, type Traced, traced } from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { ALIGNMENT, view } from "./view.ts";

/**
 * A random key in the graph.
 *
 * @throws {TypeError} If it is not u32[2].
 */
export function keyOf(verb: string, key: Tensor): Traced {
  if (key.dtype !== "u32" || formatShape(key.shape) !== "[2]") {
    throw new TypeError(
      `Cannot ${verb} with a key of ${key.dtype}${formatShape(key.shape)}: a key is u32[2]`,
    );
  }
  return traced(key, verb);
}

const operation: Operation = {
  name: "split_key",
  lower({ outputs: [keys] }) {
    const count = keys.shape[0];
    return [{
      kernel: "split_key",
      constants: {},
      bindings: [
        { extent: count, access: "uniform" },
        { input: 0, access: "read" },
        { output: 0, access: "write" },
      ],
      rows: count,
      grid: () => elementGrid(count),
    }];
  },
};

/**
 * Keys for several uses of randomness: key i is `foldIn(key, i)`, computed on the device.
 *
 * @param key u32[2].
 * @param count How many, from 1.
 * @returns Keys, u32[2] each.
 * @throws {TypeError} If `key` is no key.
 * @throws {RangeError} If `count` is no whole number from 1.
 *
 * @example
 * ```ts
 * import { foldIn, openDevice, randomKey, read, run, splitKey, type Tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const key = randomKey(42);
 * const split = run(device, (key: Tensor) => splitKey(key, 2));
 * console.log(await read(split(key)), [foldIn(key, 0), foldIn(key, 1)]); // the same
 * ```
 */
export function splitKey(key: Tensor, count: number): readonly Tensor[] {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new RangeError(`Cannot split a key into ${count}: give a whole number from 1`);
  }
  const bits = keyOf("split", key);
  const keys = record(operation, [bits], { count }, [
    // A view begins at a multiple of ALIGNMENT elements.
    { shape: [count, ALIGNMENT], dtype: "u32" },
  ])[0];
  return Array.from(
    { length: count },
    (_, i) => view(keys, i * ALIGNMENT, { shape: [2], dtype: "u32" }),
  );
}
