import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { pack, packed, packedRows } from "../src/core/packing.ts";
import { foldIn, normal, philox, randomKey, uniform } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import type { OpenDevice } from "../src/gpu/device.ts";
import { input } from "../src/graph/graph.ts";
import { mul } from "../src/ops/binary.ts";
import { dropout } from "../src/ops/dropout.ts";
import { grad, valueAndGrad } from "../src/ops/gradient.ts";
import { splitKey } from "../src/ops/split_key.ts";
import { sum } from "../src/ops/sum.ts";
import { compile, run } from "../src/plan/compile.ts";
import { read } from "../src/plan/device_tensor.ts";
import { deviceTest } from "./adapter.ts";

const random = (seed: number, n: number): Float32Array =>
  Float32Array.from(normal(randomKey(seed), n));

/** What dropout must give, bit for bit: the host's numbers decide, one float32 product scales. */
function expected(x: Float32Array, rate: number, key: HostTensor): number[] {
  const u = uniform(key, x.length), scale = Math.fround(1 / (1 - rate));
  return Array.from(x, (v, i) => u[i] >= rate ? Math.fround(scale * v) : 0);
}

// Counter, key and result of Philox4x32-10: kat_vectors of Random123, Salmon et al.'s own library.
const PI = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0];
const KNOWN = [
  { key: [0, 0], counter: [0, 0, 0, 0], words: "6627e8d5 e169c58d bc57ac4c 9b00dbd8" },
  {
    key: [0xffffffff, 0xffffffff],
    counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    words: "408f276d 41c83b0e a20bc7c6 6d5451fd",
  },
  { key: PI.slice(4), counter: PI.slice(0, 4), words: "d16cfe09 94fdcceb 5001e420 24126ea1" },
];
const hex = (words: ArrayLike<number>): string =>
  Array.from(words, (word) => word.toString(16).padStart(8, "0")).join(" ");

Deno.test("philox gives the known answers on the host", () => {
  for (const { key, counter, words } of KNOWN) assertEquals(hex(philox(key, counter)), words);
});

deviceTest("philox gives the known answers on the device", async (device) => {
  const { gpu } = device as OpenDevice;
  const include = await Deno.readTextFile(new URL("../kernels/philox.wgsl", import.meta.url));
  const code = `${include}
    @group(0) @binding(0) var<storage, read> given: array<vec4u>;
    @group(0) @binding(1) var<storage, read_write> words: array<vec4u>;
    @compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3u) {
      words[id.x] = philox(given[2u * id.x].xy, given[2u * id.x + 1u]);
    }`;
  const pipeline = gpu.createComputePipeline({
    layout: "auto",
    compute: { module: gpu.createShaderModule({ code }) },
  });
  const given = Uint32Array.from(KNOWN.flatMap(({ key, counter }) => [...key, 0, 0, ...counter]));
  const { COPY_DST, COPY_SRC, MAP_READ, STORAGE } = GPUBufferUsage;
  const size = 16 * KNOWN.length;
  const source = gpu.createBuffer({ size: 2 * size, usage: STORAGE | COPY_DST });
  const result = gpu.createBuffer({ size, usage: STORAGE | COPY_SRC });
  const staging = gpu.createBuffer({ size, usage: MAP_READ | COPY_DST });
  gpu.queue.writeBuffer(source, 0, given);
  const encoder = gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    gpu.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [source, result].map((buffer, binding) => ({ binding, resource: { buffer } })),
    }),
  );
  pass.dispatchWorkgroups(KNOWN.length);
  pass.end();
  encoder.copyBufferToBuffer(result, 0, staging, 0, size);
  gpu.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const words = new Uint32Array(staging.getMappedRange().slice(0));
  for (const buffer of [source, result, staging]) buffer.destroy();
  KNOWN.forEach((known, i) => assertEquals(hex(words.subarray(4 * i, 4 * i + 4)), known.words));
});

deviceTest("splitKey derives the keys that the host derives", async (device) => {
  for (const [seed, count] of [[0, 1], [42, 3], [2 ** 53 - 1, 130]]) {
    const key = randomKey(seed);
    const keys = await read(
      run(device, (key: Tensor) => splitKey(key, count) as readonly HostTensor[])(key),
    );
    assertEquals(keys.length, count);
    keys.forEach((k, i) => {
      assertEquals(k.dtype, "u32");
      assertEquals([...k.data], [...foldIn(key, i).data]);
    });
  }
});

deviceTest("keys can be split again, and on the device's own keys", async (device) => {
  const key = randomKey(5);
  using split = compile(device, (key: Tensor) => splitKey(splitKey(key, 3)[2], 2));
  const keys = split(key);
  assertEquals([...(await read(keys[1])).data], [...foldIn(foldIn(key, 2), 1).data]);
  const again = await read(split(keys[1])) as readonly HostTensor[];
  const from = foldIn(foldIn(foldIn(foldIn(key, 2), 1), 2), 0);
  assertEquals([...again[0].data], [...from.data]);
});

