import * as Plot from "@observablehq/plot";
import type { Place } from "../../data/places.ts";
import type { Judged } from "../answers.ts";
import { quantile } from "../bootstrap.ts";
import { counted, grouped, length } from "../format.ts";
import { figure, type Html, html, table } from "../html.ts";
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

/** A person's next visits and what the model chose. */
interface PersonVisits {
  /** Their places with coordinates, the most visited and chosen first. */
  readonly spots: readonly Spot[];
  /** From wrong first choices to the places visited, the most frequent first. */
  readonly misses: readonly { readonly from: Place; readonly to: Place; readonly count: number }[];
  /** Samples of theirs. */
  readonly count: number;
  /** Right first choices. */
  readonly hits: number;
  /** Targets without coordinates. */
  readonly unknown: number;
}

function visitsOf(
  judged: Judged,
  places: ReadonlyMap<number, Place>,
  person: number,
): PersonVisits {
  const { targets, predictions, ranks } = judged.model;
  const own = judged.samples.flatMap((_, i) => personOf(judged, i) === person ? [i] : []);
  const counts = (ids: readonly number[]): ReadonlyMap<number, number> => {
    const found = new Map<number, number>();
    for (const id of ids) found.set(id, (found.get(id) ?? 0) + 1);
    return found;
  };
  const visited = counts(own.map((i) => targets[i]));
  const predicted = counts(own.map((i) => predictions[i]));
  const right = own.filter((i) => ranks[i] === 1);
  const rightAt = counts(right.map((i) => targets[i]));
  const spots = [...new Set([...visited.keys(), ...predicted.keys()])]
    .filter((id) => places.has(id))
    .map((id) => ({
      ...places.get(id)!,
      visited: visited.get(id) ?? 0,
      predicted: predicted.get(id) ?? 0,
      right: rightAt.get(id) ?? 0,
    }))
    .sort((a, b) => b.visited + b.predicted - a.visited - a.predicted || a.id - b.id);
  const wrong = own.filter((i) => ranks[i] > 1);
  const misses = [...Map.groupBy(wrong, (i) => `${predictions[i]} ${targets[i]}`).values()]
    .flatMap((group) => {
      const [from, to] = [places.get(predictions[group[0]]), places.get(targets[group[0]])];
      return from === undefined || to === undefined ? [] : [{ from, to, count: group.length }];
    })
    .sort((a, b) => b.count - a.count);
  return {
    spots,
    misses,
    count: own.length,
    hits: right.length,
    unknown: own.filter((i) => !places.has(targets[i])).length,
  };
}

/** Where a person went, and where the model expected them. */
export function mapSection(
  judged: Judged,
  places: ReadonlyMap<number, Place>,
  person: number,
): Section {
  const visits = visitsOf(judged, places, person);
  const { spots, count, hits, unknown } = visits;
  const onPlane = planeAround(spots[0]);
  const box = boxOf(spots, onPlane);
  const outside = spots.filter((spot) => !isInside(onPlane(spot), box)).length;
  const note = `${counted(count, "next visit")} of the ${judged.split} split; the first choice ` +
    `was right ${counted(hits, "time")}.` +
    (unknown > 0
      ? ` ${grouped(unknown)} went to places that training never saw, which are not drawn.`
      : "") +
    (outside > 0
      ? ` ${counted(outside, "place")} far away ${outside === 1 ? "is" : "are"} outside the map.`
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
        drawing: drawMap(
          `Map of ${spots.length - outside} places of person ${person}. ${note} The table lists ` +
            "the most visited ones.",
          visits,
          places,
          box,
          onPlane,
        ),
      })}
      ${table(
        "The person’s places, the most visited and chosen ones",
        [
          { heading: "place", words: true },
          { heading: "visited" },
          { heading: "first choice" },
          { heading: "right" },
        ],
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

function drawMap(
  label: string,
  { spots, misses }: PersonVisits,
  places: ReadonlyMap<number, Place>,
  box: Box,
  onPlane: Plane,
): Html {
  const inBox = <P extends Place>(list: Iterable<P>): readonly (P & Point)[] =>
    [...list].map((place) => ({ ...place, ...onPlane(place) }))
      .filter((point) => isInside(point, box));
  const shown = inBox(spots);
  const everywhere = inBox(places.values());
  const links = misses
    .map(({ from, to, count }) => ({ from: onPlane(from), to: onPlane(to), count }))
    .filter(({ from, to }) => isInside(from, box) && isInside(to, box))
    .slice(0, MOST_LINKS);
  const most = Math.max(...shown.map(({ visited, predicted }) => Math.max(visited, predicted)));
  const bar = scaleBar(box);
  const at = { x: "x", y: "y" } as const;
  const words = { fill: ink.text, stroke: ink.paper, strokeWidth: 4 } as const;
  return draw(label, {
    width: WIDTH,
    height: Math.round(WIDTH * (box.north - box.south) / (box.east - box.west)),
    style: { fontSize: "16px" },
    margin: 1,
    marginTop: 1,
    marginBottom: 1,
    x: { domain: [box.west, box.east], axis: null },
    y: { domain: [box.south, box.north], axis: null },
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
        x1: ({ from }) => from.x,
        y1: ({ from }) => from.y,
        x2: ({ to }) => to.x,
        y2: ({ to }) => to.y,
        stroke: ink.guess,
        strokeOpacity: 0.5,
        strokeWidth: ({ count }) => Math.min(4, 0.8 + count / 10),
      }),
      Plot.dot(shown.filter(({ visited }) => visited > 0), {
        ...{ ...at, r: "visited", fill: ink.text, fillOpacity: 0.6 },
        title: ({ id, visited }: Spot) => `place ${id}: visited ${counted(visited, "time")}`,
      }),
      Plot.dot(shown.filter(({ predicted }) => predicted > 0), {
        ...{ ...at, r: "predicted", stroke: ink.model, strokeWidth: 2.5 },
        title: ({ id, predicted }: Spot) =>
          `place ${id}: the first choice ${counted(predicted, "time")}`,
      }),
      Plot.text(named(shown, box), {
        ...{ ...at, ...words, dy: -14, fontWeight: 600 },
        text: ({ id, name = String(id) }: Spot) =>
          name.length > 24 ? `${name.slice(0, 23)}…` : name,
      }),
      Plot.link([bar], {
        x1: "west",
        y1: "y",
        x2: "east",
        y2: "y",
        stroke: ink.text,
        strokeWidth: 2,
      }),
      Plot.text([bar], {
        ...words,
        x: "west",
        y: "y",
        text: "label",
        textAnchor: "start",
        dy: -10,
      }),
    ],
  });
}

