import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { pack, packed, packedRows } from "../src/core/packing.ts";
import { normal, randomKey, uniform } from "../src/core/random.ts";
import { type HostTensor, type Tensor, tensor } from "../src/core/tensor.ts";
import type { Device } from "../src/gpu/device.ts";
import { input, nodesOf, print, type Traced } from "../src/graph/graph.ts";
import { batchNorm } from "../src/ops/batch_norm.ts";
import { add, mul, sub } from "../src/ops/binary.ts";
import { dropout } from "../src/ops/dropout.ts";
import { valueAndGrad } from "../src/ops/gradient.ts";
import { linear, weightGradients } from "../src/ops/linear.ts";
import { lstm } from "../src/ops/lstm.ts";
import { scale } from "../src/ops/scale.ts";
import { sgdStep } from "../src/ops/sgd.ts";
import { sum } from "../src/ops/sum.ts";
import { take } from "../src/ops/take.ts";
import { relu, sigmoid, tanh } from "../src/ops/unary.ts";
import { ALIGNMENT, ravel, reshape, unravel } from "../src/ops/view.ts";
import { rateOf } from "../src/optim/optimizer.ts";
import { compile, run } from "../src/plan/compile.ts";
import { dispose, put, read } from "../src/plan/device_tensor.ts";
import { fuseElements } from "../src/plan/fusion.ts";
import { shareEqualNodes } from "../src/plan/sharing.ts";
import { deviceTest } from "./adapter.ts";
import { assertClose } from "./reference/compare.ts";

const six = tensor([1, 2, 3, 4, 5, 6]);

/** An input of a graph that never runs. */
const given = (slot: number, shape: readonly number[]): Traced =>
  input(slot, { shape, dtype: "f32" });

/** What a function computes, as lists of numbers. */
async function values<A extends readonly unknown[]>(
  device: Device,
  fn: (...args: A) => readonly Tensor[],
  ...args: A
): Promise<number[][]> {
  const results = run(device, fn)(...args);
  return (await read(results)).map(({ data }) => [...data]);
}

Deno.test("equal nodes are one after sharing, different ones are not", () => {
  const x = given(0, [6]), y = given(1, [6]);
  const [a, b, c, d] = shareEqualNodes(
    [add(x, y), add(x, y), add(y, x), mul(add(x, y), add(x, y))] as Traced[],
  );
  assert(a === b);
  assert(a.node !== c.node);
  assertEquals(d.node.inputs, [a, a]);
  assertEquals(nodesOf([a, b, c, d]).length, 5);
  const key = tensor(Uint32Array.of(1, 2)), other = tensor(Uint32Array.of(1, 2));
  const dropped = shareEqualNodes(
    [
      dropout(x, 0.5, key),
      dropout(x, 0.25, key),
      dropout(x, 0.5, other),
      dropout(x, 0.5, key),
    ] as Traced[],
  );
  // Constants are equal if they are one tensor, not if they only have equal elements.
  assertEquals(dropped.map((t) => dropped.indexOf(t)), [0, 1, 2, 0]);
  const shapes = shareEqualNodes(
    [reshape(x, [2, 3]), reshape(x, [3, 2]), reshape(x, [2, 3])] as Traced[],
  );
  assertEquals(shapes.map((t) => t.shape), [[2, 3], [3, 2], [2, 3]]);
  assert(shapes[0] === shapes[2]);
});

Deno.test("operations on elements are one node where they feed only one another", () => {
  const x = given(0, [6]), y = given(1, [6]);
  const names = (...outputs: readonly Tensor[]): string[] =>
    nodesOf(fuseElements(outputs as Traced[], { maxBuffers: 8 })).map(({ operation }) =>
      operation.name
    )
      .filter((name) => name !== "input" && name !== "constant");
  assertEquals(names(relu(add(x, y))), ["add and relu"]);
  const inner = add(x, y);
  assertEquals(names(mul(inner, inner)), ["add and mul"]);
  // Both ways from one to the other stay inside.
  assertEquals(names(sub(relu(inner), tanh(inner))), ["add and relu and tanh and sub"]);
  // Wanted itself, or by an operation of another kind.
  assertEquals(names(inner, relu(inner)), ["add", "relu"]);
  const product = linear(reshape(inner, [2, 3]) as Traced, given(3, [2, 3]));
  assertEquals(names(relu(inner), product), ["add", "view", "linear", "relu"]);
  // A number that is computed is read as such by what it scales.
  const one = given(4, [1]);
  assertEquals(names(scale(x, add(one, one))), ["add", "scale"]);
  // Rows of a table too, if four neighbours are of one row.
  const rows = (E: number): Tensor =>
    take(given(5, [9, E]), input(6, { shape: [2], dtype: "u32" }));
  assertEquals(names(add(rows(4), rows(4))), ["take and take and add"]);
  assertEquals(names(add(rows(3), given(7, [2, 3]))), ["take", "add"]);
  // 8 buffers are 7 inputs and the output.
  const many = Array.from({ length: 9 }, (_, slot) => given(10 + slot, [6]) as Tensor);
  const nodes = nodesOf(fuseElements([many.reduce(add)] as Traced[], { maxBuffers: 8 }))
    .filter(({ operation }) => operation.name !== "input");
  assertEquals(nodes.map(({ inputs }) => inputs.length), [3, 7]);
});

