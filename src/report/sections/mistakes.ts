import { distance, type Place } from "../../data/places.ts";
import type { Judged } from "../answers.ts";
import { counted, decimal, grouped, length } from "../format.ts";
import { type Content, html, table } from "../html.ts";
import type { Section } from "../page.ts";

/** Rows of the table of confusions. */
const MOST = 12;

/** A place that was taken for another. */
export interface Confusion {
  /** The place visited. */
  readonly target: number;
  /** The place that the model ranked first. */
  readonly prediction: number;
  /** How often. */
  readonly count: number;
  /** Of how many people. */
  readonly people: number;
  /** The middle of the ranks that the place visited had. */
  readonly rank: number;
}

/** Pairs of places by how many right answers they cost, most first; then by id. */
export function confusions({ samples, model }: Judged): readonly Confusion[] {
  const wrong = samples.flatMap((_, i) => model.ranks[i] === 1 ? [] : [i]);
  return [...Map.groupBy(wrong, (i) => `${model.targets[i]} ${model.predictions[i]}`).values()]
    .map((group) => ({
      target: model.targets[group[0]],
      prediction: model.predictions[group[0]],
      count: group.length,
      people: new Set(group.map((i) => samples[i].user_X[0])).size,
      rank: group.map((i) => model.ranks[i]).sort((a, b) => a - b)[group.length >> 1],
    }))
    .sort((a, b) => b.count - a.count || a.target - b.target || a.prediction - b.prediction);
}

/** What a place is called: its name, its number, and where it is. */
export function placeName(id: number, places: ReadonlyMap<number, Place>): Content {
  if (id < 2) return "a place not seen in training";
  const place = places.get(id);
  return html`place ${id}${
    place?.name !== undefined && html`
      · ${place.name}
    `
  }${
    place !== undefined &&
    html`<small>${place.latitude.toFixed(4)}, ${place.longitude.toFixed(4)}</small>`
  }`;
}

/** What kinds of mistakes the model makes, and the confusions that cost most. */
export function mistakesSection(judged: Judged, places: ReadonlyMap<number, Place>): Section {
  const { samples, model } = judged;
  const wrong = samples.flatMap((_, i) => model.ranks[i] === 1 ? [] : [i]);
  if (wrong.length === 0) {
    return { id: "mistakes", title: "Mistakes", content: html`<p>There are none.</p>` };
  }
  const kinds: Record<"unseen" | "recent" | "other", number> = { unseen: 0, recent: 0, other: 0 };
  for (const i of wrong) {
    const { X, Y } = samples[i];
    kinds[Y < 2 ? "unseen" : X.includes(Y) ? "recent" : "other"]++;
  }
  const share = (count: number): string => `${decimal(100 * count / wrong.length, 1)}%`;
  // Of places that training never saw the first table has said all there is.
  const pairs = confusions(judged).filter(({ target }) => target >= 2).slice(0, MOST);
  const located = pairs.some(({ target, prediction }) =>
    places.has(target) && places.has(prediction)
  );
  const between = (a: number, b: number): string => {
    const [one, other] = [places.get(a), places.get(b)];
    return one === undefined || other === undefined
      ? "–"
      : length(distance(one.latitude, one.longitude, other.latitude, other.longitude));
  };
  return {
    id: "mistakes",
    title: "Mistakes",
    content: html`
      ${table(
        `What the ${counted(wrong.length, "wrong first choice")} missed`,
        [{ heading: "the place visited was", words: true }, { heading: "times" }, {
          heading: "share",
        }],
        ([
          ["in the history that the model was given", kinds.recent],
          ["known from training, but not in the history", kinds.other],
          ["a place that training never saw", kinds.unseen],
        ] as const).map(([what, count]) => [what, grouped(count), share(count)]),
      )}
      ${pairs.length > 0 && table(
        "The confusions of known places that cost the most right answers",
        [
          { heading: "place visited", words: true },
          { heading: "first choice instead", words: true },
          { heading: "times" },
          { heading: "share of mistakes" },
          { heading: "people" },
          { heading: html`its rank<br>(median)` },
          ...(located ? [{ heading: "apart" }] : []),
        ],
        pairs.map(({ target, prediction, count, people, rank }) => [
          placeName(target, places),
          placeName(prediction, places),
          grouped(count),
          share(count),
          grouped(people),
          grouped(rank),
          ...(located ? [between(target, prediction)] : []),
        ]),
      )}
    `,
  };
}
