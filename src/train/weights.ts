/**
 * Weights on disk: safetensors under PyTorch's names.
 *
 * @module
 */
import type { Tree } from "../core/tree.ts";
import type { Model, Weights } from "../models/model.ts";
import { fromStateDict, integerNames, toStateDict } from "../models/state_dict.ts";
import { readSafetensors, writeSafetensors } from "./safetensors.ts";

/**
 * Writes a model's weights. The file appears whole or not at all, and the same weights always give
 * the same bytes.
 *
 * @param name Of the model.
 * @param weights On the host.
 * @param steps Training steps made.
 * @throws {InputError} If it cannot be written.
 */
export async function saveWeights(
  path: string,
  name: string,
  model: Model,
  weights: Weights,
  steps: number,
): Promise<void> {
  await writeSafetensors(path, toStateDict(model, weights, steps), {
    metadata: { format: "pt", model: name },
    i64: integerNames(model),
  });
}

/**
 * Reads a model's weights.
 *
 * @returns On the host.
 * @throws {InputError} If the file is missing, damaged, or does not fit the model.
 */
export async function loadWeights<P extends Tree, S extends Tree>(
  path: string,
  model: Pick<Model<P, S>, "shapes" | "names" | "statisticsNames">,
): Promise<Weights<P, S>> {
  return fromStateDict(model, (await readSafetensors(path)).tensors, path);
}
