import type { Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import { type Node, type Operation, record, type Spec, type Target } from "../graph/graph.ts";
import { labelled } from "./cross_entropy.ts";
import { elementGrid } from "./grid.ts";
import { rowsOf } from "./rows.ts";
import { classShares } from "./softmax.ts";

const operation: Operation = {
  name: "rank",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [logits] = node.inputs;
    const V = logits.shape[1];
    return [{
      kernel: "rank",
      constants: classShares(V),
      bindings: [
        { extent: rowsOf(logits), access: "uniform" },
        { input: 0, access: "read" },
        { input: 1, access: "read" },
        { output: 0, access: "write" },
        { output: 1, access: "write" },
      ],
      rows: rowsOf(logits),
      grid: ({ rows }) => elementGrid(64 * rows),
      straight: straight && V <= 4096,
    }];
  },
};

/** Results of {@linkcode rank}. */
export interface Ranking {
  /** 1 where the target has the largest logit, `u32` [B]. */
  readonly ranks: Tensor;
  /** The class of the largest logit, `u32` [B]. */
  readonly predictions: Tensor;
}

/**
 * The place of each target in the order of its row's logits, largest first; of equal logits the
 * class with the smaller number comes first. With a NaN in the row the rank is V, the last.
 *
 * @param logits [B,V]; rows may be packed.
 * @param targets Classes as `u32` or `i32`, [B]; packed if the logits are. One past the last class
 * counts as the last class.
 * @returns Ranks and predictions; no gradient flows through them.
 * @throws {TypeError} If the shapes or types do not fit.
 *
 * @example
 * ```ts
 * import { openDevice, rank, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const targets = tensor(Uint32Array.of(0));
 * const { ranks, predictions } = run(device, rank)(tensor([2, 7, 4], [1, 3]), targets);
 * console.log((await read(ranks)).data, (await read(predictions)).data); // [ 3 ] [ 1 ]
 * ```
 */
export function rank(logits: Tensor, targets: Tensor): Ranking {
  const [from, labels] = labelled(logits, targets, "rank");
  const { packing } = from;
  const shape = [logits.shape[0]];
  const spec: Spec = packing === undefined
    ? { shape, dtype: "u32" }
    : { shape, dtype: "u32", packing };
  const [ranks, predictions] = record(operation, [from, labels], {}, [spec, spec]);
  return { ranks, predictions };
}
