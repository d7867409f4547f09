/**
 * The kernels' WGSL and how it becomes a shader: constants are put before it, and lines that begin
 * with `//#` are expanded.
 *
 * | line | meaning |
 * | --- | --- |
 * | `//# for r in 8` ... `//# end` | the lines 8 times, `$r` being 0 to 7 |
 * | `//# loop c in CHUNKS` ... `//# end` | the same as a loop, or written out when straight |
 * | `//# repeat f COUNT` | `fn repeat_f()` calling `f(0u)`, `f(1u)`, ...: a loop, or nested functions when straight |
 * | `//# weights w at 5: 4 windows of ROWS rows, COLS columns` | `fn w_0(row, column4) -> vec4f` for each window of a matrix, read from uniform windows or from storage |
 * | `//# if NAME` ... `//# end` | the lines if the constant is not 0 |
 * | `//# include name` | another file |
 *
 * @module
 */

import activations from "./activations.wgsl" with { type: "text" };
import adam from "./adam.wgsl" with { type: "text" };
import adamFactors from "./adam_factors.wgsl" with { type: "text" };
import binary from "./binary.wgsl" with { type: "text" };
import copyColumns from "./copy_columns.wgsl" with { type: "text" };
import dropout from "./dropout.wgsl" with { type: "text" };
import globalNorm from "./global_norm.wgsl" with { type: "text" };
import globalNormTotal from "./global_norm_total.wgsl" with { type: "text" };
import linear from "./linear.wgsl" with { type: "text" };
import linearBackwardInput from "./linear_backward_input.wgsl" with { type: "text" };
import linearBackwardWeight from "./linear_backward_weight.wgsl" with { type: "text" };
import lstm from "./lstm.wgsl" with { type: "text" };
import philox from "./philox.wgsl" with { type: "text" };
import previousRows from "./previous_rows.wgsl" with { type: "text" };
import scale from "./scale.wgsl" with { type: "text" };
import sgd from "./sgd.wgsl" with { type: "text" };
import splitKey from "./split_key.wgsl" with { type: "text" };
import sum from "./sum.wgsl" with { type: "text" };
import sumBackward from "./sum_backward.wgsl" with { type: "text" };
import sumRows from "./sum_rows.wgsl" with { type: "text" };
import unary from "./unary.wgsl" with { type: "text" };
import unaryBackward from "./unary_backward.wgsl" with { type: "text" };
import lstmBackward from "./lstm_backward.wgsl" with { type: "text" };
import batchNorm from "./batch_norm.wgsl" with { type: "text" };
import batchNormBackward from "./batch_norm_backward.wgsl" with { type: "text" };
import crossEntropy from "./cross_entropy.wgsl" with { type: "text" };
import crossEntropyBackward from "./cross_entropy_backward.wgsl" with { type: "text" };
import crossEntropyMean from "./cross_entropy_mean.wgsl" with { type: "text" };
import layerNorm from "./layer_norm.wgsl" with { type: "text" };
import layerNormBackward from "./layer_norm_backward.wgsl" with { type: "text" };
import layerNormBackwardWeight from "./layer_norm_backward_weight.wgsl" with { type: "text" };
import rank from "./rank.wgsl" with { type: "text" };
import softmax from "./softmax.wgsl" with { type: "text" };
import take from "./take.wgsl" with { type: "text" };
import takeBackward from "./take_backward.wgsl" with { type: "text" };
import transpose from "./transpose.wgsl" with { type: "text" };

const files: Readonly<Record<string, string>> = {
  activations,
  adam,
  adam_factors: adamFactors,
  binary,
  copy_columns: copyColumns,
  dropout,
  global_norm: globalNorm,
  global_norm_total: globalNormTotal,
  linear,
  linear_backward_input: linearBackwardInput,
  linear_backward_weight: linearBackwardWeight,
  lstm,
  lstm_backward: lstmBackward,
  philox,
  previous_rows: previousRows,
  scale,
  sgd,
  split_key: splitKey,
  sum,
  sum_backward: sumBackward,
  sum_rows: sumRows,
  unary,
  unary_backward: unaryBackward,
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
};

