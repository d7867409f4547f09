/**
 * The kernels' WGSL and how it becomes a shader: constants are put before it, and lines that begin
 * with `//#` are expanded.
 *
 * | line | meaning |
 * | --- | --- |
 * | `//# for r in 8` ... `//# end` | the lines 8 times, `$r` being 0 to 7 |
 * | `//# loop c in CHUNKS` ... `//# end` | the same as a loop, or written out when straight |
 * | `//# image x at 2: of COLUMNS` | an image (see `Binding`) and `fn x_at(i) -> vec4f`, elements i to i+3 |
 * | `//# exchange h at 9: of COLUMNS` | an image that invocations of a workgroup write and read, `fn h_at(i) -> vec4f`, elements i to i+3, and `fn h_put(i, v, n)`, which writes the first n |
 * | `//# counter at 9` | `fn take_number(l, workgroups)`: 0, 1, ... for the workgroups in the order in which they begin |
 * | `//# rows y at 4: of COLUMNS` | storage and `fn y_get(i) -> vec4f`, `fn y_set(i, v, n)`, elements i to i+3 or the first n of them |
 * | `//# table x at 2: of COLUMNS` | storage that is only read, and `fn x_get(i) -> vec4f` |
 * | `//# span at 0: of N` | `fn element_count()` of a launch over rows of N elements |
 * | `//# elements x at 1: of N` | `fn x_at(i) -> vec4f`, elements i to i+3, i a multiple of 4, from storage or an image |
 * | `//# inputs at 2: of N` | a binding for each input of the program: elements as above, or storage |
 * | `//# steps` | the program's expressions; `value` is the last one's |
 * | `//# if NAME` ... `//# end` | the lines if the constant is not 0 |
 * | `//# include name` | another file |
 *
 * @module
 */

import activations from "./activations.wgsl" with { type: "text" };
import adam from "./adam.wgsl" with { type: "text" };
import adamImage from "./adam_image.wgsl" with { type: "text" };
import adamFactors from "./adam_factors.wgsl" with { type: "text" };
import attention from "./attention.wgsl" with { type: "text" };
import attentionBackward from "./attention_backward.wgsl" with { type: "text" };
import attentionBackwardKeys from "./attention_backward_keys.wgsl" with { type: "text" };
import attentionWeights from "./attention_weights.wgsl" with { type: "text" };
import conv1d from "./conv1d.wgsl" with { type: "text" };
import conv1dBackward from "./conv1d_backward.wgsl" with { type: "text" };
import copyColumns from "./copy_columns.wgsl" with { type: "text" };
import elementwise from "./elementwise.wgsl" with { type: "text" };
import gatherRows from "./gather_rows.wgsl" with { type: "text" };
import globalNorm from "./global_norm.wgsl" with { type: "text" };
import globalNormTotal from "./global_norm_total.wgsl" with { type: "text" };
import heads from "./heads.wgsl" with { type: "text" };
import linear from "./linear.wgsl" with { type: "text" };
import linearImage from "./linear_image.wgsl" with { type: "text" };
import linearBackwardInput from "./linear_backward_input.wgsl" with { type: "text" };
import linearBackwardInputImage from "./linear_backward_input_image.wgsl" with { type: "text" };
import linearBackwardWeight from "./linear_backward_weight.wgsl" with { type: "text" };
import linearBackwardWeightImage from "./linear_backward_weight_image.wgsl" with { type: "text" };
import lstm from "./lstm.wgsl" with { type: "text" };
import lstmImage from "./lstm_image.wgsl" with { type: "text" };
import philox from "./philox.wgsl" with { type: "text" };
import sgd from "./sgd.wgsl" with { type: "text" };
import splitKey from "./split_key.wgsl" with { type: "text" };
import sum from "./sum.wgsl" with { type: "text" };
import lstmBackward from "./lstm_backward.wgsl" with { type: "text" };
import lstmBackwardImage from "./lstm_backward_image.wgsl" with { type: "text" };
import batchNorm from "./batch_norm.wgsl" with { type: "text" };
import batchNormBackward from "./batch_norm_backward.wgsl" with { type: "text" };
import crossEntropy from "./cross_entropy.wgsl" with { type: "text" };
import crossEntropyBackward from "./cross_entropy_backward.wgsl" with { type: "text" };
import crossEntropyMean from "./cross_entropy_mean.wgsl" with { type: "text" };
import layerNorm from "./layer_norm.wgsl" with { type: "text" };
import layerNormBackward from "./layer_norm_backward.wgsl" with { type: "text" };
import layerNormBackwardWeight from "./layer_norm_backward_weight.wgsl" with { type: "text" };
import pool from "./pool.wgsl" with { type: "text" };
import poolBackward from "./pool_backward.wgsl" with { type: "text" };
import rank from "./rank.wgsl" with { type: "text" };
import softmax from "./softmax.wgsl" with { type: "text" };
import take from "./take.wgsl" with { type: "text" };
import takeBackward from "./take_backward.wgsl" with { type: "text" };
import transpose from "./transpose.wgsl" with { type: "text" };
import transposeImage from "./transpose_image.wgsl" with { type: "text" };
import transposeColumns from "./transpose_columns.wgsl" with { type: "text" };

