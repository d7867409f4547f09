import { formatShape, type Tensor } from "../core/tensor.ts";
import type { Dispatch } from "../graph/dispatch.ts";
import {
  type Node,
  type Operation,
  record,
  type Spec,
  specLike,
  type Target,
  type Traced,
  traced,
} from "../graph/graph.ts";
import { elementGrid } from "./grid.ts";
import { rowsOf } from "./rows.ts";
import { slicing } from "./slices.ts";
import { lanesFor } from "./tiling.ts";

/** Most columns of an invocation that a straight-line kernel is written out for. */
const STRAIGHT_LIMIT = 64;

/** How a workgroup's invocations share a row of H columns. */
function rowShares(H: number): { readonly LANES: number; readonly COUNT: number } {
  const LANES = lanesFor(H, 64);
  return { LANES, COUNT: Math.ceil(H / LANES) };
}

const operation: Operation = {
  name: "layer_norm",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [x] = node.inputs;
    const H = x.shape[1];
    const shares = rowShares(H);
    return [{
      kernel: "layer_norm",
      constants: { H, ...shares, EPS: { f32: Number(node.attributes.eps) } },
      bindings: [
        { extent: rowsOf(x), access: "uniform" },
        { input: 0, access: "read" },
        { input: 1, access: "read" },
        { input: 2, access: "read" },
        { output: 0, access: "write" },
        { output: 1, access: "write" },
      ],
      rows: rowsOf(x),
      grid: ({ rows }) => elementGrid(64 * rows),
      straight: straight && shares.COUNT <= STRAIGHT_LIMIT,
    }];
  },
  vjp(node: Node, [dy]: readonly (Traced | undefined)[]): readonly (Traced | undefined)[] {
    if (dy === undefined) return [];
    const [x, gamma, beta] = node.inputs;
    return record(backward, [dy, x, node.outputs[1], gamma], {}, [x, gamma, beta]);
  },
};

const backward: Operation = {
  name: "layer_norm_backward",
  lower(node: Node, { straight }: Target): readonly Dispatch[] {
    const [dy] = node.inputs;
    const [M, H] = dy.shape;
    const shares = rowShares(H);
    const { constants, short } = slicing(M, 1);
    const rows = rowsOf(dy);
    return [
      {
        kernel: "layer_norm_backward",
        constants: { H, ...shares },
        bindings: [
          { extent: rows, access: "uniform" },
          { input: 0, access: "read" },
          { input: 1, access: "read" },
          { input: 2, access: "read" },
          { input: 3, access: "read" },
          { output: 0, access: "write" },
        ],
        rows,
        grid: ({ rows }) => elementGrid(64 * rows),
        straight: straight && shares.COUNT <= STRAIGHT_LIMIT,
      },
      {
        kernel: "layer_norm_backward_weight",
        constants: { H, ...constants },
        bindings: [
          { extent: rows, access: "uniform" },
          { input: 0, access: "read" },
          { input: 1, access: "read" },
          { input: 2, access: "read" },
          { output: 1, access: "write" },
          { output: 2, access: "write" },
        ],
        rows,
        grid: () => [Math.ceil(H / 8), 1, 1],
        straight: straight && short,
      },
    ];
  },
};

/** Options of {@linkcode layerNorm}. */
export interface LayerNormOptions {
  /** Added to the variance; default 1e-5. */
  readonly eps?: number;
}

/**
 * Checks what is added to a variance.
 *
 * @throws {RangeError} If it is not positive or no `f32`.
 */
export function checkEps(eps: number, verb: string): void {
  if (eps >= 2 ** -126 && eps <= 3.4e38) return;
  throw new RangeError(`Cannot ${verb} with eps ${eps}: it must be from 1.2e-38 to 3.4e38`);
}

/**
 * Layer normalization (Ba, Kiros, Hinton 2016): each row is shifted and scaled to mean 0 and
 * (biased) variance 1, then each column by `gamma` and `beta`. A row of equal values becomes `beta`.
 * So does a row whose variance overflows, from values 1e19 apart on, and its gradient is 0; PyTorch
 * gives NaN for some from 5e19 on. Values 3.4e38 apart give NaN.
 *
 * @param x Rows, [M,H]; packed or not.
 * @param gamma [H].
 * @param beta [H].
 * @returns [M,H].
 * @throws {TypeError} If the shapes do not fit.
 * @throws {RangeError} If `eps` is not positive or no `f32`.
 *
 * @example
 * ```ts
 * import { layerNorm, openDevice, read, run, tensor } from "@gatewise/lstm";
 *
 * using device = await openDevice();
 * const y = run(device, layerNorm)(tensor([1, 3], [1, 2]), tensor([1, 1]), tensor([0, 5]));
 * console.log((await read(y)).data); // -1 and 6, but for eps
 * ```
 */
export function layerNorm(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  options: LayerNormOptions = {},
): Tensor {
  const { eps = 1e-5 } = options;
  const H = x.shape[1];
  const fits = x.shape.length === 2 && H > 0 &&
    [gamma, beta].every(({ shape }) => shape.length === 1 && shape[0] === H);
  if (!fits) {
    throw new TypeError(
      `Cannot layer-normalize ${formatShape(x.shape)} with gamma ${formatShape(gamma.shape)} and ` +
        `beta ${formatShape(beta.shape)}: give [M,H], [H] and [H]`,
    );
  }
  checkEps(eps, "layer-normalize");
  const from = traced(x, "layer-normalize");
  const statistics: Spec = specLike(from, [x.shape[0], 2]);
  return record(operation, [from, gamma, beta], { eps }, [from, statistics])[0];
}
