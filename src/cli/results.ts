/**
 * The scores of a model beside those of guessing without one, as commands print and store them.
 *
 * @module
 */
import { type Floor, floorAnswers, floors } from "../data/floors.ts";
import type { Sample } from "../data/samples.ts";
import { formatScoreTable, type TestResults, testResults } from "../metrics/scores.ts";
import { type BothScores, bothScores } from "../train/fit.ts";

/** What a floor reaches. */
export interface FloorScores {
  readonly floor: Floor;
  readonly scores: BothScores;
}

/** What every floor reaches on samples, counting in training samples. */
export function scoreFloors(
  train: readonly Sample[],
  evaluated: readonly Sample[],
): readonly FloorScores[] {
  return floors.map((floor) => ({
    floor,
    scores: bothScores([floorAnswers(floor, train, evaluated)]),
  }));
}

/** Scores as `test_results.json` holds them, with those of the floors by name. */
export function resultsWithFloors(
  { all, known }: BothScores,
  beside: readonly FloorScores[],
): TestResults & { readonly floors: Readonly<Record<string, TestResults>> } {
  return {
    ...testResults(all, known),
    floors: Object.fromEntries(
      beside.map(({ floor, scores }) => [floor.name, testResults(scores.all, scores.known)]),
    ),
  };
}

/** Scores and floors as a table, over all targets and over known places, and what they come to. */
export function formatResults(
  split: string,
  model: BothScores,
  beside: readonly FloorScores[],
): string {
  const tables = ([["all", "all targets"], ["known", "known places"]] as const).map(
    ([which, what]) =>
      formatScoreTable([
        { name: `${split}, ${what}: this model`, scores: model[which] },
        ...beside.map(({ floor, scores }) => ({
          name: `  ${floor.label}`,
          scores: scores[which],
        })),
      ]),
  );
  return [...tables, ...(beside.length === 0 ? [] : [verdict(model, beside)])].join("\n\n");
}

/** Which floors the model beats, by acc@1 over all targets, and by how much it beats the best one. */
function verdict(model: BothScores, beside: readonly FloorScores[]): string {
  const best = beside.reduce((a, b) => b.scores.all.acc1 > a.scores.all.acc1 ? b : a);
  const ahead = model.all.acc1 - best.scores.all.acc1;
  const beaten = beside.filter(({ scores }) => model.all.acc1 > scores.all.acc1).length;
  const by = `by ${Math.abs(ahead).toFixed(2)} points of acc@1`;
  return ahead > 0
    ? `The model beats all ${beside.length} ways to guess without it, the best (${best.floor.label}) ${by}.`
    : `The model does not beat guessing ${best.floor.label}: it is behind ${by}, and beats ` +
      `${beaten} of ${beside.length} ways to guess.`;
}