deviceTest("operations that run as one give what they give alone", async (device) => {
  for (const shape of [[], [3], [5, 7], [130, 131]]) {
    const n = shape.reduce((a, b) => a * b, 1);
    const [a, b, c] = [1, 2, 3].map((seed) =>
      tensor(Float32Array.from(normal(randomKey(seed), n)), shape)
    );
    const key = randomKey(4);
    const steps = (a: Tensor, b: Tensor, c: Tensor, key: Tensor): readonly Tensor[] => {
      const sums = add(a, scale(b, 3)), dropped = dropout(sums, 0.4, key);
      const squashed = tanh(sub(dropped, mul(c, c)));
      return [sums, dropped, squashed, mul(relu(squashed), sigmoid(sums))];
    };
    const [all, [last]] = await Promise.all([
      read(run(device, steps)(a, b, c, key)),
      read(run(device, (...of: Parameters<typeof steps>) => [steps(...of)[3]])(a, b, c, key)),
    ]) as readonly (readonly HostTensor[])[];
    const kept = uniform(key, n);
    const sums = Array.from(a.data, (v, i) => v + 3 * b.data[i]);
    const squashed = sums.map((v, i) => Math.tanh((kept[i] < 0.4 ? 0 : v / 0.6) - c.data[i] ** 2));
    const expected = squashed.map((v, i) => Math.max(v, 0) / (1 + Math.exp(-sums[i])));
    assertClose(last.data, Float64Array.from(expected), 1e-6, `[${shape}]`);
    assertClose(all[3].data, Float64Array.from(expected), 1e-6, `[${shape}], one by one`);
  }
});

Deno.test("print shows a graph line by line in topological order", () => {
  const x = given(0, [2, 3]), w = given(1, [4, 3]);
  const loss = sum(add(linear(x, w), linear(x, w))) as Traced;
  const lines = print(shareEqualNodes([loss])).split("\n");
  const names = lines.map((line) => line.replace(/%\d+/g, "%"));
  assertEquals(names, [
    "% = input() : f32[2,3]",
    "% = input() : f32[4,3]",
    "% = linear(%, %) : f32[2,4]",
    "% = add(%, %) : f32[2,4]",
    "% = sum(%) : f32[]",
  ]);
  const ids = lines.map((line) => Number(/^%(\d+)/.exec(line)![1]));
  assertEquals(ids, ids.toSorted((a, b) => a - b));
  assertEquals(lines[3], `%${ids[3]} = add(%${ids[2]}, %${ids[2]}) : f32[2,4]`);
});

Deno.test("wrong shapes are errors that name the shapes", () => {
  const table = given(0, [5, 3]);
  const key = randomKey(1);
  const wrong: readonly (readonly [() => unknown, RegExp])[] = [
    [() => add(given(0, [2]), given(1, [3])), /add \[2\] and \[3\]/],
    [() => mul(given(0, [2, 3]), given(1, [3, 2])), /multiply \[2,3\] and \[3,2\]/],
    [() => linear(given(0, [2, 3]), given(1, [4, 5])), /\[2,3\].*\[4,5\]/],
    [() => linear(given(0, [2, 3]), given(1, [4, 3]), given(2, [3])), /\[3\].*4 columns/],
    [() => reshape(given(0, [2, 3]), [4, 2]), /\[2,3\] to \[4,2\]/],
    [() => take(table, given(1, [2])), /f32\[2\]/],
    [() => dropout(table, 0.5, given(1, [2])), /f32\[2\]/],
    [() => lstm(given(0, [4, 3]), lstmWeights(3, 2)), /\[4,3\].*packed\(\)/],
    [() => valueAndGrad((x: Tensor) => x)(table), /\[5,3\].*scalar/],
    [() => add(table, key), /\[2\] of u32/],
  ];
  for (const [call, message] of wrong) {
    assertMatch(assertThrows(call, TypeError).message, message);
  }
});