/** How a kernel's text is expanded. */
export interface Expansion {
  /** Values of the kernel's constants; whole numbers become `u32`, `{ f32 }` becomes `f32`. */
  readonly constants: Readonly<Record<string, number | { readonly f32: number }>>;
  /** Write loops out: fast on software adapters, which mask every access inside control flow. */
  readonly straight?: boolean;
  /** Read weights from uniform buffers of at most 64 KiB, which software adapters gather faster. */
  readonly uniformWeights?: boolean;
}

type Constants = Expansion["constants"];

function valueOf(word: string, constants: Constants): number {
  const value = /^\d+$/.test(word) ? Number(word) : constants[word];
  if (typeof value !== "number") throw new RangeError(`The kernel needs the constant ${word}`);
  return value;
}

/** Functions that call `name` with 0 .. count-1, at most 8 calls a function, no control flow. */
function nestedCalls(name: string, count: number): string {
  const text: string[] = [];
  const emit = (n: number): string => {
    if (n === 1) return name;
    const own = `${name}_times_${n}`;
    if (text.some((t) => t.startsWith(`fn ${own}(`))) return own;
    const part = n <= 8 ? 1 : 8 ** Math.floor(Math.log(n - 1) / Math.log(8) + 1e-9);
    const calls: string[] = [];
    for (let at = 0; at < n; at += part) {
      calls.push(`  ${emit(Math.min(part, n - at))}(at + ${at}u);`);
    }
    text.push(`fn ${own}(at: u32) {\n${calls.join("\n")}\n}`);
    return own;
  };
  const top = emit(count);
  return `${text.join("\n")}\nfn repeat_${name}() {\n  ${top}(0u);\n}`;
}

function weights(
  name: string,
  binding: number,
  windows: number,
  rows: number,
  columns: number,
  uniform: boolean,
): string {
  const lines: string[] = [];
  if (!uniform) {
    lines.push(`@group(0) @binding(${binding}) var<storage, read> ${name}: array<f32>;`);
  }
  for (let j = 0; j < windows; j++) {
    if (uniform) {
      lines.push(
        `@group(0) @binding(${binding + j}) var<uniform> ${name}${j}: array<vec4f, ${
          rows * columns / 4
        }>;`,
        `fn ${name}_${j}(row: u32, column4: u32) -> vec4f {`,
        `  return ${name}${j}[row * ${columns / 4}u + column4];`,
        `}`,
      );
    } else {
      lines.push(
        `fn ${name}_${j}(row: u32, column4: u32) -> vec4f {`,
        `  let i = (row + ${j * rows}u) * ${columns}u + 4u * column4;`,
        `  return vec4f(${name}[i], ${name}[i + 1u], ${name}[i + 2u], ${name}[i + 3u]);`,
        `}`,
      );
    }
  }
  return lines.join("\n");
}

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
    } else if (words[1] === "repeat") {
      const count = valueOf(words[3], constants);
      out.push(
        straight ? nestedCalls(words[2], count) : `fn repeat_${words[2]}() {\n` +
          `  for (var at = 0u; at < ${count}u; at++) {\n    ${words[2]}(at);\n  }\n}`,
      );
    } else if (words[1] === "weights") {
      const [, name, binding, windows, rows, columns] =
        /weights (\w+) at (\d+): (\w+) windows of (\w+) rows, (\w+) columns/.exec(lines[at])!;
      out.push(
        weights(
          name,
          Number(binding),
          valueOf(windows, constants),
          valueOf(rows, constants),
          valueOf(columns, constants),
          expansion.uniformWeights ?? false,
        ),
      );
    } else if (words[1] === "include") {
      out.push(files[words[2]]);
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
      : `const ${name}: f32 = ${value.f32};`
  );
  return [...constants, ...expandLines(text.split("\n"), expansion)].join("\n");
}
