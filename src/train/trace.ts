import { formatShape, type HostTensor, isHostTensor, type Shape } from "../core/tensor.ts";
import { flatten, type Tree } from "../core/tree.ts";
import type { Device } from "../gpu/device.ts";
import { stages } from "../graph/stages.ts";
import type { Model, ModelOutput, Weights } from "../models/model.ts";
import { run } from "../plan/compile.ts";
import { dispose, read } from "../plan/device_tensor.ts";

/** One stage of a forward pass. */
export interface Stage {
  /** What it is: a part of the batch, a stage that the model names, or an output. */
  readonly name: string;
  /** `f32` or `u32`. */
  readonly dtype: string;
  /** Its shape; packed rows are counted as they are. */
  readonly shape: Shape;
  /** Smallest finite value; NaN if there is none. */
  readonly min: number;
  /** Largest finite value; NaN if there is none. */
  readonly max: number;
  /** Values that are not finite. */
  readonly notFinite: number;
  /** First values, row-major. */
  readonly first: readonly number[];
}

/** How a forward pass is traced. */
export interface TraceOptions {
  /** How many values of each stage to give; default 4. */
  readonly values?: number;
}

/**
 * A model's forward pass on one batch, stage by stage, in evaluation mode: what goes in, what the model
 * names with `stage`, and what comes out.
 *
 * @param weights On the host or in GPU memory.
 *
 * @example
 * ```ts
 * import { defaultConfig, nextLocation, openDevice, randomKey, simulate, traceForward } from "@gatewise/lstm";
 *
 * const { train, totalLocNum, totalUserNum } = simulate({ people: 3, days: 30 });
 * const model = nextLocation({ ...defaultConfig, totalLocNum, totalUserNum, lstmHiddenSize: 16 });
 * using device = await openDevice();
 * const batch = model.batch(train.slice(0, 4));
 * for (const { name, shape } of await traceForward(device, model, model.init(randomKey(1)), batch)) {
 *   console.log(name, shape);
 * }
 * ```
 */
export async function traceForward<
  P extends Tree,
  S extends Tree,
  B extends Tree,
  O extends ModelOutput<S>,
>(
  device: Device,
  model: Model<P, S, B, O>,
  { params, statistics }: Weights<P, S>,
  batch: B,
  { values = 4 }: TraceOptions = {},
): Promise<readonly Stage[]> {
  const carried = model.carriedStart?.(batch) ?? {};
  const forward = (params: P, statistics: S, batch: B, carried: Tree): O =>
    model.forward(params, batch, { statistics, carried });
  const traced = run(device, stages(forward))(params, statistics, batch, carried);
  const { result, stages: named } = await read(traced);
  dispose(traced);
  const { statistics: _, ...outputs } = result;
  const all: [string, HostTensor][] = [
    ...leavesOf("batch", batch),
    ...Object.entries(named) as [string, HostTensor][],
    ...leavesOf("output", outputs),
  ];
  return all.map(([name, tensor]) => summarize(name, tensor, values));
}

function leavesOf(prefix: string, tree: Tree): [string, HostTensor][] {
  return flatten(tree)
    .filter(({ leaf }) => isHostTensor(leaf))
    .map(({ path, leaf }) => [`${prefix}.${path}`, leaf as HostTensor]);
}

function summarize(name: string, { dtype, shape, data }: HostTensor, values: number): Stage {
  let min = Infinity, max = -Infinity, notFinite = 0;
  for (const value of data) {
    if (!Number.isFinite(value)) notFinite++;
    else {
      if (value < min) min = value;
      if (value > max) max = value;
    }
  }
  const none = min > max;
  return {
    ...{ name, dtype, shape, notFinite, first: Array.from(data.subarray(0, values)) },
    ...{ min: none ? NaN : min, max: none ? NaN : max },
  };
}

/** Stages as a text table, a line each. Ends without a line break. */
export function formatStages(list: readonly Stage[]): string {
  const number = (value: number): string =>
    Number.isInteger(value) ? String(value) : value.toPrecision(4);
  const rows = [
    ["stage", "shape", "smallest", "largest", "first values"],
    ...list.map(({ name, dtype, shape, min, max, notFinite, first }) => [
      name,
      `${dtype}${formatShape(shape)}`,
      number(min),
      number(max),
      first.map(number).join(" ") + (notFinite > 0 ? `  (${notFinite} not finite)` : ""),
    ]),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row.map((cell, column) =>
      column === 2 || column === 3 ? cell.padStart(widths[column]) : cell.padEnd(widths[column])
    ).join("  ").trimEnd()
  ).join("\n");
}
