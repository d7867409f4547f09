import { formatShape, type Shape, sizeOf, type Tensor } from "../core/tensor.ts";
import { flatten, mapTree, type Tree } from "../core/tree.ts";
import {
  isTraced,
  type Node,
  type Operation,
  record,
  type Spec,
  specLike,
  type Traced,
  traced,
} from "../graph/graph.ts";

const operation: Operation = {
  name: "view",
  vjp(node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
    const [x] = node.inputs;
    if (dy === undefined) return [];
    if (sizeOf(x.shape) === sizeOf(dy.shape)) return [view(dy, 0, x)];
    throw new TypeError(
      `Cannot differentiate through a part of a slab ${
        formatShape(x.shape)
      }: take gradients with ` +
        `respect to the record of parameters, not to its slab`,
    );
  },
};

/** The elements of `x` from `offset` on, in another shape; nothing is copied. */
export function view(x: Traced, offset: number, spec: Spec): Traced {
  // Attributes tell nodes apart: views of one tensor in two forms are not equal.
  return record(operation, [x], { offset, shape: spec.shape, dtype: spec.dtype }, [spec])[0];
}

/**
 * The same elements in another shape.
 *
 * @param shape Sizes with the same product.
 * @throws {TypeError} If the number of elements differs, or `x` has packed rows whose number would
 * change.
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const from = traced(x, "reshape");
  const keepsRows = from.packing === undefined || shape[0] === from.shape[0];
  if (sizeOf(shape) !== sizeOf(x.shape) || !keepsRows) {
    throw new TypeError(`Cannot reshape ${formatShape(x.shape)} to ${formatShape(shape)}`);
  }
  return view(from, 0, specLike(from, shape));
}

const ravelOperation: Operation = { name: "ravel" };

/** Elements that each tensor's start in a slab is aligned to: 256 bytes. */
export const ALIGNMENT = 64;

/** Where tensors of the given sizes lie in one slab. */
export function slabLayout(
  sizes: readonly number[],
): { readonly offsets: readonly number[]; readonly size: number } {
  const offsets: number[] = [];
  let size = 0;
  for (const n of sizes) {
    offsets.push(size);
    size += Math.ceil(n / ALIGNMENT) * ALIGNMENT;
  }
  return { offsets, size };
}

/**
 * All tensors of a tree in one piece of memory, so that one dispatch can work on all of them.
 *
 * @param tree Tensors of `f32`.
 * @returns The slab, [S]: each tensor at a multiple of 64 elements, zeros in between.
 */
export function ravel(tree: Tree): Traced {
  const leaves = flatten(tree).map(({ leaf }) => traced(leaf, "ravel"));
  const { offsets, size } = slabLayout(leaves.map((leaf) => sizeOf(leaf.shape)));
  const first = leaves[0];
  const slab = isTraced(first) && first.node.operation === operation
    ? first.node.inputs[0]
    : undefined;
  if (slab !== undefined) {
    // Leaves of a tree that already lies in one slab, or in a part of one.
    const start = Number(first.node.attributes.offset);
    const whole = start % ALIGNMENT === 0 && start + size <= sizeOf(slab.shape) &&
      leaves.every((leaf, i) =>
        leaf.node.operation === operation && leaf.node.inputs[0] === slab &&
        leaf.node.attributes.offset === start + offsets[i]
      );
    if (whole) {
      return size === sizeOf(slab.shape)
        ? slab
        : view(slab, start, { shape: [size], dtype: "f32" });
    }
  }
  return record(ravelOperation, leaves, {}, [{ shape: [size], dtype: "f32" }])[0];
}

/** The tensors of a slab in the form of `like`; the inverse of `ravel`. */
export function unravel<T extends Tree>(slab: Traced, like: T): T {
  const { offsets } = slabLayout(flatten(like).map(({ leaf }) => sizeOf(leaf.shape)));
  let i = 0;
  return mapTree(
    like,
    (leaf) => view(slab, offsets[i++], { shape: leaf.shape, dtype: leaf.dtype }),
  );
}