const files: Readonly<Record<string, string>> = {
  activations,
  adam,
  adam_factors: adamFactors,
  adam_image: adamImage,
  attention,
  attention_backward: attentionBackward,
  attention_backward_keys: attentionBackwardKeys,
  attention_weights: attentionWeights,
  conv1d,
  conv1d_backward: conv1dBackward,
  copy_columns: copyColumns,
  elementwise,
  gather_rows: gatherRows,
  global_norm: globalNorm,
  global_norm_total: globalNormTotal,
  heads,
  linear,
  linear_image: linearImage,
  linear_backward_input: linearBackwardInput,
  linear_backward_input_image: linearBackwardInputImage,
  linear_backward_weight: linearBackwardWeight,
  linear_backward_weight_image: linearBackwardWeightImage,
  lstm,
  lstm_image: lstmImage,
  lstm_backward: lstmBackward,
  lstm_backward_image: lstmBackwardImage,
  philox,
  pool,
  pool_backward: poolBackward,
  sgd,
  split_key: splitKey,
  sum,
  batch_norm: batchNorm,
  batch_norm_backward: batchNormBackward,
  cross_entropy: crossEntropy,
  cross_entropy_backward: crossEntropyBackward,
  cross_entropy_mean: crossEntropyMean,
  layer_norm: layerNorm,
  layer_norm_backward: layerNormBackward,
  layer_norm_backward_weight: layerNormBackwardWeight,
  rank,
  softmax,
  take,
  take_backward: takeBackward,
  transpose,
  transpose_columns: transposeColumns,
  transpose_image: transposeImage,
};

/** How a kernel's text is expanded. */
export interface Expansion {
  /** Values of the kernel's constants; whole numbers become `u32`, `{ f32 }` becomes `f32`. */
  readonly constants: Readonly<Record<string, number | { readonly f32: number }>>;
  /** Write loops out: fast on software adapters, which mask every access inside control flow. */
  readonly straight?: boolean;
  /** Read elements from images, which software adapters gather several times faster. */
  readonly images?: boolean;
  /** What `elementwise` computes, see `ElementProgram` in src/graph/dispatch.ts. */
  readonly program?: {
    readonly inputs: readonly string[];
    readonly steps: readonly string[];
  };
}

type Constants = Expansion["constants"];

function valueOf(word: string, constants: Constants): number {
  const value = /^\d+$/.test(word) ? Number(word) : constants[word];
  if (typeof value !== "number") throw new RangeError(`The kernel needs the constant ${word}`);
  return value;
}

/** An image of elements in rows of 4096 texels of 4, and a function that reads 4 from the `i`th on. */
function image(name: string, binding: number, aligned: boolean): string {
  const texel = (i: string): string => `textureLoad(${name}, vec2u((${i}) & 4095u, (${i}) >> 12u))`;
  const read = aligned ? `  return ${texel("at >> 2u")};` : `  let texel = at >> 2u;
  let a = ${texel("texel")};
  let b = ${texel("texel + 1u")};
  let even = select(a, vec4f(a.zw, b.xy), (at & 2u) != 0u);
  let odd = select(vec4f(a.yzw, b.x), vec4f(a.w, b.xyz), (at & 2u) != 0u);
  return select(even, odd, (at & 1u) != 0u);`;
  return `@group(0) @binding(${binding}) var ${name}: texture_storage_2d<rgba32float, read>;\n` +
    `fn ${name}_at(at: u32) -> vec4f {\n${read}\n}`;
}