function lstmWeights(I: number, H: number): { weightIh: Traced; weightHh: Traced } {
  return { weightIh: given(1, [4 * H, I]), weightHh: given(2, [4 * H, H]) };
}

/** The sums of a matrix's columns: the gradient of a bias. */
function sumRows(x: Tensor): Tensor {
  const C = x.shape[1];
  const dy = x as Traced;
  const [, db] = weightGradients(dy, dy, { shape: [C, C], dtype: "f32" }, {
    shape: [C],
    dtype: "f32",
  });
  return db;
}

deviceTest("one tensor in two shapes is two nodes", async (device) => {
  const rows = (x: Tensor) => [sumRows(reshape(x, [2, 3])), sumRows(reshape(x, [3, 2]))];
  assertEquals(await values(device, rows, six), [[5, 7, 9], [9, 12]]);
});

deviceTest("results that compute nothing keep their own shapes", async (device) => {
  const f = (mode: string, x: Tensor, n: number, p: Tensor) => ({
    mode,
    x,
    n,
    p,
    square: reshape(x, [2, 3]),
    again: reshape(x, [3, 2]),
    wide: reshape(p, [128, 1, 2]),
    constant: tensor([7, 8]),
    sum: add(x, x),
  });
  const rows = packed(pack([2, 1]), six.data, [2]);
  const there = put(device, six);
  for (const x of [six, there]) {
    const out = await read(run(device, f)("any", x, 3, rows));
    assertEquals(out.mode, "any");
    assertEquals(out.n, 3);
    for (const [result, shape] of [[out.x, [6]], [out.square, [2, 3]], [out.again, [3, 2]]]) {
      assertEquals((result as HostTensor).shape, shape as number[]);
      assertEquals([...(result as HostTensor).data], [1, 2, 3, 4, 5, 6]);
    }
    assertEquals(out.p.shape, [3, 2]);
    assertEquals(out.wide.shape, [3, 1, 2]);
    assertEquals([...out.wide.data], [1, 2, 3, 4, 5, 6]);
    assertEquals([...out.constant.data], [7, 8]);
    assertEquals([...out.sum.data], [2, 4, 6, 8, 10, 12]);
  }
  dispose(there);
});

/** A slab's tensors of six elements, and whether all else is zero. */
function parts(slab: readonly number[]): { readonly parts: number[][]; readonly gaps: boolean } {
  const count = slab.length / ALIGNMENT;
  const at = (i: number, from: number, to: number): number[] =>
    slab.slice(i * ALIGNMENT + from, i * ALIGNMENT + to);
  const numbers = Array.from({ length: count }, (_, i) => i);
  return {
    parts: numbers.map((i) => at(i, 0, 6)),
    gaps: numbers.every((i) => at(i, 6, ALIGNMENT).every((v) => v === 0)),
  };
}

deviceTest("ravel lays out tensors that repeat or depend on each other", async (device) => {
  const x = [1, 2, 3, 4, 5, 6], double = x.map((v) => 2 * v), square = x.map((v) => 4 * v * v);
  const cases: readonly (readonly [(x: Tensor) => Tensor[], number[][]])[] = [
    [(x) => [x, x], [x, x]],
    [(x) => [add(x, x), x, add(x, x)], [double, x, double]],
    [(x) => {
      const y = add(x, x);
      return [y, mul(y, y), sub(mul(y, y), y)];
    }, [double, square, square.map((v, i) => v - double[i])]],
    // The last is computed first, and the first of all.
    [(x) => {
      const y = add(x, x);
      return [add(mul(y, y), y), mul(y, y), y, x];
    }, [square.map((v, i) => v + double[i]), square, double, x]],
    [(x) => [reshape(add(x, x), [3, 2]), reshape(add(x, x), [2, 3])], [double, double]],
  ];
  for (const [leaves, expected] of cases) {
    const both = (x: Tensor): Tensor[] => {
      const tree = leaves(x);
      const slab = ravel(tree);
      return [slab, ...unravel(slab, tree), ...tree, ravel(tree.toReversed())];
    };
    const [slab, ...rest] = await values(device, both, six);
    const backwards = rest.pop()!;
    assertEquals(parts(slab), { parts: expected, gaps: true });
    assertEquals(parts(backwards), { parts: expected.toReversed(), gaps: true });
    assertEquals(rest, [...expected, ...expected]);
  }
  // The slab of what already lies in one is that one, or a part of it.
  const slab = given(0, [3 * ALIGNMENT]);
  const leaves = unravel(slab, [six, six, six]);
  assert(ravel(leaves) === slab);
  assertEquals(ravel(leaves.slice(1)).shape, [2 * ALIGNMENT]);
  assertEquals(ravel(leaves.slice(1)).node.operation.name, "view");
  assertEquals(ravel(leaves.toReversed()).node.operation.name, "ravel");
});

