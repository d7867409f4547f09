import { closest, distance } from "fastest-levenshtein";
import { printable } from "./describe.ts";

/**
 * The known word that a mistyped one was probably meant to be, as the end of an error message:
 * `; did you mean --seed?`, or nothing when none is near.
 *
 * @param word What was given.
 * @param known What would have been right.
 */
export function suggestion(word: string, known: readonly string[]): string {
  if (known.length === 0) return "";
  const near = closest(word, known);
  const allowed = Math.max(2, Math.floor(word.length / 3));
  return distance(word, near) <= allowed ? `; did you mean ${printable(near)}?` : "";
}
