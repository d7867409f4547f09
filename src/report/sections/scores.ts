import * as Plot from "@observablehq/plot";
import type { Judged } from "../answers.ts";
import type { Interval } from "../bootstrap.ts";
import { counted, decimal, grouped, signed } from "../format.ts";
import { type Content, figure, type Html, html, table } from "../html.ts";
import type { Section } from "../page.ts";
import { draw, ink } from "../plot.ts";
import { type Measure, MEASURES, type Scoreboard, type ScoreLine } from "../scores.ts";

/** Scores in words. */
export const MEASURE_NAMES: Readonly<Record<Measure, string>> = {
  acc1: "acc@1",
  acc5: "acc@5",
  acc10: "acc@10",
  mrr: "MRR",
  ndcg10: "NDCG@10",
  f1: "F1",
};

/** Whether the model beats the best way to guess: surely, surely not, or not to be told. */
function outcomeOf({ best: { ahead } }: Scoreboard): "yes" | "no" | "unclear" {
  return ahead.low > 0 ? "yes" : ahead.high < 0 ? "no" : "unclear";
}

const ANSWERS = {
  yes: "Yes: the model beats guessing",
  no: "No: guessing beats this model",
  unclear: "Too close to call",
} as const;

/** The first thing to know: is the model better than guessing without one? */
export function verdict(
  judged: Judged,
  { all, known }: Readonly<Record<"all" | "known", Scoreboard>>,
): Html {
  const { model, best, floors } = all;
  const outcome = outcomeOf(all);
  const one = (value: number): string => decimal(value, 1);
  const { by, low, high } = best.ahead;
  const place = Math.abs(by) < 0.05
    ? "level with it"
    : `${one(Math.abs(by))} points ${by > 0 ? "ahead" : "behind"}`;
  const interval = `${signed(low, 1)} to ${signed(high, 1)}`;
  const beaten = floors.filter(({ ahead }) => ahead.low > 0).length;
  const unseen = judged.samples.filter(({ Y }) => Y < 2).length;
  const others = unseen > 0 && known.model.scores.count > 0 &&
    ` ${one(100 * unseen / model.scores.count)}% of the targets are places that training never ` +
      `saw, which no model can name; of the others the model gets ` +
      `${one(known.model.scores.acc1)}% right, the best guess ${one(known.best.scores.acc1)}%.`;
  return html`
    <div class="verdict ${outcome}">
      <p class="muted">Does it beat trivial guessing?</p>
      <p class="answer">${ANSWERS[outcome]}</p>
      <p>
        The model’s first choice is right for <b>${one(model.scores.acc1)}%</b> of
        ${counted(model.scores.count, `${judged.split} target`)}. The best of ${floors.length} ways
        to guess, ${best.label}, is right for <b>${one(best.scores.acc1)}%</b>: the model is
        ${place} (95% interval of the difference: ${interval}), and clearly better than
        ${beaten === 0 ? "none" : beaten} of the ${floors.length}.${others}
      </p>
      <dl class="tiles">
        ${(["acc1", "acc5", "acc10", "mrr"] as const).map((measure) =>
          html`
            <div>
              <dt>${MEASURE_NAMES[measure]}</dt>
              <dd class="value">${one(model.scores[measure])}</dd>
              <dd class="beside">guess <b>${one(best.scores[measure])}</b></dd>
            </div>
          `
        )}
      </dl>
    </div>
  `;
}

/** A number with its interval. */
export function withInterval(value: number, { low, high }: Interval): Html {
  return html`${decimal(value)}<small>${decimal(low, 1)}–${decimal(high, 1)}</small>`;
}

/** The model's scores beside the floors'. */
export function scoresSection(
  judged: Judged,
  boards: Readonly<Record<"all" | "known", Scoreboard>>,
): Section {
  const { clusters } = boards.all;
  const places = grouped(judged.config.totalLocNum - 2);
  return {
    id: "scores",
    title: "Scores beside guessing",
    content: html`
      <p>Ranks are over ${places} places and one id for any other. Below each score stands its
      95% interval: ${clusters.of === "people"
        ? `the ${clusters.count} people are drawn anew 1,000 times, each with all their samples, since one person’s samples resemble each other.`
        : `samples are drawn anew 1,000 times. With fewer than 10 people, nothing is said here about people whom the data do not have.`}</p>
      <div class="figures">${(["acc1", "mrr"] as const).map((measure) =>
        intervalsFigure(boards.all, measure)
      )}</div>
      ${scoreTable(`All ${grouped(boards.all.model.scores.count)} targets, in percent`, boards.all)}
      ${boards.known.model.scores.count > 0 &&
        scoreTable(
          `The ${
            grouped(boards.known.model.scores.count)
          } targets that are known places, in percent`,
          boards.known,
        )}
    `,
  };
}

function scoreTable(caption: string, { model, floors }: Scoreboard): Html {
  const row = (line: ScoreLine, first: Content, ahead: Content): readonly Content[] => [
    first,
    ...MEASURES.map((measure) => withInterval(line.scores[measure], line.intervals[measure])),
    ahead,
  ];
  return table(caption, [
    { heading: "", words: true },
    ...MEASURES.map((measure) => ({ heading: MEASURE_NAMES[measure] })),
    { heading: html`model ahead<br>by acc@1` },
  ], [
    row(model, html`<b class="model">This model</b>`, ""),
    ...floors.map((floor) =>
      row(
        floor,
        html`Guess: ${floor.label}`,
        html`${signed(floor.ahead.by)}<small>${signed(floor.ahead.low, 1)} to ${
          signed(floor.ahead.high, 1)
        }</small>`,
      )
    ),
  ]);
}

function intervalsFigure({ model, floors }: Scoreboard, measure: Measure): Html {
  const lines = [model, ...floors].map((line, i) => ({
    name: line.name,
    value: line.scores[measure],
    ...line.intervals[measure],
    color: i === 0 ? ink.model : ink.guess,
  }));
  const name = MEASURE_NAMES[measure];
  return figure({
    title: `${name}, with 95% intervals`,
    drawing: draw(
      `${name} in percent: ${
        lines.map((line) => `${line.name} ${decimal(line.value, 1)}`).join(", ")
      }`,
      {
        height: 230,
        marginTop: 10,
        marginLeft: 150,
        x: {
          grid: true,
          zero: true,
          label: `${name}, %`,
          nice: true,
          ticks: 5,
        },
        y: { domain: lines.map((line) => line.name), label: null, tickSize: 0 },
        marks: [
          Plot.ruleX([0], { stroke: ink.rule }),
          Plot.link(lines, {
            ...{ x1: "low", x2: "high", y1: "name", y2: "name", stroke: "color" },
            strokeWidth: 3,
            strokeOpacity: 0.45,
          }),
          Plot.dot(lines, {
            ...{ x: "value", y: "name", fill: "color", r: 5 },
            symbol: (line: { readonly color: string }) =>
              line.color === ink.model ? "circle" : "square",
            title: (line: typeof lines[number]) =>
              `${line.name}: ${decimal(line.value)} (${decimal(line.low, 1)} to ${
                decimal(line.high, 1)
              })`,
          }),
          Plot.text(lines, {
            ...{ x: "high", y: "name", dx: 8, textAnchor: "start" },
            text: (line: { readonly value: number }) => decimal(line.value, 1),
          }),
        ],
        marginRight: 36,
        symbol: { type: "identity" },
      },
    ),
  });
}
