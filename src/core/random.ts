/**
 * Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random
 * numbers: as easy as 1, 2, 3"). A key and a counter give the same 128 bits on the host and in a
 * kernel, on every adapter, so nothing random is ever stored.
 *
 * Counter word 3 separates uses: 0 draws, 1 derives keys.
 *
 * @module
 */
import { type HostTensor, tensor } from "./tensor.ts";

/** A random key: `u32[2]`. The same key always gives the same numbers; derive one for each use. */
export type Key = HostTensor;

function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff, aHigh = a >>> 16, bLow = b & 0xffff, bHigh = b >>> 16;
  const low = aLow * bLow;
  const mid = aHigh * bLow + (low >>> 16);
  const mid2 = aLow * bHigh + (mid & 0xffff);
  return (aHigh * bHigh + Math.floor(mid / 65536) + Math.floor(mid2 / 65536)) >>> 0;
}

/**
 * One Philox4x32-10 block.
 *
 * @param key Two 32-bit words.
 * @param counter Four 32-bit words.
 * @returns Four 32-bit words.
 */
export function philox(
  key: ArrayLike<number>,
  counter: ArrayLike<number>,
): [number, number, number, number] {
  let k0 = key[0] >>> 0, k1 = key[1] >>> 0;
  let c0 = counter[0] >>> 0, c1 = counter[1] >>> 0, c2 = counter[2] >>> 0, c3 = counter[3] >>> 0;
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(0xd2511f53, c0), low0 = Math.imul(0xd2511f53, c0) >>> 0;
    const high1 = mulHigh(0xcd9e8d57, c2), low1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/**
 * The key of a seed.
 *
 * @param seed A whole number from 0 to 2^53 - 1.
 * @throws {RangeError} If the seed is not such a number.
 */
export function randomKey(seed: number): Key {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`Cannot make a key of seed ${seed}: a seed is a whole number from 0`);
  }
  return tensor(Uint32Array.of(seed >>> 0, Math.floor(seed / 2 ** 32)), [2]);
}

/** The key derived from `key` for use number `n` (0 to 2^53 - 1). Different uses are independent. */
export function foldIn(key: Key, n: number): Key {
  const [a, b] = philox(key.data, [n >>> 0, Math.floor(n / 2 ** 32), 0, 1]);
  return tensor(Uint32Array.of(a, b), [2]);
}

/** `count` numbers uniform in [0, 1), each a multiple of 2^-32. */
export function uniform(key: Key, count: number): Float64Array {
  const values = new Float64Array(count);
  for (let i = 0; i < count; i += 4) {
    const block = philox(key.data, [i / 4, 0, 0, 0]);
    for (let j = 0; j < 4 && i + j < count; j++) values[i + j] = block[j] / 2 ** 32;
  }
  return values;
}

/** `count` numbers of the standard normal distribution (Box and Muller 1958). */
export function normal(key: Key, count: number): Float64Array {
  const u = uniform(key, 2 * count);
  return Float64Array.from(
    { length: count },
    (_, i) => Math.sqrt(-2 * Math.log(1 - u[2 * i])) * Math.cos(2 * Math.PI * u[2 * i + 1]),
  );
}

/** The numbers 0 to `count` - 1 in random order (Fisher and Yates). */
export function permutation(key: Key, count: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  const u = uniform(key, count);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(u[i] * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
