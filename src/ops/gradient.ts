/**
 * Reverse-mode differentiation as a transformation of functions. First order: the result of `grad`
 * cannot be differentiated again.
 *
 * @module
 */
import { formatShape, sizeOf, type Tensor, tensor } from "../core/tensor.ts";
import { flatten, mapTree, type Tree } from "../core/tree.ts";
import { isTraced, nodesOf, type Traced, traced } from "../graph/graph.ts";
import { add } from "./binary.ts";
import { view } from "./view.ts";

/**
 * Cotangents of `sources`, given the cotangent 1 of the scalar `output`; `undefined` where the output
 * does not depend on a source.
 */
function backward(
  output: Traced,
  sources: readonly Traced[],
): readonly (Traced | undefined)[] {
  const key = (t: Traced): string => `${t.node.id}.${t.index}`;
  const cotangents = new Map<string, Traced>();
  const wanted = new Set<number>();
  const nodes = nodesOf([output]);
  const sourceKeys = new Set(sources.map(key));
  // Only nodes between the sources and the output need a backward step.
  for (const node of nodes) {
    const reaches = node.inputs.some((i) => wanted.has(i.node.id) || sourceKeys.has(key(i)));
    if (reaches) wanted.add(node.id);
  }
  cotangents.set(key(output), traced(tensor([1], output.shape), "differentiate"));
  for (const node of nodes.toReversed()) {
    if (!wanted.has(node.id)) continue;
    const given = node.outputs.map((o) => cotangents.get(key(o)));
    if (given.every((g) => g === undefined) || node.operation.vjp === undefined) continue;
    const results = node.operation.vjp(node, given);
    node.inputs.forEach((input, i) => {
      const result = results[i];
      if (result === undefined || input.dtype !== "f32") return;
      if (sizeOf(result.shape) !== sizeOf(input.shape)) {
        throw new TypeError(
          `The gradient of ${node.operation.name} gave ${formatShape(result.shape)} for an input ` +
            `of shape ${formatShape(input.shape)}`,
        );
      }
      const before = cotangents.get(key(input));
      cotangents.set(key(input), before === undefined ? result : add(before, result) as Traced);
    });
  }
  return sources.map((source) => cotangents.get(key(source)));
}

/** A function's value and the gradients of its first argument. */
export type ValueAndGrad<A extends readonly unknown[], R> = (
  ...args: A
) => readonly [R, A[0]];

/**
 * Transforms a function of the library's operations into one that also gives the gradient of its
 * result with respect to its first argument. Use it inside `compile` or `run`.
 *
 * @param fn Returns a scalar, or with `hasAux` the pair `[scalar, anything]`.
 * @param options `hasAux`: the function returns further results besides the scalar.
 * @returns A function that returns `[value, gradients]`, gradients in the form of the first argument.
 * @throws {TypeError} When called, if the result is no scalar, or does not depend on some parameter's
 * path at all (its gradient is then zero, so it is an error only if nothing depends on it).
 *
 * @example
 * ```ts
 * import { mean, mul, openDevice, read, run, type Tensor, tensor, valueAndGrad } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const square = (x: { w: Tensor }) => mean(mul(x.w, x.w));
 * const [value, grads] = run(device, valueAndGrad(square))({ w: tensor([1, 2, 3]) });
 * console.log(await read(value), await read(grads));
 * ```
 */
export function valueAndGrad<A extends readonly [Tree, ...unknown[]], R extends Tensor>(
  fn: (...args: A) => R,
): ValueAndGrad<A, R>;
/** The same for a function that returns `[scalar, more]`. */
export function valueAndGrad<A extends readonly [Tree, ...unknown[]], R extends Tensor, X>(
  fn: (...args: A) => readonly [R, X],
  options: { readonly hasAux: true },
): ValueAndGrad<A, readonly [R, X]>;
export function valueAndGrad<A extends readonly [Tree, ...unknown[]]>(
  fn: (...args: A) => unknown,
  options: { readonly hasAux?: boolean } = {},
): ValueAndGrad<A, unknown> {
  return (...args: A) => {
    const params = mapTree(args[0], (leaf) => traced(leaf, "differentiate"));
    const result = fn(...[params, ...args.slice(1)] as unknown as A);
    const value = options.hasAux === true ? (result as readonly unknown[])[0] : result;
    if (!isTraced(value) || sizeOf(value.shape) !== 1) {
      throw new TypeError(
        `Cannot take the gradient of a function that returns ${
          isTraced(value) ? `a tensor of shape ${formatShape(value.shape)}` : "no tensor"
        }: reduce it to a scalar, for example with mean()`,
      );
    }
    const leaves = flatten(params).map(({ leaf }) => leaf as Traced);
    const grads = backward(value, leaves);
    let i = 0;
    const tree = mapTree(params, (leaf) => grads[i++] ?? zerosLike(leaf as Traced));
    return [result, tree];
  };
}

function zerosLike(leaf: Traced): Tensor {
  const zeros = tensor(new Float32Array(sizeOf(leaf.shape)), leaf.shape);
  // A view counts the same packed rows as the leaf.
  return view(traced(zeros, "differentiate"), 0, leaf);
}

/**
 * The gradient alone of `valueAndGrad`.
 *
 * @param fn Returns a scalar.
 * @returns A function that returns the gradients in the form of the first argument.
 */
export function grad<A extends readonly [Tree, ...unknown[]]>(
  fn: (...args: A) => Tensor,
): (...args: A) => A[0] {
  const both = valueAndGrad(fn);
  return (...args: A) => both(...args)[1];
}
