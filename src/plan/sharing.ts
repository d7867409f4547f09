import { type Attributes, type Node, nodesOf, record, type Traced } from "../graph/graph.ts";

/**
 * The same graph in which nodes that compute the same from the same inputs are one.
 *
 * @returns The outputs in the new graph.
 */
export function shareEqualNodes(outputs: readonly Traced[]): readonly Traced[] {
  const objects = new Map<unknown, number>();
  const kept = new Map<string, Node>();
  const renamed = new Map<number, Node>();
  const text = (attributes: Attributes): string =>
    JSON.stringify(attributes, (_, value) => {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
      if (value === attributes) return value;
      if (!objects.has(value)) objects.set(value, objects.size);
      return `#${objects.get(value)}`;
    });
  const now = (t: Traced): Traced => renamed.get(t.node.id)!.outputs[t.index];
  for (const node of nodesOf(outputs)) {
    const inputs = node.inputs.map(now);
    const key = `${node.operation.name}(${inputs.map((t) => `${t.node.id}.${t.index}`)})${
      text(node.attributes)
    }`;
    let same = kept.get(key);
    if (same === undefined) {
      const changed = inputs.some((t, i) => t !== node.inputs[i]);
      same = changed ? record(node.operation, inputs, node.attributes, node.outputs)[0].node : node;
      kept.set(key, same);
    }
    renamed.set(node.id, same);
  }
  return outputs.map(now);
}
