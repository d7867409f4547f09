/**
 * Where every tensor of a graph lives: which share memory, and for how long memory is needed.
 *
 * @module
 */
import { sizeOf } from "../core/tensor.ts";
import type { Node, Traced } from "../graph/graph.ts";
import { slabLayout } from "../ops/view.ts";
import { rootOf } from "./order.ts";

/** A piece of memory that one or more tensors of a graph share. */
export interface Block {
  readonly kind: "input" | "constant" | "temporary";
  /** Number of the input, or the position of the constant's node. */
  readonly slot: number;
  /** 4-byte elements. */
  readonly size: number;
  /** Id of the last node that uses it; infinite when it holds an output. */
  last: number;
  /** Ranges of elements between a slab's tensors, to be zero from its birth on. */
  readonly gaps?: readonly { readonly offset: number; readonly size: number }[];
}

/** Where a tensor lies. */
export interface Place {
  readonly block: Block;
  /** First element. */
  readonly offset: number;
}

/** A copy that a node needs before it runs or that stands in its place. */
export interface Copy {
  readonly from: Place;
  readonly to: Place;
  readonly size: number;
}

/** The memory of a graph. */
export interface MemoryPlan {
  /** Place of a tensor. */
  readonly place: (tensor: Traced) => Place;
  /** Copies to make before a node's dispatches, by node id. */
  readonly copies: ReadonlyMap<number, readonly Copy[]>;
  /** Blocks first written by a node, by node id. */
  readonly born: ReadonlyMap<number, readonly Block[]>;
  /** Inputs whose memory an output took over. */
  readonly taken: ReadonlySet<number>;
}

const keyOf = (t: Traced): string => `${t.node.id}.${t.index}`;

/** The elements of its root that a tensor looks at. */
function rangeOf(t: Traced): readonly [start: number, end: number] {
  let start = 0;
  for (let at = t; at.node.operation.name === "view"; at = at.node.inputs[0]) {
    start += Number(at.node.attributes.offset);
  }
  return [start, start + sizeOf(t.shape)];
}

const overlap = (
  [startA, endA]: readonly [number, number],
  [startB, endB]: readonly [number, number],
): boolean => startA < endB && startB < endA;

/**
 * Assigns memory.
 *
 * @param nodes In topological order.
 * @param outputs Tensors that outlive the run.
 * @param donated Inputs whose memory may be overwritten after their last use.
 */
