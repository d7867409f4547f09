import * as Plot from "@observablehq/plot";
import type { Judged } from "../answers.ts";
import { bootstrap, type Interval } from "../bootstrap.ts";
import { counted, decimal, duration, grouped, signed } from "../format.ts";
import { code, figure, type Html, html, table } from "../html.ts";
import { key } from "../key.ts";
import type { Section } from "../page.ts";
import { draw, ink, runStyles } from "../plot.ts";
import { recorded, type Run } from "../run.ts";
import { clustersOf, MEASURES, type Scoreboard, weightedScores } from "../scores.ts";
import { settingsOf } from "./setup.ts";
import { MEASURE_NAMES, withInterval } from "./scores.ts";
import { epochAxis } from "./training.ts";

/** A run with what its model answered. */
export interface JudgedRun {
  /** The run. */
  readonly run: Run;
  /** Its model's answers. */
  readonly judged: Judged;
  /** Scores over all targets. */
  readonly board: Scoreboard;
}

/** Runs at most, since there are no more colours that everyone tells apart. */
export const MOST_RUNS = runStyles.length;

/** Whether two runs were asked the same. */
function isSame(a: Judged, b: Judged): boolean {
  return a.samples.length === b.samples.length &&
    a.samples.every(({ X, Y, user_X }, i) => {
      const other = b.samples[i];
      return Y === other.Y && X.length === other.X.length &&
        user_X[0] === other.user_X[0] && X.every((place, n) => place === other.X[n]);
    });
}

/** By how much a run's acc@1 is ahead of the first one's. */
function aheadOf(a: Judged, b: Judged): Interval & { readonly by: number } {
  const clusters = clustersOf(a);
  const places = Math.max(a.config.totalLocNum, b.config.totalLocNum);
  const difference = (drawn: ArrayLike<number>): number => {
    const [one, other] = [a, b].map(({ model }) =>
      weightedScores(model, clusters.ofSample, drawn, places)[0]
    );
    return other - one;
  };
  const [interval] = bootstrap(clusters.count, (drawn) => [difference(drawn)]);
  return { by: difference(new Float64Array(clusters.count).fill(1)), ...interval };
}

/**
 * Runs side by side, the reported one first.
 *
 * @param judged The same runs with what their models answered, for the next-location model.
 */
export function compareSection(
  runs: readonly Run[],
  judged: readonly JudgedRun[] = [],
): Section {
  return {
    id: "compare",
    title: "Runs side by side",
    content: html`
      ${judged.length > 0 && warning(judged)}
      ${key(runs.map((run, i) => ({
        mark: `run-${i + 1}`,
        dash: runStyles[i].dash,
        label: run.name,
      })))}
      <div class="figures">${lossFigure(runs)}${judged.length > 0 && accuracyFigure(judged)}</div>
      ${judged.length > 0 && scoreTable(judged)}
      ${trainingTable(runs)}
      ${differencesTable(runs)}
    `,
  };
}

function warning(runs: readonly JudgedRun[]): Html | undefined {
  const [first] = runs;
  const others = runs.filter(({ judged }) => !isSame(first.judged, judged));
  if (others.length === 0) return;
  const names = others.map(({ run }) => run.name).join(", ");
  return html`<p><b>Not the same question:</b> ${names} had other samples than ${first.run.name}; compare each with its own guess, not with one another.</p>`;
}

function scoreTable(runs: readonly JudgedRun[]): Html {
  const [first] = runs;
  return table(
    `Scores over all ${first.judged.split} targets, in percent, with 95% intervals`,
    [
      { heading: "run", words: true },
      { heading: "samples" },
      ...MEASURES.map((measure) => ({ heading: MEASURE_NAMES[measure] })),
      { heading: html`best guess<br>acc@1` },
      { heading: html`acc@1 ahead of<br>${first.run.name}` },
    ],
    runs.map(({ run, judged, board: { model, best } }) => {
      const same = run !== first.run && isSame(first.judged, judged);
      const ahead = same ? aheadOf(first.judged, judged) : undefined;
      return [
        run.name,
        grouped(model.scores.count),
        ...MEASURES.map((measure) => withInterval(model.scores[measure], model.intervals[measure])),
        decimal(best.scores.acc1),
        ahead === undefined
          ? run === first.run ? "" : "other samples"
          : html`${signed(ahead.by)}<small>${signed(ahead.low, 1)} to ${
            signed(ahead.high, 1)
          }</small>`,
      ];
    }),
  );
}

