import * as Plot from "@observablehq/plot";
import type { Place } from "../../data/places.ts";
import type { Judged } from "../answers.ts";
import { quantile } from "../bootstrap.ts";
import { counted, grouped, length } from "../format.ts";
import { figure, html, table } from "../html.ts";
import { key } from "../key.ts";
import type { Section } from "../page.ts";
import { draw, ink } from "../plot.ts";
import { placeName } from "./mistakes.ts";

const METRES_PER_DEGREE = 111_195;
/** Dots of places nobody asked about, more than which only make the file large. */
const MOST_PLACES = 1500;
/** Lines from first choices to places visited. */
const MOST_LINKS = 60;
const WIDTH = 640;

/** A place of the person on the map. */
interface Spot extends Place {
  /** How often it was the target. */
  readonly visited: number;
  /** How often it was the first choice. */
  readonly predicted: number;
  /** How often both. */
  readonly right: number;
}

/** The person of the samples of index `i`. */
const personOf = ({ samples }: Judged, i: number): number =>
  samples[i].user_X[samples[i].user_X.length - 1];

/** The person with the most targets that are on the map; undefined if there is none. */
export function mostVisible(
  judged: Judged,
  places: ReadonlyMap<number, Place>,
): number | undefined {
  const counts = new Map<number, number>();
  judged.samples.forEach(({ Y }, i) => {
    const person = personOf(judged, i);
    if (places.has(Y)) counts.set(person, (counts.get(person) ?? 0) + 1);
  });
  return [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0]?.[0];
}

/** Where a person went, and where the model expected them. */
export function mapSection(
  judged: Judged,
  places: ReadonlyMap<number, Place>,
  person: number,
): Section {
  const { samples, model } = judged;
  const own = samples.flatMap((_, i) => personOf(judged, i) === person ? [i] : []);
  const count = (ids: readonly number[]): ReadonlyMap<number, number> => {
    const counts = new Map<number, number>();
    for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
    return counts;
  };
  const visited = count(own.map((i) => model.targets[i]));
  const predicted = count(own.map((i) => model.predictions[i]));
  const right = count(own.filter((i) => model.ranks[i] === 1).map((i) => model.targets[i]));
  const spots: readonly Spot[] = [...new Set([...visited.keys(), ...predicted.keys()])]
    .filter((id) => places.has(id))
    .map((id) => ({
      ...places.get(id)!,
      visited: visited.get(id) ?? 0,
      predicted: predicted.get(id) ?? 0,
      right: right.get(id) ?? 0,
    }))
    .sort((a, b) => b.visited + b.predicted - a.visited - a.predicted || a.id - b.id);
  const box = boxOf(spots);
  const inside = ({ latitude, longitude }: Place): boolean =>
    latitude >= box.south && latitude <= box.north && longitude >= box.west &&
    longitude <= box.east;
  const shown = spots.filter(inside);
  const everywhere = [...places.values()].filter(inside);
  const links = [
    ...Map.groupBy(
      own.filter((i) => model.ranks[i] > 1),
      (i) => `${model.predictions[i]} ${model.targets[i]}`,
    ).values(),
  ].map((group) => ({
    from: places.get(model.predictions[group[0]]),
    to: places.get(model.targets[group[0]]),
    count: group.length,
  })).filter(({ from, to }) => from && to && inside(from) && inside(to))
    .sort((a, b) => b.count - a.count).slice(0, MOST_LINKS);
  const at = { x: "longitude", y: "latitude" } as const;
  const bar = scaleBar(box);
  const most = Math.max(...shown.map((spot) => Math.max(spot.visited, spot.predicted)));
  const hits = own.filter((i) => model.ranks[i] === 1).length;
  const unknown = own.filter((i) => !places.has(model.targets[i])).length;
  const note = `${counted(own.length, "next visit")} of the ${judged.split} split; the first ` +
    `choice was right ${counted(hits, "time")}.` +
    (unknown > 0
      ? ` ${grouped(unknown)} went to places that training never saw, which are not drawn.`
      : "") +
    (shown.length < spots.length
      ? ` ${counted(spots.length - shown.length, "place")} far away ${
        spots.length - shown.length === 1 ? "is" : "are"
      } outside the map.`
      : "");
  return {
    id: "map",
    title: `Map of person ${person}`,
    content: html`
      ${key([
        { mark: "ink", label: "where the person went next" },
        { mark: "model", ring: true, label: "the model’s first choice" },
        { mark: "guess", dash: false, label: "from a wrong first choice to the place visited" },
        { mark: "muted", dash: false, label: "outlines: where everybody’s places lie dense" },
      ])}
      ${figure({
        title: "Visits and first choices",
        note:
          `${note} Circles are as large as there were visits or choices; where a ring fits its dot, the two agree.`,
        wide: true,
        drawing: draw(
          `Map of ${shown.length} places of person ${person}. ${note} The table lists the most visited ones.`,
          {
            width: WIDTH,
            height: heightOf(box),
            style: { fontSize: "16px" },
            margin: 1,
            marginTop: 1,
            marginBottom: 1,
            projection: {
              type: "mercator",
              domain: {
                type: "MultiPoint",
                coordinates: [[box.west, box.south], [box.east, box.north]],
              },
              inset: 6,
            },
            r: { range: [0, 22], domain: [0, most], type: "sqrt" },
            marks: [
              Plot.frame({ stroke: ink.rule }),
              Plot.density(everywhere, {
                ...at,
                bandwidth: 18,
                thresholds: 7,
                stroke: ink.muted,
                strokeOpacity: 0.45,
                fill: ink.muted,
                fillOpacity: 0.05,
                clip: "frame",
              }),
              Plot.dot(thinned(everywhere), { ...at, r: 1.1, fill: ink.muted, fillOpacity: 0.7 }),
              Plot.link(links, {
                x1: ({ from }) => from!.longitude,
                y1: ({ from }) => from!.latitude,
                x2: ({ to }) => to!.longitude,
                y2: ({ to }) => to!.latitude,
                stroke: ink.guess,
                strokeOpacity: 0.5,
                strokeWidth: ({ count }) => Math.min(4, 0.8 + count / 10),
              }),
              Plot.dot(shown.filter(({ visited }) => visited > 0), {
                ...{ ...at, r: "visited", fill: ink.text, fillOpacity: 0.6 },
                title: ({ id, visited }: Spot) => `place ${id}: visited ${visited} times`,
              }),
              Plot.dot(shown.filter(({ predicted }) => predicted > 0), {
                ...{ ...at, r: "predicted", stroke: ink.model, strokeWidth: 2.5 },
                title: ({ id, predicted }: Spot) =>
                  `place ${id}: the first choice ${predicted} times`,
              }),
              Plot.text(named(shown, box), {
                ...at,
                text: ({ id, name }: Spot) => name ?? String(id),
                dy: -14,
                fontWeight: 600,
                fill: ink.text,
                stroke: ink.paper,
                strokeWidth: 4,
              }),
              Plot.link([bar], {
                ...{ x1: "west", y1: "at", x2: "east", y2: "at", stroke: ink.text },
                strokeWidth: 2,
              }),
              Plot.text([bar], {
                ...{ x: "west", y: "at", text: "label", textAnchor: "start", dy: -10 },
                fill: ink.text,
                stroke: ink.paper,
                strokeWidth: 4,
              }),
            ],
          },
        ),
      })}
      ${table(
        "The person’s places, the most visited and chosen ones",
        [{ heading: "place", words: true }, { heading: "visited" }, { heading: "first choice" }, {
          heading: "right",
        }],
        spots.slice(0, 8).map((spot) => [
          placeName(spot.id, places),
          grouped(spot.visited),
          grouped(spot.predicted),
          grouped(spot.right),
        ]),
      )}
    `,
  };
}

