import { type HostTensor, type Shape, sizeOf, tensor, type TensorData } from "./tensor.ts";

/**
 * How sequences of different lengths lie in one matrix with no padding: time step after time step,
 * and inside a step the sequences that still run, longest first. The rows of step `t` are
 * `offsets[t] .. offsets[t] + batchSizes[t]`, and the j-th of them belongs to sequence `order[j]`.
 * This is the layout of PyTorch's `PackedSequence`.
 */
export interface Packing {
  /** Marks the record, so that trees of tensors can hold it as a leaf. */
  readonly kind: "packing";
  /** Lengths in the caller's order, B of them, each at least 1. */
  readonly lengths: Uint32Array;
  /** Caller's index of the j-th longest sequence (ties keep the caller's order), B of them. */
  readonly order: Uint32Array;
  /** How many sequences have a step t; T of them, never growing. */
  readonly batchSizes: Uint32Array;
  /** First packed row of step t; T + 1 of them, the last is the number of packed rows N. */
  readonly offsets: Uint32Array;
}

/**
 * Packs sequences of the given lengths.
 *
 * @param lengths Steps of each sequence, B of them, each a whole number of at least 1.
 * @throws {RangeError} If there is no sequence, or one is empty.
 *
 * @example
 * ```ts
 * import { pack } from "@gatewise/lstm";
 *
 * const packing = pack([2, 3, 1]);
 * console.log([...packing.order], [...packing.batchSizes]); // [1, 0, 2] [3, 2, 1]
 * ```
 */
export function pack(lengths: ArrayLike<number>): Packing {
  const B = lengths.length;
  if (B === 0) throw new RangeError("Cannot pack an empty batch: give at least one sequence");
  for (let b = 0; b < B; b++) {
    if (!Number.isSafeInteger(lengths[b]) || lengths[b] < 1) {
      throw new RangeError(`Cannot pack sequence ${b} of length ${lengths[b]}: lengths start at 1`);
    }
  }
  const order = Uint32Array.from({ length: B }, (_, b) => b)
    .sort((a, b) => lengths[b] - lengths[a] || a - b);
  const T = lengths[order[0]];
  const batchSizes = new Uint32Array(T);
  const offsets = new Uint32Array(T + 1);
  for (let t = 0, active = B; t < T; t++) {
    while (lengths[order[active - 1]] <= t) active--;
    batchSizes[t] = active;
    offsets[t + 1] = offsets[t] + active;
  }
  return Object.freeze({
    kind: "packing",
    lengths: Uint32Array.from(lengths),
    order,
    batchSizes,
    offsets,
  });
}

/** Number of packed rows N: the sum of the lengths. */
export function packedRows(packing: Packing): number {
  return packing.offsets[packing.batchSizes.length];
}

/** Whether a value is a packing. */
export function isPacking(value: unknown): value is Packing {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "packing";
}

/**
 * Lays per-sequence values out in packed rows: row `offsets[t] + j` takes `value(order[j], t)`.
 *
 * @param value Called with the caller's sequence index and the time step.
 * @returns N values in packed order.
 */
export function packValues(packing: Packing, value: (b: number, t: number) => number): Uint32Array {
  const { batchSizes, offsets, order } = packing;
  const rows = new Uint32Array(packedRows(packing));
  for (let t = 0; t < batchSizes.length; t++) {
    for (let j = 0; j < batchSizes[t]; j++) rows[offsets[t] + j] = value(order[j], t);
  }
  return rows;
}

/**
 * A tensor whose first dimension counts packed rows. Functions that are compiled take batches of any
 * lengths by it, without compiling anew for each.
 *
 * @param data Elements of N rows in packed order, row-major.
 * @param shape Sizes after the first dimension; default none.
 * @throws {RangeError} If the number of elements is not N times that size.
 */
export function packed(packing: Packing, data: TensorData, shape: Shape = []): HostTensor {
  const rows = packedRows(packing);
  if (data.length !== rows * sizeOf(shape)) {
    throw new RangeError(
      `Cannot pack ${data.length} elements: ${rows} rows of [${shape}] take ${
        rows * sizeOf(shape)
      }`,
    );
  }
  return Object.freeze({ ...tensor(data, [rows, ...shape]), packing });
}