function trainingTable(runs: readonly Run[]): Html {
  return table(
    "How they were trained",
    [
      { heading: "run", words: true },
      { heading: "parameters" },
      { heading: "epochs" },
      { heading: "best epoch" },
      { heading: html`best<br>validation loss` },
      { heading: "time" },
      { heading: "adapter", words: true },
    ],
    runs.map((run) => {
      const { name, parameters, epochs } = run;
      const best = epochs.findLast(({ improved }) => improved) ?? epochs[0];
      return [
        name,
        grouped(parameters.reduce((sum, { count }) => sum + count, 0)),
        epochs.length,
        best.epoch,
        decimal(best.validation.loss, 3),
        duration(epochs.reduce((sum, { seconds }) => sum + seconds, 0)),
        recorded(run, "adapter"),
      ];
    }),
  );
}

function differencesTable(runs: readonly Run[]): Html {
  const settings = runs.map(({ config }) => settingsOf(config));
  const keys = [...new Set(settings.flatMap((one) => [...one.keys()]))]
    .filter((name) => settings.some((one) => one.get(name) !== settings[0].get(name)));
  if (keys.length === 0) return html`<p>Their configurations are the same.</p>`;
  return table(
    `${counted(keys.length, "setting")} in which the runs differ`,
    [
      { heading: "key", words: true },
      ...runs.map(({ name }) => ({ heading: name, words: true })),
    ],
    keys.map((name) => [
      code(name),
      ...settings.map((one) => one.get(name) ?? "none"),
    ]),
  );
}

function lossFigure(runs: readonly Run[]): Html {
  const most = Math.max(...runs.map(({ epochs }) => epochs.length));
  return figure({
    title: "Validation loss",
    drawing: draw(
      `Validation loss by epoch: ${
        runs.map((run) => `${run.name} ends at ${decimal(run.epochs.at(-1)!.validation.loss, 3)}`)
          .join(", ")
      }`,
      {
        x: { ...epochAxis(most), domain: [0.5, most + 0.5] },
        y: { grid: true, label: null, nice: true, ticks: 5 },
        marks: runs.flatMap((run, i) => {
          const at = {
            x: "epoch",
            y: (record: Run["epochs"][number]) => record.validation.loss,
          } as const;
          const { color, dash } = runStyles[i];
          return [
            Plot.line(run.epochs, { ...at, stroke: color, strokeDasharray: dash, strokeWidth: 2 }),
            Plot.dot(run.epochs, {
              ...{ ...at, fill: color, r: 3 },
              title: (record: Run["epochs"][number]) =>
                `${run.name}, epoch ${record.epoch}: ${decimal(record.validation.loss, 3)}`,
            }),
          ];
        }),
      },
    ),
  });
}

function accuracyFigure(runs: readonly JudgedRun[]): Html {
  const lines = runs.map(({ run, board }, i) => ({
    name: run.name,
    value: board.model.scores.acc1,
    ...board.model.intervals.acc1,
    guess: board.best.scores.acc1,
    color: runStyles[i].color,
  }));
  const short = (name: string): string => name.length > 18 ? `${name.slice(0, 17)}…` : name;
  return figure({
    title: "acc@1, with 95% intervals",
    note: "The open squares are the best guess on the same samples.",
    drawing: draw(
      `acc@1 in percent: ${
        lines.map(({ name, value, guess }) =>
          `${name} ${decimal(value, 1)}, its best guess ${decimal(guess, 1)}`
        ).join("; ")
      }`,
      {
        height: 60 + 38 * runs.length,
        marginTop: 10,
        marginLeft: 150,
        x: { grid: true, zero: true, label: "acc@1, %", nice: true, ticks: 5 },
        y: {
          type: "band",
          domain: runs.map((_, i) => i),
          label: null,
          tickSize: 0,
          tickFormat: (i: number) => short(lines[i].name),
        },
        marks: [
          Plot.ruleX([0], { stroke: ink.rule }),
          Plot.link(lines, {
            ...{ x1: "low", x2: "high", y1: (_, i) => i, y2: (_, i) => i, stroke: "color" },
            strokeWidth: 3,
            strokeOpacity: 0.5,
          }),
          Plot.dot(lines, { x: "value", y: (_, i) => i, fill: "color", r: 5 }),
          Plot.dot(lines, {
            ...{ x: "guess", y: (_, i) => i, stroke: ink.muted, symbol: "square", r: 7 },
            strokeWidth: 1.75,
          }),
        ],
      },
    ),
  });
}
