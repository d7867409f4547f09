/**
 * Weights on disk: safetensors under PyTorch's names.
 *
 * @module
 */
import {
  fromStateDict,
  type Initial,
  integerNames,
  type NextLocation,
  toStateDict,
} from "../models/next_location.ts";
import { readSafetensors, writeSafetensors } from "./safetensors.ts";

/**
 * Writes a model's weights. The file appears whole or not at all, and the same weights always give
 * the same bytes.
 *
 * @param weights On the host.
 * @param steps Training steps made.
 * @throws {InputError} If it cannot be written.
 */
export async function saveWeights(
  path: string,
  model: NextLocation,
  weights: Initial,
  steps: number,
): Promise<void> {
  await writeSafetensors(path, toStateDict(model, weights, steps), {
    metadata: { format: "pt", model: "next_location" },
    i64: integerNames,
  });
}

/**
 * Reads a model's weights.
 *
 * @returns On the host.
 * @throws {InputError} If the file is missing, damaged, or does not fit the model.
 */
export async function loadWeights(path: string, model: NextLocation): Promise<Initial> {
  return fromStateDict(model, (await readSafetensors(path)).tensors, path);
}