/** An image of single elements, and functions that read and write 4 from the `i`th on, or the first `n`. */
function exchange(name: string, binding: number, aligned: boolean): string {
  const place = (i: number): string => `vec2u((at + ${i}u) & 4095u, (at + ${i}u) >> 12u)`;
  const one = (i: number): string => `textureLoad(${name}, ${place(i)}).x`;
  const put = (i: number): string => `textureStore(${name}, ${place(i)}, vec4f(v[${i}]));`;
  const all = [0, 1, 2, 3];
  const puts = aligned
    ? [`if (count > 0u) { ${all.map(put).join(" ")} }`]
    : all.map((i) => `if (count > ${i}u) { ${put(i)} }`);
  return `@group(0) @binding(${binding}) var ${name}: texture_storage_2d<r32float, read_write>;\n` +
    `fn ${name}_at(at: u32) -> vec4f {\n  return vec4f(${all.map(one).join(", ")});\n}\n` +
    `fn ${name}_put(at: u32, v: vec4f, count: u32) {\n  ${puts.join("\n  ")}\n}`;
}

/**
 * A counter from 0, and a function that takes a number from it: an adapter's threads take workgroups
 * in parts of equal number, so that parts of equal work need numbers of their own. Who takes the last
 * number puts the counter back to 0.
 */
function counter(binding: number): string {
  return `@group(0) @binding(${binding}) var<storage, read_write> counter: atomic<u32>;
var<workgroup> number: u32;
fn take_number(l: u32, workgroups: u32) -> u32 {
  if (l == 0u) {
    number = atomicAdd(&counter, 1u);
    if (number == workgroups - 1u) {
      atomicStore(&counter, 0u);
    }
  }
  return workgroupUniformLoad(&number);
}`;
}

/** Storage, and functions that read and write 4 elements, or the first `n`, from the `i`th on. */
function rows(name: string, binding: number, aligned: boolean, written: boolean): string {
  const access = written ? "read_write" : "read";
  const declared = `@group(0) @binding(${binding}) var<storage, ${access}> ${name}: `;
  const get = `fn ${name}_get(at: u32) -> vec4f`;
  const set = `fn ${name}_set(at: u32, values: vec4f, count: u32)`;
  const one = (i: number): string =>
    `  if (count > ${i}u) {\n    ${name}[at + ${i}u] = values[${i}];\n  }\n`;
  const each = [0, 1, 2, 3].map((i) => `${name}[at + ${i}u]`).join(", ");
  const [type, read, write] = aligned
    ? ["vec4f", `${name}[at >> 2u]`, `  if (count > 0u) {\n    ${name}[at >> 2u] = values;\n  }\n`]
    : ["f32", `vec4f(${each})`, [0, 1, 2, 3].map(one).join("")];
  return `${declared}array<${type}>;\n${get} {\n  return ${read};\n}` +
    (written ? `\n${set} {\n${write}}` : "");
}

/** The rows that a launch of an elementwise kernel computes. */
function span(binding: number, columns: string): string {
  return `@group(0) @binding(${binding}) var<uniform> span: vec4u;\n` +
    `fn element_count() -> u32 {\n  return span.x * ${columns};\n}`;
}

/** A function that reads 4 elements from the `i`th on, a multiple of 4. */
function elements(name: string, binding: number, aligned: boolean, images: boolean): string {
  if (images) return image(name, binding, true);
  return `${rows(name, binding, aligned, false)}\n` +
    `fn ${name}_at(at: u32) -> vec4f {\n  return ${name}_get(at);\n}`;
}

/** Bindings of a program's inputs: `xK_at(i)` for elements, or the array `xK`. */
function programInputs(first: number, aligned: boolean, { program, images }: Expansion): string[] {
  return program!.inputs.map((kind, k) =>
    kind === "elements"
      ? elements(`x${k}`, first + k, aligned, images ?? false)
      : `@group(0) @binding(${first + k}) var<storage, read> x${k}: array<${kind}>;`
  );
}

/** The elements `eK` of a program's inputs, its expressions `vK`, and `value`. */
function programSteps({ program }: Expansion): string[] {
  const { inputs, steps } = program!;
  return [
    ...inputs.flatMap((kind, k) => kind === "elements" ? [`let e${k} = x${k}_at(i);`] : []),
    ...steps.map((step, k) => `let v${k} = ${step};`),
    `let value = v${steps.length - 1};`,
  ];
}

