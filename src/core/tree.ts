/**
 * Nested records and arrays whose leaves are tensors, as parameters, batches and states are.
 *
 * @module
 */
import type { Tensor } from "./tensor.ts";

/**
 * A tensor, or a nested record or array of tensors. Any object to the compiler: an interface, or a
 * record with fields that may be absent, fits no stricter type. Functions check the leaves.
 */
export type Tree = object;

/** A leaf and where it is: names and positions from the root, joined by dots. */
export interface PathLeaf<L> {
  /** `embedding.location`, `lstm.0.weightHh`. */
  readonly path: string;
  /** The leaf. */
  readonly leaf: L;
}

function isLeaf(value: unknown): boolean {
  return typeof value !== "object" || value === null || "shape" in value ||
    ("kind" in value && value.kind === "packing");
}

/**
 * The leaves of a nested record, in the order of its keys. A leaf is a tensor, a packing, or
 * anything that is no object.
 */
export function leavesOf(tree: unknown, path = ""): readonly PathLeaf<unknown>[] {
  if (isLeaf(tree)) return tree === undefined ? [] : [{ path, leaf: tree }];
  return Object.entries(tree as object).flatMap(([name, value]) =>
    leavesOf(value, path === "" ? name : `${path}.${name}`)
  );
}

/**
 * A nested record of the same form with every leaf replaced.
 *
 * @param change Gives the new leaf for a leaf and its path.
 */
export function mapLeaves(
  tree: unknown,
  change: (leaf: unknown, path: string) => unknown,
  path = "",
): unknown {
  if (tree === undefined) return undefined;
  if (isLeaf(tree)) return change(tree, path);
  const inner = (name: string): string => path === "" ? name : `${path}.${name}`;
  if (Array.isArray(tree)) {
    return Object.freeze(tree.map((value, i) => mapLeaves(value, change, inner(String(i)))));
  }
  return Object.freeze(
    Object.fromEntries(
      Object.entries(tree as object).map(([name, value]) => [
        name,
        mapLeaves(value, change, inner(name)),
      ]),
    ),
  );
}

/** `mapLeaves` for trees of tensors. */
export function mapTree<T extends Tree>(
  tree: T,
  change: (leaf: Tensor, path: string) => Tensor,
): T {
  return mapLeaves(tree, (leaf, path) => change(leaf as Tensor, path)) as T;
}

/**
 * The tensors of a tree with their paths, in the order of its keys.
 *
 * @throws {TypeError} If a leaf is no tensor.
 */
export function flatten(tree: Tree): readonly PathLeaf<Tensor>[] {
  return leavesOf(tree).map(({ path, leaf }) => {
    if (typeof leaf !== "object" || leaf === null || !("shape" in leaf)) {
      const what = typeof leaf === "object" ? JSON.stringify(leaf) : `a ${typeof leaf}`;
      throw new TypeError(`${path === "" ? "The argument" : path} must be a tensor, not ${what}`);
    }
    return { path, leaf: leaf as Tensor };
  });
}