/** The most visited places whose names do not cover each other. */
function named(spots: readonly Spot[], { west, east, south, north }: Box): readonly Spot[] {
  const found: Spot[] = [];
  for (const spot of spots.slice(0, 8)) {
    const free = found.every((other) =>
      Math.abs(other.longitude - spot.longitude) > 0.14 * (east - west) ||
      Math.abs(other.latitude - spot.latitude) > 0.08 * (north - south)
    );
    if (free) found.push(spot);
  }
  return found;
}

/** A box of degrees. */
interface Box {
  readonly west: number;
  readonly east: number;
  readonly south: number;
  readonly north: number;
}

/** Where nearly all visits and first choices lie, with a margin; never less than a kilometre. */
function boxOf(spots: readonly Spot[]): Box {
  const side = (of: (spot: Spot) => number): readonly [number, number] => {
    const values = spots.flatMap((spot) =>
      Array<number>(spot.visited + spot.predicted).fill(of(spot))
    ).sort((a, b) => a - b);
    return [quantile(values, 0.02), quantile(values, 0.98)];
  };
  const [south, north] = side(({ latitude }) => latitude);
  const [west, east] = side(({ longitude }) => longitude);
  const perLongitude = METRES_PER_DEGREE * Math.cos((south + north) / 2 * Math.PI / 180);
  const metres = Math.max(
    1000,
    (north - south) * METRES_PER_DEGREE,
    0.6 * (east - west) * perLongitude,
  );
  const margin = 0.15 * metres;
  // Neither a strip nor a chimney.
  const grow = (low: number, high: number, least: number): readonly [number, number] => {
    const more = Math.max(0, least - (high - low)) / 2;
    return [low - more, high + more];
  };
  const [s, n] = grow(south, north, 0.6 * metres / METRES_PER_DEGREE);
  const [w, e] = grow(west, east, metres / perLongitude);
  return {
    west: w - margin / perLongitude,
    east: e + margin / perLongitude,
    south: s - margin / METRES_PER_DEGREE,
    north: n + margin / METRES_PER_DEGREE,
  };
}

/** The height in which a box fills the width. */
function heightOf({ west, east, south, north }: Box): number {
  const mercator = (latitude: number): number =>
    Math.log(Math.tan(Math.PI / 4 + latitude * Math.PI / 360));
  const ratio = (mercator(north) - mercator(south)) / ((east - west) * Math.PI / 180);
  return Math.round(Math.min(1, Math.max(0.4, ratio)) * WIDTH);
}

/** Every n-th place, so that there are not too many. */
function thinned(places: readonly Place[]): readonly Place[] {
  const every = Math.ceil(places.length / MOST_PLACES);
  return places.filter((_, i) => i % every === 0);
}

/** A line of a round length of about a fifth of the width. */
function scaleBar({ west, east, south, north }: Box) {
  const latitude = south + 0.04 * (north - south);
  const perDegree = METRES_PER_DEGREE * Math.cos(latitude * Math.PI / 180);
  const rough = (east - west) * perDegree / 5;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const metres = ([5, 2, 1].find((n) => n * ten <= rough) ?? 1) * ten;
  const from = west + 0.03 * (east - west);
  return { west: from, east: from + metres / perDegree, at: latitude, label: length(metres) };
}