/** What kernels of software adapters need. */
const imageFunctions = `
// x, which is in a uniform, for a condition: of one that follows from uniforms alone, Mesa's lavapipe
// makes and compiles a copy of the kernel for each value, at each launch. l is the invocation's number.
fn opaque(x: u32, l: u32) -> u32 {
  return x + (l >> 16u);
}

// Elements k .. k+3 of a row of \`columns\`, zero past its end; \`fours\` is 4 if none ever is.
fn inside(v: vec4f, k: u32, columns: u32, fours: u32) -> vec4f {
  let here = vec4u(k) + vec4u(0u, 1u, 2u, 3u) < vec4u(columns);
  return select(v, select(vec4f(0.0), v, here), fours % 4u != 0u);
}

// A row's elements, zero if there is no such row; \`fours\` is 4 if there always is.
fn below(v: vec4f, row: u32, rows: u32, fours: u32) -> vec4f {
  return select(v, select(vec4f(0.0), v, row < rows), fours % 4u != 0u);
}
`;

function expandLines(lines: readonly string[], expansion: Expansion): string[] {
  const { constants, straight = false } = expansion;
  const out: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const words = lines[at].trim().split(/\s+/);
    if (words[0] !== "//#") {
      out.push(lines[at]);
      continue;
    }
    if (words[1] === "for" || words[1] === "loop" || words[1] === "if") {
      const start = at + 1;
      for (let depth = 1; depth > 0;) {
        const next = lines[++at].trim();
        if (/^\/\/# (for|loop|if)\b/.test(next)) depth++;
        else if (next === "//# end") depth--;
      }
      const body = lines.slice(start, at);
      if (words[1] === "if") {
        if (valueOf(words[2], constants) !== 0) out.push(...expandLines(body, expansion));
        continue;
      }
      const variable = words[2];
      const count = valueOf(words[4], constants);
      const put = (value: string): string[] =>
        expandLines(body.map((line) => line.replaceAll(`$${variable}`, value)), expansion);
      if (words[1] === "for" || straight || count === 1) {
        for (let i = 0; i < count; i++) out.push(...put(String(i)));
      } else {
        const loop = `${variable}_loop`;
        out.push(`for (var ${loop} = 0u; ${loop} < ${count}u; ${loop}++) {`, ...put(loop), "}");
      }
    } else if (words[1] === "image") {
      const [, name, binding, columns] = /image (\w+) at (\d+): of (\w+)/.exec(lines[at])!;
      out.push(image(name, Number(binding), valueOf(columns, constants) % 4 === 0));
    } else if (words[1] === "exchange") {
      const [, name, binding, columns] = /exchange (\w+) at (\d+): of (\w+)/.exec(lines[at])!;
      out.push(exchange(name, Number(binding), valueOf(columns, constants) % 4 === 0));
    } else if (words[1] === "counter") {
      out.push(counter(Number(words[3])));
    } else if (words[1] === "inputs") {
      const [, first, columns] = /inputs at (\d+): of (\w+)/.exec(lines[at])!;
      const aligned = valueOf(columns, constants) % 4 === 0;
      out.push(...programInputs(Number(first), aligned, expansion));
    } else if (words[1] === "steps") {
      out.push(...programSteps(expansion));
    } else if (words[1] === "span") {
      out.push(span(Number(words[3].replace(":", "")), words[5]));
    } else if (words[1] === "elements") {
      const [, name, binding, columns] = /elements (\w+) at (\d+): of (\w+)/.exec(lines[at])!;
      const aligned = valueOf(columns, constants) % 4 === 0;
      out.push(elements(name, Number(binding), aligned, expansion.images ?? false));
    } else if (words[1] === "rows" || words[1] === "table") {
      const [, name, binding, columns] = /(\w+) at (\d+): of (\w+)/.exec(lines[at])!;
      const written = words[1] === "rows";
      out.push(rows(name, Number(binding), valueOf(columns, constants) % 4 === 0, written));
    } else if (words[1] === "include") {
      out.push(...expandLines(files[words[2]].split("\n"), expansion));
    } else {
      throw new SyntaxError(`The kernel has an unknown line: ${lines[at].trim()}`);
    }
  }
  return out;
}

/**
 * The WGSL of a kernel.
 *
 * @param kernel Stem of its file.
 * @throws {RangeError} If there is no such kernel, or a constant is missing.
 */
export function kernelSource(kernel: string, expansion: Expansion): string {
  const text = files[kernel];
  if (text === undefined) throw new RangeError(`There is no kernel ${kernel}`);
  const constants = Object.entries(expansion.constants).map(([name, value]) =>
    typeof value === "number"
      ? `const ${name}: u32 = ${value}u;`
      // With an exponent: whole numbers of more than 64 bits are no WGSL.
      : `const ${name}: f32 = ${value.f32.toExponential()};`
  );
  const shared = kernel.endsWith("_image") ? [imageFunctions] : [];
  return [...constants, ...shared, ...expandLines(text.split("\n"), expansion)].join("\n");
}
