import type { Judged } from "./answers.ts";
import { type Interval, wilson } from "./bootstrap.ts";

/** How often the first choice is right within a group of samples, in percent. */
export interface Group {
  /** What they have in common. */
  readonly label: string;
  /** How many samples. */
  readonly count: number;
  /** The model's acc@1. */
  readonly model: number;
  /** 95% of where the model's may lie, as if samples were independent. */
  readonly interval: Interval;
  /** The guess's acc@1. */
  readonly guess: number;
}

/**
 * Accuracies by group, in the order of `labels`; groups without samples are left out.
 *
 * @param floor Which of the floors is the guess.
 * @param labelOf The label of a sample's group.
 */
export function groups(
  { samples, model, floors }: Judged,
  floor: number,
  labels: readonly string[],
  labelOf: (sample: Judged["samples"][number]) => string,
): readonly Group[] {
  const members = new Map<string, number[]>(labels.map((label) => [label, []]));
  samples.forEach((sample, i) => members.get(labelOf(sample))!.push(i));
  return [...members].filter(([, group]) => group.length > 0).map(([label, group]) => {
    const count = group.length;
    const hits = (ranks: Int32Array): number =>
      group.reduce((sum, i) => sum + Number(ranks[i] === 1), 0);
    const right = hits(model.ranks);
    const { low, high } = wilson(right, count);
    return {
      label,
      count,
      model: 100 * right / count,
      interval: { low: 100 * low, high: 100 * high },
      guess: 100 * hits(floors[floor].ranks) / count,
    };
  });
}

/** A range of whole numbers. */
export interface Range {
  /** Its least number. */
  readonly from: number;
  /** Its greatest number. */
  readonly to: number;
  /** `3–5`, `7`. */
  readonly label: string;
}

/** Ranges of about equally many of the given whole numbers, at most so many. */
export function ranges(values: readonly number[], most: number): readonly Range[] {
  const sorted = values.toSorted((a, b) => a - b);
  const found: Range[] = [];
  for (let start = 0; start < sorted.length;) {
    const left = most - found.length;
    let end = left <= 1 ? sorted.length : start + Math.ceil((sorted.length - start) / left);
    // Equal numbers stay together.
    while (end < sorted.length && sorted[end] === sorted[end - 1]) end++;
    const [from, to] = [sorted[start], sorted[end - 1]];
    found.push({ from, to, label: from === to ? `${from}` : `${from}–${to}` });
    start = end;
  }
  return found;
}