export function planMemory(
  nodes: readonly Node[],
  outputs: readonly Traced[],
  donated: ReadonlySet<number>,
): MemoryPlan {
  const places = new Map<string, Place>();
  const copies = new Map<number, Copy[]>();
  const born = new Map<number, Block[]>();
  const taken = new Set<number>();
  const lastUse = new Map<string, number>();
  const uses = new Map<string, { range: readonly [number, number]; last: number }[]>();
  const use = (source: Traced, last: number): void => {
    const key = keyOf(rootOf(source));
    lastUse.set(key, last);
    const known = uses.get(key) ?? [];
    uses.set(key, known);
    known.push({ range: rangeOf(source), last });
  };
  for (const node of nodes) {
    if (node.operation.name === "view") continue;
    for (const source of node.inputs) use(source, node.id);
  }
  for (const output of outputs) use(output, Infinity);

  const place = (t: Traced): Place => {
    const known = places.get(keyOf(t));
    if (known !== undefined) return known;
    if (t.node.operation.name !== "view") throw new Error(`No place for %${keyOf(t)}`);
    const base = place(t.node.inputs[0]);
    return { block: base.block, offset: base.offset + Number(t.node.attributes.offset) };
  };

  // Tensors that are laid into one slab are computed right there, unless one is needed to compute
  // another: a dispatch must not read and write one buffer.
  const slabs = new Map<number, Block>();
  for (const node of nodes) {
    if (node.operation.name !== "ravel") continue;
    const { offsets, size } = slabLayout(node.inputs.map((i) => sizeOf(i.shape)));
    const gaps = node.inputs.flatMap((source, i) => {
      const end = offsets[i] + sizeOf(source.shape);
      const next = offsets[i + 1] ?? size;
      return end === next ? [] : [{ offset: end, size: next - end }];
    });
    const block: Block = {
      kind: "temporary",
      slot: node.id,
      size,
      last: lastUse.get(keyOf(node.outputs[0])) ?? node.id,
      gaps,
    };
    slabs.set(node.id, block);
    const roots = node.inputs.map(rootOf);
    const members = new Set(roots.map((root) => root.node.id));
    node.inputs.forEach((source, i) => {
      const root = roots[i];
      // What stands in the slab twice is copied to both places: a copy must not stay in one buffer.
      const once = roots.indexOf(root) === roots.lastIndexOf(root);
      const computed = root.node.operation.lower !== undefined;
      const whole = sizeOf(root.shape) === sizeOf(source.shape);
      const conflict = root.node.inputs.some((x) => members.has(rootOf(x).node.id)) ||
        (root.node.operation.inPlace ?? []).length > 0;
      if (!computed || !whole || !once || conflict || places.has(keyOf(root))) return;
      places.set(keyOf(root), { block, offset: offsets[i] });
      block.last = Math.max(block.last, lastUse.get(keyOf(root)) ?? 0);
    });
  }

  /** Whether `node` may overwrite its input number `index`, of `size` elements. */
  const isFree = (node: Node, index: number, size: number): boolean => {
    const source = node.inputs[index];
    const { block, offset } = place(source);
    // Nobody needs the old values: of a donated input, those in the part that the source is (a
    // whole training state may lie in one), else those of the whole block.
    const range = rangeOf(source);
    const mine = block.kind === "input"
      ? donated.has(block.slot) &&
        uses.get(keyOf(rootOf(source)))!.every((u) => u.last <= node.id || !overlap(u.range, range))
      : block.kind === "temporary" && offset === 0 && block.size === size &&
        block.last === node.id && lastUse.get(keyOf(rootOf(source))) === node.id;
    if (!mine) return false;
    // Another operand in the same memory would be read while it is written, except one that is
    // itself updated in place, elsewhere in it.
    return node.inputs.every((x, i) => {
      if (i === index) return true;
      const other = place(x);
      if (other.block !== block) return true;
      return block.kind === "input" && node.operation.inPlace!.some(([k]) => k === i) &&
        !overlap([offset, offset + size], [other.offset, other.offset + sizeOf(x.shape)]);
    });
  };

  const bear = (node: Node, block: Block): void => {
    born.set(node.id, [...(born.get(node.id) ?? []), block]);
  };
  const alive = new Set<Block>();
  for (const node of nodes) {
    const { name } = node.operation;
    if (name === "view") continue;
    if (name === "input" || name === "constant") {
      const output = node.outputs[0];
      const slot = name === "input" ? Number(node.attributes.slot) : node.id;
      places.set(keyOf(output), {
        block: {
          kind: name,
          slot,
          size: sizeOf(output.shape),
          last: lastUse.get(keyOf(output)) ?? 0,
        },
        offset: 0,
      });
      continue;
    }
    if (name === "ravel") {
      const block = slabs.get(node.id)!;
      const { offsets } = slabLayout(node.inputs.map((i) => sizeOf(i.shape)));
      if (!alive.has(block)) bear(node, block);
      alive.add(block);
      places.set(keyOf(node.outputs[0]), { block, offset: 0 });
      const moves = node.inputs.flatMap((source, i) => {
        const from = place(source);
        const to = { block, offset: offsets[i] };
        return from.block === block && from.offset === to.offset
          ? []
          : [{ from, to, size: sizeOf(source.shape) }];
      });
      if (moves.length > 0) copies.set(node.id, moves);
      continue;
    }
    node.outputs.forEach((output, index) => {
      const last = lastUse.get(keyOf(output)) ?? node.id;
      const known = places.get(keyOf(output));
      if (known !== undefined) {
        if (!alive.has(known.block)) bear(node, known.block);
        alive.add(known.block);
        return;
      }
      const pair = (node.operation.inPlace ?? []).find(([, j]) => j === index);
      const source = pair === undefined ? undefined : node.inputs[pair[0]];
      if (source !== undefined) {
        const from = place(source);
        if (isFree(node, pair![0], sizeOf(output.shape))) {
          from.block.last = Math.max(from.block.last, last);
          places.set(keyOf(output), from);
          if (from.block.kind === "input") taken.add(from.block.slot);
          return;
        }
      }
      const block: Block = {
        kind: "temporary",
        slot: node.id,
        size: sizeOf(output.shape),
        last,
      };
      bear(node, block);
      places.set(keyOf(output), { block, offset: 0 });
      if (source !== undefined) {
        const copy = { from: place(source), to: { block, offset: 0 }, size: sizeOf(output.shape) };
        copies.set(node.id, [...(copies.get(node.id) ?? []), copy]);
      }
    });
  }
  return { place, copies, born, taken };
}
