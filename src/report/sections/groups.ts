import * as Plot from "@observablehq/plot";
import type { Sample } from "../../data/samples.ts";
import type { Judged } from "../answers.ts";
import { counted, decimal, grouped } from "../format.ts";
import { type Group, groups, ranges } from "../groups.ts";
import { figure, type Html, html, table } from "../html.ts";
import { key } from "../key.ts";
import type { Section } from "../page.ts";
import { draw, ink } from "../plot.ts";
import type { Scoreboard } from "../scores.ts";

const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const HOURS = Array.from({ length: 24 }, (_, hour) => String(hour));
/** Rows of a table, more than which nobody reads. */
const MOST_PEOPLE = 200;

type Target = Judged["samples"][number];

const last = (values: Int32Array | Float64Array): number => values[values.length - 1];

/** The day of the target's visit. */
const dayOf = ({ weekday_X, diff }: Sample): string => DAYS[(last(weekday_X) + last(diff)) % 7];

/** The hour at which the last visit ended, when the next place is asked for. */
const hourOf = ({ start_min_X, dur_X }: Sample): string =>
  HOURS[Math.floor((last(start_min_X) + last(dur_X)) / 60) % 24];

/** Where the model is good: by person, length of history, hour, weekday and how known the place is. */
export function groupsSection(judged: Judged, { best, floors }: Scoreboard): Section {
  const floor = floors.indexOf(best);
  const by = (labels: readonly string[], labelOf: (sample: Target) => string) =>
    groups(judged, floor, labels, labelOf);
  const byRange = (values: readonly number[], of: (sample: Target) => number) => {
    const parts = ranges(values, 7);
    return by(
      parts.map(({ label }) => label),
      (sample) => parts.find(({ to }) => of(sample) <= to)!.label,
    );
  };

  const seen = new Map<number, number>();
  for (const { Y } of judged.train) seen.set(Y!, (seen.get(Y!) ?? 0) + 1);
  const timesSeen = ({ Y }: Target): number => Y < 2 ? 0 : seen.get(Y) ?? 0;
  const SEEN = ["0", "1", "2–4", "5–9", "10–19", "20–49", "50–99", "100+"];
  const least = [0, 1, 2, 5, 10, 20, 50, 100];
  const seenLabel = (sample: Target): string =>
    SEEN[least.findLastIndex((n) => timesSeen(sample) >= n)];

  const lengths = judged.samples.map(({ X }) => X.length);
  const people = [...new Set(judged.samples.map(({ user_X }) => last(user_X)))]
    .sort((a, b) => a - b).map(String);
  return {
    id: "groups",
    title: "Where it is right",
    content: html`
      <p>How often the first choice is right (acc@1), for all targets. Dots are as large as the groups
      have samples; the thin lines are 95% intervals (Wilson’s, as if samples were independent).</p>
      ${key([
        { mark: "model", label: "this model" },
        { mark: "guess", ring: true, label: html`guess: ${best.label}` },
      ])}
      <div class="figures">
      ${bars("By how often the place was a target in training", by(SEEN, seenLabel), {
        axis: "times in training",
        note:
          "0: never a target there. Places that training never saw share one id, so that “again such " +
          "a place” counts as right.",
      })}
      ${bars("By length of the history", byRange(lengths, ({ X }) => X.length), {
        axis: "visits in the history",
      })}
      ${bars("By hour", by(HOURS, hourOf), {
        axis: "hour of the day",
        domain: HOURS,
        note: "The hour at which the last visit ended, by the data’s own clock.",
        every: 3,
      })}
      ${bars("By weekday", by(DAYS, dayOf), {
        axis: "weekday",
        domain: DAYS,
        note: "The day of the target’s visit.",
      })}
      ${people.length > 1 &&
        peopleFigure(by(people, ({ user_X }) => String(last(user_X))))}
      </div>
    `,
  };
}

