import { type Node, nodesOf, record, type Traced } from "../graph/graph.ts";

/** The tensor that a chain of views looks at. */
export function rootOf(t: Traced): Traced {
  let root = t;
  while (root.node.operation.name === "view") root = root.node.inputs[0];
  return root;
}

/**
 * The same graph in an order in which whoever reads a tensor comes before an operation that could
 * overwrite it in place, wherever that operation is not needed to compute the reader.
 *
 * @returns The outputs in the new graph.
 */
export function readersFirst(outputs: readonly Traced[]): readonly Traced[] {
  const nodes = nodesOf(outputs);
  const before = new Map(nodes.map((node) => [node, node.inputs.map((t) => t.node)]));
  const needs = (node: Node, other: Node, seen: Set<Node>): boolean => {
    if (node === other) return true;
    if (seen.has(node)) return false;
    seen.add(node);
    return before.get(node)!.some((source) => needs(source, other, seen));
  };
  for (const writer of nodes) {
    for (const [i] of writer.operation.inPlace ?? []) {
      const written = rootOf(writer.inputs[i]);
      for (const reader of nodes) {
        const reads = reader.inputs.some((t) => rootOf(t) === written);
        if (reads && !needs(reader, writer, new Set())) before.get(writer)!.push(reader);
      }
    }
  }
  const ordered = new Set<Node>();
  const visit = (node: Node): void => {
    if (ordered.has(node)) return;
    before.get(node)!.forEach(visit);
    ordered.add(node);
  };
  nodes.forEach(visit);

  // Ids tell the order: from the first node that moved on, nodes are recorded anew.
  const renamed = new Map<Node, Node>();
  const now = (t: Traced): Traced => renamed.get(t.node)!.outputs[t.index];
  let moved = false;
  [...ordered].forEach((node, i) => {
    moved ||= node !== nodes[i];
    renamed.set(
      node,
      moved
        ? record(node.operation, node.inputs.map(now), node.attributes, node.outputs)[0].node
        : node,
    );
  });
  return outputs.map(now);
}
