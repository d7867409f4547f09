import { type HostTensor, type Tensor, tensor } from "../core/tensor.ts";
import { type Operation, record } from "../graph/graph.ts";
import { add } from "./binary.ts";
import { gatherDispatch } from "./gather_rows.ts";
import { packedFloats } from "./rows.ts";

/** Rows of the encoding by time step. */
const operation: Operation = {
  name: "positional_encoding",
  lower: ({ inputs: [table], outputs: [y], attributes }) => [{
    ...gatherDispatch(table, y, "steps", y.packing!),
    mostSteps: Number(attributes.maxLength),
  }],
};

/** Of `steps` steps, in float64 until the end: [steps,D]. */
function encoding(steps: number, D: number): HostTensor {
  const data = new Float32Array(steps * D);
  for (let d = 0; d < D; d++) {
    const frequency = 10000 ** (-(d - d % 2) / D);
    const wave = d % 2 === 0 ? Math.sin : Math.cos;
    for (let t = 0; t < steps; t++) data[t * D + d] = wave(t * frequency);
  }
  return tensor(data, [steps, D]);
}

/** Options of {@linkcode positionalEncoding}. */
export interface PositionalEncodingOptions {
  /** Most steps of a sequence; default 5000. */
  readonly maxLength?: number;
}

/**
 * Adds to each step of packed sequences the sinusoidal encoding of its number t, from 0 (Vaswani et al.
 * 2017): `sin(t / 10000^(2i/D))` in column 2i, `cos` of the same in column 2i+1. A sequence of more than
 * `maxLength` steps is an error when the function runs.
 *
 * @param x Packed rows, [N,D].
 * @returns Packed rows, [N,D].
 * @throws {TypeError} If `x` is not packed, no matrix or not of `f32`.
 * @throws {RangeError} If `maxLength` is no whole number from 1; when it runs, if a sequence is longer.
 *
 * @example
 * ```ts
 * import { openDevice, pack, packed, positionalEncoding, read, run } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const x = packed(pack([2]), new Float32Array(4), [2]);
 * const y = run(device, positionalEncoding)(x);
 * console.log((await read(y)).data); // 0, 1, sin(1), cos(1)
 * ```
 */
export function positionalEncoding(x: Tensor, options: PositionalEncodingOptions = {}): Tensor {
  const { maxLength = 5000 } = options;
  if (!Number.isSafeInteger(maxLength) || maxLength < 1) {
    throw new RangeError(
      `Cannot encode at most ${maxLength} positions: give a whole number from 1`,
    );
  }
  const from = packedFloats("encode positions of", x);
  const table = encoding(Math.min(maxLength, from.packing.capacity), x.shape[1]);
  return add(from, record(operation, [table], { maxLength }, [from])[0]);
}