function groupTable(
  title: string,
  what: string,
  list: readonly Group[],
): Html {
  return table(
    `${title}: acc@1 in percent`,
    [
      { heading: what, words: true },
      { heading: "samples" },
      { heading: "model" },
      {
        heading: "95% interval",
      },
      { heading: "guess" },
      { heading: "ahead" },
    ],
    list.map(({ label, count, model, interval, guess }) => [
      label,
      grouped(count),
      decimal(model, 1),
      `${decimal(interval.low, 1)}–${decimal(interval.high, 1)}`,
      decimal(guess, 1),
      decimal(model - guess, 1),
    ]),
  );
}

function bars(
  title: string,
  list: readonly Group[],
  { axis, domain = list.map(({ label }) => label), note, every = 1 }: {
    readonly axis: string;
    readonly domain?: readonly string[];
    readonly note?: string;
    readonly every?: number;
  },
): Html {
  const top = list.reduce((a, b) => b.model > a.model ? b : a);
  const low = list.reduce((a, b) => b.model < a.model ? b : a);
  const label = `${title}: the model is right most often at ${top.label} (${
    decimal(top.model, 1)
  }%) and least at ${low.label} (${decimal(low.model, 1)}%)`;
  const tip = (who: "model" | "guess") => (group: Group): string =>
    `${group.label}: ${who} ${decimal(group[who], 1)}% of ${counted(group.count, "sample")}`;
  return figure({
    title,
    note,
    drawing: draw(label, {
      x: {
        type: "point",
        domain,
        label: axis,
        tickSize: 0,
        ticks: domain.filter((_, i) => i % every === 0),
      },
      y: { grid: true, domain: [0, 100], ticks: 5, label: "acc@1, %" },
      r: { range: [2, 7], domain: [0, Math.max(...list.map(({ count }) => count))] },
      symbol: { type: "identity" },
      marks: [
        Plot.ruleY([0], { stroke: ink.rule }),
        Plot.line(list, { x: "label", y: "guess", stroke: ink.guess, strokeDasharray: "4 3" }),
        Plot.dot(list, {
          ...{ x: "label", y: "guess", r: "count", stroke: ink.guess, fill: ink.paper },
          strokeWidth: 1.75,
          title: tip("guess"),
        }),
        Plot.ruleX(list, {
          ...{ x: "label", y1: (g: Group) => g.interval.low, y2: (g: Group) => g.interval.high },
          stroke: ink.model,
          strokeWidth: 1.5,
          strokeOpacity: 0.5,
        }),
        Plot.line(list, { x: "label", y: "model", stroke: ink.model, strokeWidth: 2 }),
        Plot.dot(list, {
          x: "label",
          y: "model",
          r: "count",
          fill: ink.model,
          title: tip("model"),
        }),
      ],
    }),
    numbers: groupTable(title, axis, list),
  });
}

function peopleFigure(list: readonly Group[]): Html {
  const ahead = list.filter(({ model, guess }) => model > guess).length;
  const behind = list.filter(({ model, guess }) => model < guess).length;
  const shown = list.toSorted((a, b) => b.count - a.count).slice(0, MOST_PEOPLE);
  const title = "By person";
  const note = `Each dot is one of ${list.length} people. The model is better for ${ahead} of ` +
    `them, above the line, and the guess for ${behind}, below.`;
  const numbers = groupTable(
    shown.length < list.length
      ? `${title}, the ${MOST_PEOPLE} with the most samples of ${list.length}`
      : title,
    "person",
    shown,
  );
  return figure({
    title,
    note,
    drawing: draw(`${title}: ${note}`, {
      height: 360,
      x: { domain: [0, 100], label: "guess, acc@1 %", grid: true, ticks: 5 },
      y: { domain: [0, 100], label: "model, acc@1 %", grid: true, ticks: 5 },
      r: { range: [2, 9], domain: [0, Math.max(...list.map(({ count }) => count))] },
      marks: [
        Plot.link([0], { x1: 0, y1: 0, x2: 100, y2: 100, stroke: ink.muted }),
        Plot.dot(list, {
          ...{ x: "guess", y: "model", r: "count", fill: ink.model, fillOpacity: 0.45 },
          stroke: ink.model,
          title: (group: Group) =>
            `person ${group.label}: model ${decimal(group.model, 1)}%, guess ${
              decimal(group.guess, 1)
            }% of ${counted(group.count, "sample")}`,
        }),
      ],
    }),
    numbers,
  });
}
