import * as Plot from "@observablehq/plot";
import { counted, decimal, duration } from "../format.ts";
import { figure, type Html, html, table } from "../html.ts";
import { key } from "../key.ts";
import type { Section } from "../page.ts";
import { draw, ink } from "../plot.ts";
import type { EpochRecord, Run } from "../run.ts";

/** What scores are called in words; others go by their own names. */
const NAMES: Readonly<Record<string, string>> = {
  loss: "loss",
  acc1: "acc@1",
  acc3: "acc@3",
  acc5: "acc@5",
  acc10: "acc@10",
  mrr: "MRR",
  ndcg10: "NDCG@10",
  f1: "F1",
  macroF1: "macro F1",
  weightedF1: "weighted F1",
  bitsPerCharacter: "bits a character",
};

/** Scores that are in the table alone: others tell the same. */
const NOT_DRAWN = ["acc3", "acc5", "acc10", "ndcg10", "f1", "weightedF1", "perplexity"];

/** Scores of which less is better: their curves need not begin at 0. */
const LOW_IS_GOOD = ["loss", "bitsPerCharacter", "mse", "mae"];

/** Loss, scores and learning rate by epoch: of any model. */
export function trainingSection(run: Run): Section {
  const { epochs, rates, rewinds } = run;
  const best = epochs.findLast(({ improved }) => improved) ?? epochs[0];
  const names = Object.keys(best.validation).filter((name) =>
    name !== "count" && name !== "loss" && epochs.every(({ validation }) => name in validation)
  );
  const seconds = epochs.reduce((sum, epoch) => sum + epoch.seconds, 0);
  const reductions = epochs.filter(({ action }) => action === "reduce").map(({ epoch }) => epoch);
  const column = (name: string) => ({ heading: nameOf(name) });
  return {
    id: "training",
    title: "Training",
    content: html`
      <p>${counted(epochs.length, "epoch")} in ${duration(
        seconds,
      )}, validation included. The validation
      loss was best after epoch ${best.epoch} (${decimal(
        best.validation.loss,
        3,
      )}); the weights of that
      epoch are the ones judged here.${reductions.length > 0 &&
        ` Without a better loss for a while, training went back to the best weights and lowered the rate after epoch ${
          reductions.join(" and ")
        }.`}${rewinds.length > 0 &&
        ` The loss was not finite at step ${
          rewinds.join(", ")
        }: training went back to the checkpoint before, at half the rate.`}</p>
      ${key([
        { mark: "model", dash: false, label: "validation" },
        { mark: "muted", dash: true, label: "training, while it was trained on" },
      ])}
      <div class="figures">
      ${curve(epochs, "loss", best.epoch, 3)}
      ${rateFigure(epochs, rates)}
      ${names.filter((name) => !NOT_DRAWN.includes(name))
        .map((name) => curve(epochs, name, best.epoch))}
      </div>
      <details><summary>All scores by epoch</summary>${table(
        "Scores after each epoch; all but the training loss are of the validation samples",
        [
          { heading: "epoch" },
          { heading: "learning rate" },
          { heading: "training loss" },
          { heading: "validation loss" },
          ...names.map(column),
          { heading: "time" },
        ],
        epochs.map((epoch) => [
          epoch.epoch,
          rate(epoch.learningRate),
          decimal(epoch.train.loss, 3),
          decimal(epoch.validation.loss, 3),
          ...names.map((name) => decimal(epoch.validation[name])),
          duration(epoch.seconds),
        ]),
      )}</details>
    `,
  };
}

function nameOf(score: string): string {
  return NAMES[score] ?? score;
}

function rate(value: number): string {
  return String(Number(value.toPrecision(3))).replace("-", "\u2212");
}

/** Whole epochs on the axis, and no more of them than fit. */
export function epochAxis(last: number): Plot.ScaleOptions {
  return {
    label: "epoch",
    domain: [Math.min(1, last - 1), Math.max(last, 2)],
    ticks: Array.from({ length: last }, (_, i) => i + 1)
      .filter((n) => n % Math.max(1, Math.ceil(last / 10)) === 0 || last < 10),
    tickFormat: "d",
  };
}

function curve(
  epochs: readonly EpochRecord[],
  name: string,
  best: number,
  digits = 1,
): Html {
  const points = (of: "train" | "validation") =>
    epochs.map((record) => ({
      epoch: record.epoch,
      value: record[of][name],
      title: `epoch ${record.epoch}, ${of === "train" ? "training" : of}: ${
        decimal(record[of][name], digits)
      }`,
    }));
  const [train, validation] = [points("train"), points("validation")];
  const at = { x: "epoch", y: "value", title: "title" } as const;
  const label = `${nameOf(name)} by epoch: validation from ${
    decimal(validation[0].value, digits)
  } to ${decimal(validation.at(-1)!.value, digits)}, training from ${
    decimal(train[0].value, digits)
  } to ${decimal(train.at(-1)!.value, digits)}; best validation loss after epoch ${best}`;
  return figure({
    title: name === "loss" ? "Loss" : nameOf(name),
    drawing: draw(label, {
      x: { ...epochAxis(epochs.length), domain: [0.5, epochs.length + 0.5] },
      y: { grid: true, label: null, nice: true, ticks: 5, zero: !LOW_IS_GOOD.includes(name) },
      marks: [
        Plot.ruleX([best], { stroke: ink.rule, strokeWidth: 2 }),
        Plot.text([best], {
          x: (n: number) => n,
          frameAnchor: "top",
          lineAnchor: "bottom",
          text: () => "best",
          dy: -8,
          fill: ink.muted,
        }),
        Plot.line(train, { ...at, title: undefined, stroke: ink.muted, strokeDasharray: "4 3" }),
        Plot.dot(train, { ...at, fill: ink.paper, stroke: ink.muted, r: 2.5 }),
        Plot.line(validation, { ...at, title: undefined, stroke: ink.model, strokeWidth: 2 }),
        Plot.dot(validation, { ...at, fill: ink.model, r: 3.5 }),
      ],
    }),
  });
}

function rateFigure(epochs: readonly EpochRecord[], rates: Run["rates"]): Html {
  const stepsPerEpoch = epochs[0].step;
  const points = [...rates, ...epochs]
    .map(({ step, learningRate }) => ({ at: step / stepsPerEpoch, learningRate }))
    .sort((a, b) => a.at - b.at);
  const most = points.reduce((max, { learningRate }) => Math.max(max, learningRate), 0);
  return figure({
    title: "Learning rate",
    drawing: draw(
      `Learning rate over ${counted(epochs.length, "epoch")}: highest ${rate(most)}, at the end ${
        rate(points.at(-1)!.learningRate)
      }`,
      {
        marginLeft: 60,
        x: { ...epochAxis(epochs.length), domain: [0, epochs.length], label: "epochs done" },
        y: { grid: true, label: null, nice: true, zero: true, ticks: 4, tickFormat: rate },
        marks: [
          Plot.line(points, { x: "at", y: "learningRate", stroke: ink.model, strokeWidth: 2 }),
          Plot.dot(points.filter((_, i) => points.length < 12 || i === points.length - 1), {
            ...{ x: "at", y: "learningRate", fill: ink.model, r: 2.5 },
          }),
        ],
      },
    ),
  });
}
