import type { ElementProgram } from "../graph/dispatch.ts";
import {
  type Formula,
  type Node,
  nodesOf,
  type Operation,
  record,
  type Target,
  type Traced,
} from "../graph/graph.ts";
import { elementwise } from "../ops/elementwise.ts";

/** What an input is to a formula. */
type Kind = ElementProgram["inputs"][number];

const formulaOf = (node: Node): Formula | undefined => node.operation.formula?.(node);

const kindOf = (node: Node, position: number): Kind =>
  formulaOf(node)!.arrays?.[position] ?? "elements";

/** A tensor that comes from outside of a group of nodes, and what it is to their formulas. */
interface Source {
  readonly t: Traced;
  readonly kind: Kind;
}

const keyOf = ({ t, kind }: Source): string => `${t.node.id}.${t.index} ${kind}`;

/** The distinct sources of a group. */
function sourcesOf(group: ReadonlySet<Node>): ReadonlyMap<string, Source> {
  const sources = [...group].flatMap((node) =>
    node.inputs.map((t, position) => ({ t, kind: kindOf(node, position) }))
  ).filter(({ t }) => !group.has(t.node));
  return new Map(sources.map((source) => [keyOf(source), source]));
}

/** One node that computes what a group's last one does. `now` gives a tensor's place in the new graph. */
function fused(group: ReadonlySet<Node>, now: (t: Traced) => Traced): Node {
  const sources = sourcesOf(group), keys = [...sources.keys()];
  const members = [...group].sort((a, b) => a.id - b.id);
  const steps = members.map((node) =>
    formulaOf(node)!.text.replace(/\$(\d)/g, (_, position) => {
      const t = node.inputs[Number(position)], kind = kindOf(node, Number(position));
      if (group.has(t.node)) return `v${members.indexOf(t.node)}`;
      return `${kind === "elements" ? "e" : "x"}${keys.indexOf(keyOf({ t, kind }))}`;
    })
  );
  const program = { inputs: [...sources.values()].map(({ kind }) => kind), steps };
  const operation: Operation = {
    name: members.map(({ operation }) => operation.name).join(" and "),
    lower: (node, target) => [elementwise(program, node, target)],
  };
  const inputs = [...sources.values()].map(({ t }) => now(t));
  return record(operation, inputs, {}, members[members.length - 1].outputs)[0].node;
}

/**
 * The same graph in which operations on elements that feed only one another are one node: a launch
 * costs more than such an operation does.
 *
 * @param maxBuffers Buffers that a kernel can bind, the output among them.
 * @returns The outputs in the new graph.
 */
export function fuseElements(
  outputs: readonly Traced[],
  { maxBuffers }: Pick<Target, "maxBuffers">,
): readonly Traced[] {
  const nodes = nodesOf(outputs);
  const users = new Map<Node, Set<Node>>(nodes.map((node) => [node, new Set()]));
  for (const node of nodes) {
    for (const { node: source } of node.inputs) users.get(source)!.add(node);
  }
  const returned = new Set(outputs.map(({ node }) => node));
  const joins = (node: Node, group: ReadonlySet<Node>): boolean =>
    formulaOf(node) !== undefined && !returned.has(node) &&
    [...users.get(node)!].every((user) =>
      group.has(user) &&
      user.inputs.every((t, position) => t.node !== node || kindOf(user, position) === "elements")
    ) &&
    sourcesOf(new Set([...group, node])).size < maxBuffers;

  const groups = new Map<Node, ReadonlySet<Node>>();
  const joined = new Set<Node>();
  // Users come after what they use, so that one pass from the end finds a whole group.
  for (let last = nodes.length - 1; last >= 0; last--) {
    if (formulaOf(nodes[last]) === undefined || joined.has(nodes[last])) continue;
    const group = new Set([nodes[last]]);
    for (let at = last - 1; at >= 0; at--) {
      if (joins(nodes[at], group)) group.add(nodes[at]);
    }
    for (const node of group) joined.add(node);
    groups.set(nodes[last], group);
  }

  const renamed = new Map<Node, Node>();
  const now = (t: Traced): Traced => renamed.get(t.node)!.outputs[t.index];
  // Ids tell the order: from the first group on, nodes are recorded anew.
  let moved = false;
  for (const node of nodes) {
    const group = groups.get(node);
    moved ||= group !== undefined;
    if (group !== undefined) renamed.set(node, fused(group, now));
    else if (!joined.has(node)) {
      const { operation, inputs, attributes } = node;
      renamed.set(
        node,
        moved ? record(operation, inputs.map(now), attributes, node.outputs)[0].node : node,
      );
    }
  }
  return outputs.map(now);
}
