import * as Plot from "@observablehq/plot";
import type { Judged } from "../answers.ts";
import { calibration, type CalibrationBin } from "../calibration.ts";
import { decimal, grouped } from "../format.ts";
import { figure, html, table } from "../html.ts";
import type { Section } from "../page.ts";
import { draw, ink } from "../plot.ts";

/** Whether the model's probabilities are what they say. */
export function calibrationSection({ model, samples }: Judged): Section {
  const right = samples.map((_, i) => model.ranks[i] === 1);
  const { bins, error, excess } = calibration(model.confidence, right);
  const known = samples.flatMap(({ Y }, i) => Y < 2 ? [] : [i]);
  const among = calibration(known.map((i) => model.confidence[i]), known.map((i) => right[i]));
  const points = decimal(100 * Math.abs(excess), 1);
  const sense = Math.abs(excess) < 0.01
    ? "On the whole its probabilities are neither too high nor too low."
    : excess > 0
    ? `On the whole it is too sure: by ${points} points.`
    : `On the whole it is too modest: by ${points} points.`;
  const percent = (value: number): string => decimal(100 * value, 1);
  const range = ({ from, to }: CalibrationBin): string =>
    `${Math.round(100 * from)}–${Math.round(100 * to)}%`;
  return {
    id: "calibration",
    title: "Are its probabilities true?",
    content: html`
      <p>Expected calibration error: <b>${percent(error)} points</b>${known.length > 0 &&
        known.length < samples.length &&
        ` (${
          percent(among.error)
        } among targets that are known places)`}, the mean distance between the probability of the first choice and how often it is right, in
      ten bins of equal width. ${sense}</p>
      <div class="figures">${figure({
        title: "Reliability",
        note: "On the line, probabilities are true. Dots are as large as their bins have answers.",
        drawing: draw(
          `Share of first choices that are right, by their probability: ${
            bins.map((bin) => `at ${range(bin)}, ${percent(bin.accuracy)}%`).join("; ")
          }`,
          {
            height: 360,
            x: {
              ...{ domain: [0, 100], label: "probability of the first choice, %", grid: true },
              ticks: 5,
            },
            y: { domain: [0, 100], label: "right, %", grid: true, ticks: 5 },
            r: { range: [2, 11], domain: [0, Math.max(...bins.map(({ count }) => count))] },
            marks: [
              Plot.link([0], { x1: 0, y1: 0, x2: 100, y2: 100, stroke: ink.muted }),
              Plot.link(bins, {
                x1: (bin: CalibrationBin) => 100 * bin.confidence,
                x2: (bin: CalibrationBin) => 100 * bin.confidence,
                y1: (bin: CalibrationBin) => 100 * bin.confidence,
                y2: (bin: CalibrationBin) => 100 * bin.accuracy,
                stroke: ink.guess,
                strokeWidth: 2,
              }),
              Plot.line(bins, {
                x: (bin: CalibrationBin) => 100 * bin.confidence,
                y: (bin: CalibrationBin) => 100 * bin.accuracy,
                stroke: ink.model,
                strokeWidth: 2,
              }),
              Plot.dot(bins, {
                x: (bin: CalibrationBin) => 100 * bin.confidence,
                y: (bin: CalibrationBin) => 100 * bin.accuracy,
                r: "count",
                fill: ink.model,
                title: (bin: CalibrationBin) =>
                  `${range(bin)}: ${percent(bin.accuracy)}% of ${bin.count} are right`,
              }),
            ],
          },
        ),
        numbers: table(
          "Reliability",
          [
            { heading: "probability", words: true },
            { heading: "answers" },
            {
              heading: "mean probability, %",
            },
            { heading: "right, %" },
            { heading: "gap, points" },
          ],
          bins.map((bin) => [
            range(bin),
            grouped(bin.count),
            percent(bin.confidence),
            percent(bin.accuracy),
            percent(bin.confidence - bin.accuracy),
          ]),
        ),
      })}</div>
    `,
  };
}
