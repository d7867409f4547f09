/**
 * The list of models: adding one adds its task here.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { suggestion } from "../core/suggestion.ts";
import type { CommonConfig } from "../train/keys.ts";
import { nextLocationTask } from "./next_location.ts";
import { sequenceClassifierTask } from "./sequence_classifier.ts";
import { sequenceEnsembleTask } from "./sequence_ensemble.ts";
import { stackedLstmTask } from "./stacked_lstm.ts";
import type { Task } from "./task.ts";

/** Every model that can be trained, the default first. */
export const tasks: readonly Task[] = [
  nextLocationTask,
  sequenceEnsembleTask,
  stackedLstmTask,
  sequenceClassifierTask,
];

/** The task of a model's name or alias; dashes are as good as underscores. */
export function findTask(name: string): Task | undefined {
  const plain = name.replaceAll("-", "_");
  return tasks.find((task) => task.name === plain || task.alias === plain);
}

/** Every name that a configuration may have. */
export const taskNames: readonly string[] = tasks.flatMap(({ name, alias }) =>
  alias === undefined ? [name] : [alias, name]
);

/**
 * The task of a configuration.
 *
 * @throws {InputError} If there is no model of that name.
 */
export function taskOf({ networkName }: Pick<CommonConfig, "networkName">): Task {
  const task = findTask(networkName);
  if (task !== undefined) return task;
  const names = tasks.map(({ name }) => name);
  throw new InputError(
    `there is no model ${networkName}${suggestion(networkName, names)}; the models are ` +
      names.join(", "),
  );
}
