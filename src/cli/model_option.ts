import { tasks } from "../tasks/tasks.ts";

/** Names of the models as people type them, with dashes or underscores. */
export const modelChoices: readonly string[] = [
  ...new Set(tasks.flatMap(({ name }) => [name.replaceAll("_", "-"), name])),
];
