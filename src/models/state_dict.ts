import { InputError } from "../core/errors.ts";
import { formatShape, type HostTensor, type Tensor, tensor } from "../core/tensor.ts";
import { flatten, mapTree, type Tree } from "../core/tree.ts";
import type { Model, Weights } from "./model.ts";

/** Names in a model's `state_dict` that are 64-bit integers: PyTorch counts each norm's batches. */
export function integerNames({ statisticsNames }: Pick<Model, "statisticsNames">): string[] {
  return [...statisticsNames.values()]
    .filter((name) => name.endsWith("running_mean"))
    .map((name) => name.replace(/running_mean$/, "num_batches_tracked"));
}

/**
 * Parameters and statistics under PyTorch's names, as in a `state_dict`.
 *
 * @param weights On the host.
 * @param steps Training steps made, the statistics' `num_batches_tracked`.
 */
export function toStateDict(
  model: Model,
  { params, statistics }: Weights,
  steps: number,
): Readonly<Record<string, HostTensor>> {
  const named = (tree: Tree, names: ReadonlyMap<string, string>) =>
    flatten(tree).map(({ path, leaf }) => [names.get(path)!, leaf as HostTensor] as const);
  return Object.fromEntries([
    ...named(params, model.names),
    ...named(statistics, model.statisticsNames),
    ...integerNames(model).map((name) => [name, tensor(Int32Array.of(steps), [])] as const),
  ]);
}

/**
 * Parameters and statistics from a `state_dict` under PyTorch's names.
 *
 * @param tensors By name, as `readSafetensors` gives them.
 * @param file Where they come from, for errors.
 * @throws {InputError} If a tensor is missing, left over, or does not fit the configuration.
 */
export function fromStateDict<P extends Tree, S extends Tree>(
  model: Pick<Model<P, S>, "shapes" | "names" | "statisticsNames">,
  tensors: ReadonlyMap<string, HostTensor>,
  file: string,
): Weights<P, S> {
  const left = new Set(tensors.keys());
  const get = (name: string, { shape }: Tensor): HostTensor => {
    const found = tensors.get(name);
    if (found === undefined) {
      throw new InputError(`${file}: no tensor ${name}: the weights do not fit the configuration`);
    }
    if (found.dtype !== "f32" || formatShape(found.shape) !== formatShape(shape)) {
      throw new InputError(
        `${file}: ${name} is ${found.dtype}${formatShape(found.shape)}, but the configuration ` +
          `needs f32${formatShape(shape)}`,
      );
    }
    left.delete(name);
    return found;
  };
  const { params, statistics } = model.shapes();
  const weights = {
    params: mapTree(params, (leaf, path) => get(model.names.get(path)!, leaf)),
    statistics: mapTree(statistics, (leaf, path) => get(model.statisticsNames.get(path)!, leaf)),
  };
  for (const name of integerNames(model)) left.delete(name);
  if (left.size > 0) {
    throw new InputError(
      `${file}: ${
        [...left].join(", ")
      } is in no part of the configured model: the weights do not ` +
        `fit the configuration`,
    );
  }
  return weights;
}