deviceTest("a step in place changes nothing that was not given away", async (device) => {
  const step = (p: Tensor, g: Tensor): readonly Tensor[] => {
    const computed = add(p, p);
    const next = (from: Tensor) =>
      sgdStep(ravel([g]), { params: ravel([from]) }, rateOf(0.5)).params;
    const shown = (slab: Traced): Tensor => unravel(slab, [p])[0];
    // Each old value is wanted after the step too.
    return [shown(next(p)), shown(next(computed)), add(p, g), computed];
  };
  const expected = [0, 1, 3, 2].map((times) => [...six.data].map((v) => times * v));
  const g = tensor([2, 4, 6, 8, 10, 12]);
  assertEquals(await values(device, step, six, g), expected);
  const there = put(device, six);
  assertEquals(await values(device, step, there, g), expected);
  assertEquals([...(await read(there)).data], [...six.data]);
  const statistics = put(device, { mean: tensor([0, 0]), variance: tensor([1, 1]) });
  const x = tensor([1, 2, 3, 6], [2, 2]);
  const norm = (running: typeof statistics): readonly Tensor[] => {
    const scale = tensor([1, 1]), shift = tensor([0, 0]);
    const { running: next } = batchNorm(x, scale, shift, running, {
      training: true,
      momentum: 0.5,
    });
    return [next.mean, next.variance, running.mean, running.variance];
  };
  // Means 2 and 4, unbiased variances 2 and 8.
  assertEquals(await values(device, norm, statistics), [[1, 2], [1.5, 4.5], [0, 0], [1, 1]]);
  const after = await read(statistics);
  assertEquals([[...after.mean.data], [...after.variance.data]], [[0, 0], [1, 1]]);
  dispose([there, statistics]);
});

deviceTest(
  "a donated tensor is changed in place, and beside others in its memory",
  async (device) => {
    type Pair = { readonly a: Tensor; readonly b: Tensor };
    using step = compile(
      device,
      ({ a, b }: Pair) => {
        const slab = ravel([b]);
        const next = sgdStep(ravel([a]), { params: slab }, rateOf(1)).params;
        return { a, b: unravel(next, [b])[0] };
      },
      { donate: [0] },
    );
    let state: Pair = put(device, { a: six, b: tensor([10, 10, 10, 10, 10, 10]) });
    for (let k = 0; k < 3; k++) state = step(state);
    const memory = device.liveBytes;
    for (let k = 0; k < 3; k++) state = step(state);
    assertEquals(device.liveBytes, memory);
    const { a, b } = await read(state);
    assertEquals([...a.data], [...six.data]);
    assertEquals([...b.data], [4, -2, -8, -14, -20, -26]);
    dispose(state);
  },
);

deviceTest("memory that was given away and holds no result is free again", async (device) => {
  using f = compile(device, (x: Tensor) => sum(x), { donate: [0] });
  const before = device.liveBytes;
  const total = f(put(device, six));
  assertEquals([...(await read(total)).data], [21]);
  dispose(total);
  const plan = device.liveBytes;
  for (let k = 0; k < 3; k++) dispose(f(put(device, six)));
  assertEquals(device.liveBytes, plan);
  f[Symbol.dispose]();
  assertEquals(device.liveBytes, before);
});

deviceTest("compile traces once for a form of arguments, whatever the values", async (device) => {
  let traces = 0;
  using f = compile(device, (x: Tensor, n: number, mode: string) => {
    traces++;
    const scaled = mul(x, x);
    return mode === "sum" ? [sum(scaled), n as unknown as Tensor] : [scaled];
  });
  const of = async (...args: Parameters<typeof f>): Promise<number[]> => {
    const [result] = f(...args);
    return [...(await read(result)).data];
  };
  assertEquals(await of(tensor([1, 2]), 1, "sum"), [5]);
  assertEquals(await of(tensor([3, 4]), 2, "sum"), [25]);
  assertEquals(traces, 1);
  assertEquals(await of(tensor([1, 2, 3]), 1, "sum"), [14]);
  assertEquals(await of(tensor([3, 4], [1, 2]), 1, "sum"), [25]);
  assertEquals(traces, 3);
  assertEquals(await of(tensor([3, 4]), 2, "squares"), [9, 16]);
  assertEquals(traces, 4);
  // A device tensor is another form than a host tensor, but its value is none.
  const there = [put(device, tensor([5, 0])), put(device, tensor([6, 0]))];
  assertEquals(await of(there[0], 2, "sum"), [25]);
  assertEquals(await of(there[1], 2, "sum"), [36]);
  assertEquals(traces, 5);
  dispose(there);
});