/** Metres east and north of an origin. */
interface Point {
  readonly x: number;
  readonly y: number;
}

/** Lays places on a plane. */
type Plane = (place: Place) => Point;

/**
 * A plane that touches the earth at a place: a map of a town needs no other projection, and it has
 * neither poles nor a date line.
 */
function planeAround({ latitude, longitude }: Place): Plane {
  const perLongitude = METRES_PER_DEGREE * Math.cos(latitude * Math.PI / 180);
  return (place) => {
    const east = ((place.longitude - longitude) % 360 + 540) % 360 - 180;
    return { x: east * perLongitude, y: (place.latitude - latitude) * METRES_PER_DEGREE };
  };
}

/** Sides of a map in metres. */
interface Box {
  readonly west: number;
  readonly east: number;
  readonly south: number;
  readonly north: number;
}

function isInside({ x, y }: Point, { west, east, south, north }: Box): boolean {
  return x >= west && x <= east && y >= south && y <= north;
}

/**
 * Where nearly all visits and first choices lie, with a margin: at least a kilometre high or wide, and
 * neither a strip nor a chimney.
 */
function boxOf(spots: readonly Spot[], onPlane: Plane): Box {
  const side = (of: (point: Point) => number): readonly [number, number] => {
    const values = spots.flatMap((spot) =>
      Array<number>(spot.visited + spot.predicted).fill(of(onPlane(spot)))
    ).sort((a, b) => a - b);
    return [quantile(values, 0.02), quantile(values, 0.98)];
  };
  const [south, north] = side(({ y }) => y);
  const [west, east] = side(({ x }) => x);
  const size = Math.max(1000, north - south, east - west);
  const grow = (low: number, high: number, least: number): readonly [number, number] => {
    const more = Math.max(0, least - (high - low)) / 2 + 0.15 * size;
    return [low - more, high + more];
  };
  const [bottom, top] = grow(south, north, 0.5 * size);
  const [left, right] = grow(west, east, size);
  return { west: left, east: right, south: bottom, north: top };
}

/** The most visited places whose names do not cover each other. */
function named(
  spots: readonly (Spot & Point)[],
  { west, east, south, north }: Box,
): readonly (Spot & Point)[] {
  const found: (Spot & Point)[] = [];
  for (const spot of spots.slice(0, 8)) {
    const free = found.every(({ x, y }) =>
      Math.abs(x - spot.x) > 0.14 * (east - west) || Math.abs(y - spot.y) > 0.08 * (north - south)
    );
    if (free) found.push(spot);
  }
  return found;
}

/** Every n-th place, so that there are not too many. */
function thinned<P>(places: readonly P[]): readonly P[] {
  const every = Math.ceil(places.length / MOST_PLACES);
  return places.filter((_, i) => i % every === 0);
}

/** A line of a round length of about a fifth of the width. */
function scaleBar({ west, east, south, north }: Box) {
  const rough = (east - west) / 5;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const metres = ([5, 2, 1].find((n) => n * ten <= rough) ?? 1) * ten;
  const start = west + 0.03 * (east - west);
  return {
    west: start,
    east: start + metres,
    y: south + 0.04 * (north - south),
    label: length(metres),
  };
}