/** Packed row of every sequence's last step, in the caller's order: B row numbers. */
export function lastRows(packing: Packing): Uint32Array {
  const rows = new Uint32Array(packing.lengths.length);
  packing.order.forEach((b, j) => rows[b] = packing.offsets[packing.lengths[b] - 1] + j);
  return rows;
}

/** Which dimension of a padded tensor comes first. */
export interface PaddedOptions {
  /** Whether it is [B,T,...] instead of [T,B,...], as `batch_first=True` says. */
  readonly batchFirst?: boolean;
}

/** Calls `move(row, place)` for each packed row and its place in [T,B] or [B,T]. */
function eachRow(
  { order, batchSizes, offsets, lengths }: Packing,
  steps: number,
  batchFirst: boolean,
  move: (row: number, place: number) => void,
): void {
  for (let t = 0; t < batchSizes.length; t++) {
    for (let j = 0; j < batchSizes[t]; j++) {
      const b = order[j];
      move(offsets[t] + j, batchFirst ? b * steps + t : t * lengths.length + b);
    }
  }
}

/**
 * Packs a padded tensor, leaving its padding out: `pack_padded_sequence` of PyTorch with
 * `enforce_sorted=False`.
 *
 * @param x On the host, [T,B,...] or with `batchFirst` [B,T,...].
 * @param lengths Steps of each sequence, B of them.
 * @returns Packed rows, [N,...].
 * @throws {RangeError} If the lengths do not fit, see also {@linkcode pack}.
 *
 * @example
 * ```ts
 * import { packPadded, padPacked, tensor } from "@gatewise/lstm";
 *
 * const x = tensor([1, 2, 3, 4, 5, 0], [2, 3, 1]); // two sequences, of 3 and 2 steps
 * const rows = packPadded(x, [3, 2], { batchFirst: true });
 * console.log(rows.data); // 1, 4, 2, 5, 3
 * console.log(padPacked(rows, { batchFirst: true }).data); // 1, 2, 3, 4, 5, 0
 * ```
 */
export function packPadded(
  x: HostTensor,
  lengths: ArrayLike<number>,
  { batchFirst = false }: PaddedOptions = {},
): HostTensor {
  const [first, second, ...inner] = x.shape;
  const [steps, batch] = batchFirst ? [second, first] : [first, second];
  const packing = pack(lengths);
  if (x.shape.length < 2 || batch !== lengths.length || packing.batchSizes.length > steps) {
    throw new RangeError(
      `Cannot pack [${x.shape}]${
        batchFirst ? ", batch first," : ""
      } as ${lengths.length} sequences ` +
        `of up to ${packing.batchSizes.length} steps`,
    );
  }
  const width = sizeOf(inner);
  const data = x.data.slice(0, packedRows(packing) * width);
  eachRow(packing, steps, batchFirst, (row, place) => {
    data.set(x.data.subarray(place * width, (place + 1) * width), row * width);
  });
  return packed(packing, data, inner);
}

/**
 * Pads packed rows with zeros: `pad_packed_sequence` of PyTorch.
 *
 * @param x Packed rows on the host, [N,...].
 * @returns [T,B,...] or with `batchFirst` [B,T,...], sequences in the caller's order.
 * @throws {TypeError} If `x` is not packed.
 */
export function padPacked(x: HostTensor, { batchFirst = false }: PaddedOptions = {}): HostTensor {
  const { packing, shape: [, ...inner] } = x;
  if (packing === undefined) {
    throw new TypeError(`Cannot pad [${x.shape}]: make its rows with packed()`);
  }
  const width = sizeOf(inner), T = packing.batchSizes.length, B = packing.lengths.length;
  const Data = x.data.constructor as new (length: number) => TensorData;
  const data = new Data(T * B * width);
  eachRow(packing, T, batchFirst, (row, place) => {
    data.set(x.data.subarray(row * width, (row + 1) * width), place * width);
  });
  return tensor(data, [...(batchFirst ? [B, T] : [T, B]), ...inner]);
}