deviceTest("dropout keeps just what the host's numbers keep", async (device) => {
  for (const n of [1, 2, 3, 4, 5, 63, 255, 256, 257, 4099]) {
    for (const rate of [0.1, 0.5, 0.937]) {
      const key = randomKey(n), x = random(n, n);
      const y = await read(
        run(device, (x: Tensor, key: Tensor) => dropout(x, rate, key))(
          tensor(x),
          key,
        ),
      );
      assertEquals([...y.data], expected(x, rate, key), `${n} at ${rate}`);
    }
  }
});

deviceTest("dropout of packed rows, and its gradient", async (device) => {
  const N = 7, rate = 0.3;
  using step = compile(device, (x: Tensor, dy: Tensor, key: Tensor) => {
    const [, second] = splitKey(key, 2);
    const loss = (x: Tensor): readonly [Tensor, Tensor] => {
      const y = dropout(x, rate, second);
      return [sum(mul(y, dy)), y];
    };
    const [[, y], dx] = valueAndGrad(loss, { hasAux: true })(x);
    return { y, dx };
  });
  // One plan, whose buffers are full of NaN after the first batch.
  const long = pack([60, 60]), nan = new Float32Array(120 * N).fill(NaN);
  step(packed(long, nan, [N]), packed(long, nan, [N]), randomKey(1));
  for (const [seed, lengths] of [[1, [3, 20]], [2, [33, 8]]] as const) {
    const packing = pack(lengths), n = packedRows(packing) * N;
    const x = random(seed, n), dy = random(seed + 10, n), key = randomKey(seed);
    const out = await read(step(packed(packing, x, [N]), packed(packing, dy, [N]), key));
    assertEquals(out.y.shape, [packedRows(packing), N]);
    assertEquals([...out.y.data], expected(x, rate, foldIn(key, 1)));
    // dx = mask dy / (1 - rate)
    assertEquals([...out.dx.data], expected(dy, rate, foldIn(key, 1)));
  }
});

deviceTest(
  "dropout keeps mean and variance, and masks of two keys are independent",
  async (device) => {
    const n = 200_003, rate = 0.2;
    const both = (x: Tensor, key: Tensor): readonly HostTensor[] =>
      splitKey(key, 2).map((k) => dropout(x, rate, k)) as unknown as readonly HostTensor[];
    const [a, b] = await read(run(device, both)(tensor(new Float32Array(n).fill(1)), randomKey(3)));
    const meanOf = (of: (i: number) => number): number => {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += of(i);
      return sum / n;
    };
    // Kept with probability 0.8 and then 1.25: mean 1, variance 0.25. Within 5 standard errors.
    const near = (value: number, at: number, deviation: number): void =>
      assert(Math.abs(value - at) < 5 * deviation / Math.sqrt(n), `${value} is not near ${at}`);
    for (const y of [a, b]) {
      near(meanOf((i) => y.data[i]), 1, 0.5);
      // (y - 1)² is 1 with probability 0.2, else 1/16.
      near(meanOf((i) => (y.data[i] - 1) ** 2), 0.25, 0.375);
      // Neighbours, of one block of Philox and of two, are independent.
      for (const by of [1, 2, 4]) {
        near(meanOf((i) => (y.data[i] - 1) * (y.data[(i + by) % n] - 1)), 0, 0.25);
      }
    }
    assertNotEquals(a.data, b.data);
    near(meanOf((i) => (a.data[i] - 1) * (b.data[i] - 1)), 0, 0.25);
  },
);

deviceTest("dropout at rate 0 is nothing, and one key gives one mask", async (device) => {
  const x = tensor(random(1, 100)), key = randomKey(9);
  const f = (x: Tensor, key: Tensor): unknown => {
    assert(dropout(x, 0, key) === x);
    return { a: dropout(x, 0.4, key), b: dropout(x, 0.4, key), dx: grad(sum0)(x, key) };
  };
  const sum0 = (x: Tensor, key: Tensor): Tensor => sum(dropout(x, 0, key));
  const out = await read(run(device, f)(x, key)) as unknown as Record<string, HostTensor>;
  assertEquals(out.a.data, out.b.data);
  assertEquals(out.dx.data.every((d) => d === 1), true);
});

Deno.test("dropout and splitKey refuse what is no rate, key or count", () => {
  const x = input(0, { shape: [2, 3], dtype: "f32" });
  const key = input(1, { shape: [2], dtype: "u32" });
  for (const rate of [1, -0.1, 1.5, NaN]) {
    assertThrows(() => dropout(x, rate, key), RangeError, `[2,3] at rate ${rate}`);
  }
  const noKey = input(2, { shape: [3], dtype: "u32" });
  assertThrows(() => dropout(x, 0.5, noKey), TypeError, "a key of u32[3]: a key is u32[2]");
  assertThrows(() => dropout(x, 0, x), TypeError, "a key of f32[2,3]");
  assertThrows(() => dropout(key, 0.5, key), TypeError, "[2] of u32: give f32");
  assertThrows(() => splitKey(noKey, 2), TypeError, "Cannot split with a key of u32[3]");
  for (const count of [0, -1, 1.5]) {
    assertThrows(() => splitKey(key, count), RangeError, `into ${count}`);
  }
});
