import { assert, assertEquals, assertThrows } from "@std/assert";
import { pack, packed, packedRows } from "../src/core/packing.ts";
import { normal, randomKey } from "../src/core/random.ts";
import { type HostTensor, type Shape, sizeOf, type Tensor, tensor } from "../src/core/tensor.ts";
import { input } from "../src/graph/graph.ts";
import { mul } from "../src/ops/binary.ts";
import { concat } from "../src/ops/concat.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { slice } from "../src/ops/slice.ts";
import { sum } from "../src/ops/sum.ts";
import { compile, run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";

const random = (seed: number, shape: Shape): HostTensor =>
  tensor(Float32Array.from(normal(randomKey(seed), sizeOf(shape))), shape);

/** Element numbers, row-major, of the part of a tensor that `slice` takes. */
function part(shape: Shape, axis: number, start: number, end: number): number[] {
  const inner = sizeOf(shape.slice(axis + 1));
  return Array.from({ length: sizeOf(shape) }, (_, i) => i).filter((i) => {
    const at = Math.floor(i / inner) % shape[axis];
    return at >= start && at < end;
  });
}

interface Result {
  readonly y: HostTensor;
  readonly grads: readonly HostTensor[];
}

/** `[y, gradients]` of a function of tensors, where dy is the cotangent of y. */
const withGradients =
  (f: (...of: readonly Tensor[]) => Tensor) => (of: readonly Tensor[], dy: Tensor): unknown => {
    const loss = (of: readonly Tensor[]): readonly [Tensor, Tensor] => {
      const y = f(...of);
      return [sum(mul(y, dy)), y];
    };
    const [[, y], grads] = valueAndGrad(loss, { hasAux: true })(of);
    return { y, grads };
  };

deviceTest("slice takes a part along an axis, its gradient is zero elsewhere", async (device) => {
  for (
    const [shape, axis, start, end] of [
      [[1], 0, 0, 1],
      [[131], 0, 64, 131],
      [[7, 19], 1, 0, 1],
      [[7, 19], 1, 18, 19],
      [[7, 19], -1, 3, 11],
      [[7, 19], 0, 2, 6],
      [[65, 64], 0, 64, 65],
      [[65, 129], 1, 1, 128],
      [[3, 5, 7], 1, 1, 4],
      [[3, 5, 7], 2, 6, 7],
      [[3, 5, 7], 0, 1, 2],
    ] as const
  ) {
    const at = axis < 0 ? axis + shape.length : axis;
    const x = random(1, shape);
    const dy = random(2, (shape as Shape).with(at, end - start));
    const out = await read(
      run(device, withGradients((x) => slice(x, axis, start, end)))([x], dy),
    ) as unknown as Result;
    const where = part(shape, at, start, end);
    const dx = new Float32Array(sizeOf(shape));
    where.forEach((i, k) => dx[i] = dy.data[k]);
    assertEquals(out.y.shape, dy.shape);
    assertEquals([...out.y.data], where.map((i) => x.data[i]));
    assertEquals(out.grads[0].shape, shape);
    assertEquals(out.grads[0].data, dx);
  }
});

deviceTest("concat lays tensors side by side, its gradients are their parts", async (device) => {
  for (
    const [shape, axis, sizes] of [
      [[1], 0, [1, 1]],
      [[0], 0, [64, 67, 1]],
      [[7, 0], 1, [1, 5, 13]],
      [[65, 0], -1, [64, 65]],
      [[0, 19], 0, [3, 4, 1, 2]],
      [[3, 0, 7], 1, [2, 3]],
      [[3, 5, 0], 2, [1, 6]],
    ] as const
  ) {
    const at = axis < 0 ? axis + shape.length : axis;
    const xs = sizes.map((size, k) => random(k, (shape as Shape).with(at, size)));
    const dy = random(9, (shape as Shape).with(at, sizes.reduce((a: number, b) => a + b, 0)));
    const out = await read(
      run(device, withGradients((...xs) => concat(xs, axis)))(xs, dy),
    ) as unknown as Result;
    assertEquals(out.y.shape, dy.shape);
    let start = 0;
    xs.forEach((x, k) => {
      const where = part(dy.shape, at, start, start += sizes[k]);
      assertEquals(where.map((i) => out.y.data[i]), [...x.data]);
      assertEquals(out.grads[k].shape, x.shape);
      assertEquals([...out.grads[k].data], where.map((i) => dy.data[i]));
    });
  }
});

deviceTest("packed rows: slices and concatenation along columns", async (device) => {
  const f = (a: Tensor, b: Tensor, dy: Tensor): unknown =>
    withGradients((a, b) => concat([slice(b, 1, 2, 5), a, slice(b, 1, 0, 3), a], 1))([a, b], dy);
  using compiled = compile(device, f);
  const long = pack([50, 60]);
  const nan = (n: number): HostTensor => packed(long, new Float32Array(110 * n).fill(NaN), [n]);
  compiled(nan(2), nan(5), nan(10));
  const packing = pack([4, 9]), N = packedRows(packing);
  const [a, b, dy] = [random(1, [N, 2]), random(2, [N, 5]), random(3, [N, 10])];
  const pick = (x: HostTensor, n: number, k: number): number => x.data[n * x.shape[1] + k];
  const out = await read(
    compiled(
      packed(packing, a.data, [2]),
      packed(packing, b.data, [5]),
      packed(packing, dy.data, [10]),
    ),
  ) as unknown as Result;
  assertEquals(out.y.shape, [N, 10]);
  assertEquals(out.grads.map((g) => g.shape), [[N, 2], [N, 5]]);
  for (let n = 0; n < N; n++) {
    const [a0, a1] = [0, 1].map((k) => pick(a, n, k));
    const [b0, b1, b2, b3, b4] = [0, 1, 2, 3, 4].map((k) => pick(b, n, k));
    assertEquals(
      [...out.y.data.subarray(10 * n, 10 * n + 10)],
      [b2, b3, b4, a0, a1, b0, b1, b2, a0, a1],
    );
    const d = (k: number): number => pick(dy, n, k);
    assertEquals(
      [...out.grads[0].data.subarray(2 * n, 2 * n + 2)],
      [d(3) + d(8), d(4) + d(9)].map(Math.fround),
    );
    assertEquals(
      [...out.grads[1].data.subarray(5 * n, 5 * n + 5)],
      [d(5), d(6), d(7) + d(0), d(1), d(2)].map(Math.fround),
    );
  }
});

deviceTest("integers are copied bit for bit", async (device) => {
  // As floats these are NaN with a payload, a denormal and -0.
  const x = tensor(Uint32Array.of(0x7fc12345, 1, 0x80000000, 0xffffffff), [2, 2]);
  const swap = (x: Tensor): Tensor => concat([slice(x, 1, 1, 2), slice(x, 1, 0, 1)], 1);
  const y = await read(run(device, swap)(x));
  assertEquals(y.dtype, "u32");
  assertEquals([...y.data], [1, 0x7fc12345, 0xffffffff, 0x80000000]);
});

Deno.test("what changes nothing is no operation", () => {
  const x = input(0, { shape: [2, 3], dtype: "f32" });
  assert(slice(x, 1, 0, 3) === x);
  assert(concat([x], 0) === x);
});

Deno.test("slice and concat refuse what does not fit, with the shapes", () => {
  const x = input(0, { shape: [2, 3], dtype: "f32" });
  const y = input(1, { shape: [3, 3], dtype: "f32" });
  const whole = input(2, { shape: [2, 3], dtype: "u32" });
  const empty = input(3, { shape: [2, 0], dtype: "f32" });
  const rows = input(4, {
    shape: [128, 3],
    dtype: "f32",
    packing: { kind: "packing", batch: 1, capacity: 128 },
  });
  for (const [start, end] of [[0, 4], [-1, 2], [2, 2], [2, 1], [0.5, 2]]) {
    assertThrows(
      () => slice(x, 1, start, end),
      RangeError,
      `Cannot slice [2,3] from ${start} to ${end} along axis 1: its size there is 3`,
    );
  }
  for (const axis of [2, -3, 0.5]) {
    assertThrows(() => slice(x, axis, 0, 1), RangeError, `[2,3] along axis ${axis}`);
  }
  assertThrows(() => slice(rows, 0, 0, 1), TypeError, "Cannot slice [128,3] along axis 0");
  assertThrows(() => concat([], 0), RangeError, "Cannot concatenate no tensors");
  assertThrows(() => concat([x, y], 1), TypeError, "Cannot concatenate f32[2,3] and f32[3,3]");
  assertThrows(() => concat([x, whole], 1), TypeError, "f32[2,3] and u32[2,3]");
  assertThrows(() => concat([x, empty], 1), TypeError, "[2,0]: it has no elements");
  assertThrows(() => concat([rows, rows], 0), TypeError, "its rows are packed");
  const wide = input(5, { shape: [128, 3], dtype: "f32" });
  assertThrows(() => concat([rows, wide], 1), TypeError, "different packings");
});
