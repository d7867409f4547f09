/**
 * A run as a page: what any model has (training, parameters, setup), and what only the next-location
 * model has.
 *
 * @module
 */
import type { Place } from "../data/places.ts";
import type { Split } from "../data/read_samples.ts";
import { taskOf } from "../tasks/tasks.ts";
import { dataPath } from "../train/config.ts";
import type { Answered, Judged } from "./answers.ts";
import { counted, decimal } from "./format.ts";
import { type Html, html } from "./html.ts";
import { formatPage, type Section } from "./page.ts";
import { recorded, type Run } from "./run.ts";
import { scoreboard } from "./scores.ts";
import { calibrationSection } from "./sections/calibration.ts";
import { compareSection, type JudgedRun } from "./sections/compare.ts";
import { groupsSection } from "./sections/groups.ts";
import { mapSection } from "./sections/map.ts";
import { mistakesSection } from "./sections/mistakes.ts";
import { scoresSection, verdict } from "./sections/scores.ts";
import { parametersSection, setupSection } from "./sections/setup.ts";
import { trainingSection } from "./sections/training.ts";

/** What the report of a next-location run is made of. */
export interface ReportParts {
  /** The run that it is about. */
  readonly run: Run;
  /** What its model answered. */
  readonly judged: Judged;
  /** Other runs and what theirs answered. */
  readonly others: readonly { readonly run: Run; readonly judged: Judged }[];
  /** Where places are, as far as known. */
  readonly places: readonly Place[];
  /** The person on the map; undefined leaves it out. */
  readonly person: number | undefined;
}

/** The report of a next-location run, one HTML file. The same parts give the same bytes. */
export function nextLocationReport({ run, judged, others, places, person }: ReportParts): string {
  const boards = { all: scoreboard(judged, false), known: scoreboard(judged, true) };
  const byId = new Map(places.map((place) => [place.id, place]));
  const runs: readonly JudgedRun[] = [
    { run, judged, board: boards.all },
    ...others.map((other) => ({ ...other, board: scoreboard(other.judged, false) })),
  ];
  return report(run, {
    lead: html`${verdict(judged, boards)}${storedNote(run, judged.split, boards.all.model.scores)}`,
    results: [
      ...(others.length === 0 ? [] : [compareSection(runs.map(({ run }) => run), runs)]),
      scoresSection(judged, boards),
    ],
    details: [
      groupsSection(judged, boards.all),
      calibrationSection(judged),
      mistakesSection(judged, byId),
      ...(person === undefined ? [] : [mapSection(judged, byId, person)]),
    ],
  });
}

/** The report of a run of any other model: its scores as `evaluate` prints them, and all the rest. */
export function modelReport(run: Run, answered: Answered, others: readonly Run[]): string {
  const { task, config, split, data, train, answers } = answered;
  const beside = task.baselines(config, train, data);
  const parts = task.format(config, split, task.score(config, answers), beside).split("\n\n");
  // Tables have lines; what they come to is a sentence.
  const sentences = parts.filter((part) => /^[^\n]+\.$/.test(part));
  const tables = parts.filter((part) => !sentences.includes(part));
  return report(run, {
    lead: html`<div class="verdict"><p class="muted">Does it beat trivial guessing?</p>${
      sentences.map((sentence) => html`<p class="answer">${sentence}</p>`)
    }</div>`,
    results: [
      {
        id: "scores",
        title: "Scores beside guessing",
        content: html`<p>On ${split} data.</p>${
          tables.map((text) =>
            html`<pre role="region" aria-label="Scores" tabindex="0">${text}</pre>`
          )
        }`,
      },
      ...(others.length === 0 ? [] : [compareSection([run, ...others])]),
    ],
    details: [],
  });
}

/** What a model's own kind of report adds to that of any model. */
interface OwnSections {
  /** What to know first. */
  readonly lead: Html;
  /** Before how it was trained. */
  readonly results: readonly Section[];
  /** After that. */
  readonly details: readonly Section[];
}

/** The report of any model: its own sections, and those that every run has. */
function report(run: Run, { lead, results, details }: OwnSections): string {
  const { config } = run;
  return formatPage({
    title: `Report: ${run.name}`,
    header: html`<h1>Report of the training run ${run.name}</h1>
<p class="muted">Model ${config.networkName}, seed ${config.seed}, on ${
      dataPath(config) ?? `${taskOf(config).generated} data`
    }; ${counted(run.epochs.length, "epoch")} on ${recorded(run, "adapter")}</p>
${lead}`,
    sections: [
      ...results,
      trainingSection(run),
      ...details,
      parametersSection(run),
      setupSection(run),
    ],
    footer: html`
      <p
        class="muted">Made by Gatewise ${recorded(
          run,
          "gatewise",
        )}, <code>deno task report</code>. This file is whole: it fetches nothing and runs no script.</p>
    `,
  });
}

/** What was measured now should be what training measured. */
function storedNote(
  { results }: Run,
  split: Split,
  { acc1, count }: { readonly acc1: number; readonly count: number },
): Html | undefined {
  const [stored, total] = [results["acc@1"], results.total];
  if (split !== "test" || typeof stored !== "number" || typeof total !== "number") return;
  // On another adapter a few ties may fall otherwise.
  if (total === count && Math.abs(stored - acc1) < 0.1) return;
  return html`<p><b>Not what training measured:</b> test_results.json says acc@1 ${
    decimal(stored)
  } of ${counted(total, "sample")}; the model now gives ${decimal(acc1)} of ${
    counted(count, "sample")
  }. The data, the weights or the adapter have changed since.</p>`;
}
