import { suggestion } from "../core/suggestion.ts";
import { printable } from "../core/describe.ts";
import type { Task } from "../tasks/task.ts";
import { findTask, tasks } from "../tasks/tasks.ts";
import { UsageError } from "./options.ts";

/** Names of the models as people type them; underscores are as good as dashes. */
const names = tasks.map(({ name }) => name.replaceAll("_", "-"));

/** The option that names a model. */
export const modelOption = {
  type: "text",
  value: "NAME",
  meaning: names.join(", "),
} as const;

/**
 * The model that `--model` names.
 *
 * @throws {UsageError} If there is none of that name.
 */
export function modelNamed(name: string): Task {
  const task = findTask(name);
  if (task !== undefined) return task;
  throw new UsageError(
    `--model is ${printable(name)}${
      suggestion(name.replaceAll("_", "-"), names)
    }; the models are ` +
      names.join(", "),
  );
}
