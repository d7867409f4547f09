import { assertEquals, assertThrows } from "@std/assert";
import { pack, packed, packPadded, padPacked } from "../src/core/packing.ts";
import { tensor } from "../src/core/tensor.ts";
import { lstmFromTorch } from "../src/nn/lstm_layers.ts";
import { packRows } from "./reference/golden.ts";

const lengths = [2, 5, 1, 4, 4];
const [T, B, W] = [6, lengths.length, 3];
/** Every element says where it is; padding is -1. */
const at = (t: number, b: number, w: number): number => t < lengths[b] ? 1000 * b + 10 * t + w : -1;
const timeFirst = tensor(
  Float32Array.from(
    { length: T * B * W },
    (_, i) => at(Math.floor(i / W / B), Math.floor(i / W) % B, i % W),
  ),
  [T, B, W],
);
const batchFirst = tensor(
  Float32Array.from(
    { length: T * B * W },
    (_, i) => at(Math.floor(i / W) % T, Math.floor(i / W / T), i % W),
  ),
  [B, T, W],
);

Deno.test("padded tensors of both layouts are packed to the same rows", () => {
  const rows = packPadded(timeFirst, lengths);
  assertEquals(rows.shape, [16, W]);
  assertEquals(rows.data, packRows(timeFirst, pack(lengths)).data);
  assertEquals(packPadded(batchFirst, lengths, { batchFirst: true }), rows);
});

Deno.test("padding packed rows gives the tensor back, zero past the ends", () => {
  const rows = packPadded(timeFirst, lengths);
  const padded = padPacked(rows, { batchFirst: true });
  assertEquals(padded.shape, [B, 5, W]);
  padded.data.forEach((value, i) => {
    const t = Math.floor(i / W) % 5, b = Math.floor(i / W / 5);
    assertEquals(value, Math.max(0, at(t, b, i % W)));
  });
  assertEquals(packPadded(padPacked(rows), lengths), rows);
  const whole = packed(pack([2, 1]), Uint32Array.of(7, 8, 9));
  assertEquals(padPacked(whole), tensor(Uint32Array.of(7, 8, 9, 0), [2, 2]));
});

Deno.test("what cannot be packed or padded says so", () => {
  assertThrows(() => packPadded(timeFirst, [7, 1, 1, 1, 1]), RangeError, "5 sequences of up to 7");
  assertThrows(() => packPadded(timeFirst, [1]), RangeError, "1 sequences");
  assertThrows(() => padPacked(timeFirst), TypeError, "packed()");
  assertThrows(() => lstmFromTorch(new Map()), TypeError, "no weight_ih_l0");
});