deviceTest("numbers among the arguments are scalars of the run", async (device) => {
  let traces = 0;
  using f = compile(device, (rate: number, options: { readonly shift: number }) => {
    traces++;
    return add(rate as unknown as Tensor, options.shift as unknown as Tensor);
  });
  for (const [rate, shift] of [[1, 2], [-0.5, 0], [3e38, 0], [0, 1e-30]]) {
    const { data, shape } = await read(f(rate, { shift }));
    assertEquals(shape, []);
    assertEquals(data[0], Math.fround(rate) + Math.fround(shift));
  }
  assertEquals(traces, 1);
});

deviceTest("one compiled function serves packed batches of any lengths", async (device) => {
  let traces = 0;
  using f = compile(device, (x: Tensor) => {
    traces++;
    const squares = mul(x, x);
    return { total: sum(squares), columns: sumRows(squares), squares };
  });
  const check = async (lengths: readonly number[], scale: number): Promise<void> => {
    const packing = pack(lengths);
    const N = packedRows(packing);
    const data = Float32Array.from({ length: 2 * N }, (_, i) => scale * (1 + i % 3));
    const { total, columns, squares } = await read(f(packed(packing, data, [2])));
    const expected = [0, 0];
    data.forEach((v, i) => expected[i % 2] += v * v);
    assertEquals(squares.shape, [N, 2]);
    assertEquals([...squares.data], [...data].map((v) => v * v));
    assertEquals([...columns.data], expected);
    assertEquals([...total.data], [expected[0] + expected[1]]);
  };
  // Long, then short with small numbers: rows of the run before must not count.
  await check([60, 60], 64);
  await check([3, 1], 1);
  await check([1, 1], 2);
  await check([100, 28], 1);
  assertEquals(traces, 1);
  // More rows than the buffers hold, and another number of sequences.
  await check([100, 29], 1);
  await check([5, 2, 9], 1);
  assertEquals(traces, 3);
  await check([1, 4], 1);
  assertEquals(traces, 3);
});

deviceTest("gradients of what is not used are zeros, of packed rows too", async (device) => {
  const packing = pack([2, 1]);
  const params = { used: six, unused: tensor([1, 2]), rows: packed(packing, six.data, [2]) };
  const [value, grads] = await read(
    run(device, valueAndGrad(({ used }: typeof params) => sum(used)))(params),
  );
  assertEquals([...value.data], [21]);
  assertEquals([...grads.used.data], [1, 1, 1, 1, 1, 1]);
  assertEquals([...grads.unused.data], [0, 0]);
  assertEquals(grads.rows.shape, [3, 2]);
  assertEquals([...grads.rows.data], [0, 0, 0, 0, 0, 0]);
  // They can be used as any gradient: rows beside rows of the same packing.
  const moved = (p: typeof params): Tensor => {
    const [, { rows }] = valueAndGrad(({ used }: typeof params) => sum(used))(p);
    return sub(p.rows, rows);
  };
  assertEquals([...(await read(run(device, moved)(params))).data], [...six.data]);
});

deviceTest("calls with what cannot be used are errors", async (device) => {
  using f = compile(device, (x: Tensor, y: Tensor) => add(x, y));
  const there = put(device, { a: six, b: six });
  dispose(there.a);
  // Both lie in one memory.
  for (const gone of [there.a, there.b]) {
    const { message } = assertThrows(() => f(six, gone), TypeError);
    assertMatch(message, /\[6\].*disposed of/);
  }
  assertThrows(() => put(device, there), TypeError, "a [6]: its memory was disposed of");
  dispose(there);
  using wrong = compile(device, add);
  assertMatch(assertThrows(() => wrong(six, tensor([1])), TypeError).message, /\[6\] and \[1\]/);
  // What failed to trace can be called right afterwards.
  assertEquals([...(await read(wrong(six, six))).data], [2, 4, 6, 8, 10, 12]);
  using outer = compile(device, (x: Tensor) => wrong(x, x));
  assertMatch(assertThrows(() => outer(six), TypeError).message, /inside another/);
  using apply = compile(device, (fn: (x: Tensor) => Tensor, x: Tensor) => fn(x));
  assertMatch(assertThrows(() => apply((x) => x, six), TypeError).message, /a function/);
  assertMatch(assertThrows(() => add(six, put(device, six)), TypeError).message, /inside/);
});
