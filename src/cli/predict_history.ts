/**
 * `deno task predict --history`: the next places of one person, and why.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { floors } from "../data/floors.ts";
import {
  formatLocalTime,
  type History,
  historySample,
  parseLocalTime,
  readHistory,
} from "../data/history.ts";
import type { Place } from "../data/places.ts";
import { readPlaces } from "../data/read_places.ts";
import type { Sample } from "../data/samples.ts";
import { loadData, loadPlaces, type SizedConfig } from "../train/data.ts";
import { UsageError } from "./options.ts";
import { print } from "./output.ts";

/** The reference's samples: days of history, and the visits that there are at least. */
const REFERENCE = { days: 7, minVisits: 3 };

/** What the command was asked. */
export interface HistoryOptions {
  /** CSV file of visits. */
  readonly history: string;
  /** Local time of the next visit. */
  readonly at: string | undefined;
  /** Id of the person, if training had them. */
  readonly user: number | undefined;
  /** CSV file of places. */
  readonly places: string | undefined;
  /** Metres from a place within which a position is that place. */
  readonly radius: number;
  /** How many places. */
  readonly top: number;
  /** Whether to print JSON. */
  readonly json: boolean;
}

/** A person's next places as JSON has them. */
interface Answer {
  readonly at: string;
  readonly visits: number;
  readonly user: number | null;
  readonly next: readonly (Partial<Place> & { readonly probability: number })[];
  readonly floors: Readonly<
    Record<string, Partial<Place> & { readonly probability: number; readonly rank: number }>
  >;
}

/**
 * Predicts the next places of a person whose visits are in a file.
 *
 * @param predict Gives the probabilities of all places for each of some samples.
 * @throws {InputError} If a file cannot be read or does not fit the model.
 */
export async function predictHistory(
  options: HistoryOptions,
  config: SizedConfig,
  predict: (samples: readonly Sample[]) => AsyncIterable<Float32Array>,
): Promise<void> {
  const { history: path, user, radius, top, json } = options;
  const { totalLocNum, totalUserNum } = config;
  if (user !== undefined && (user < 1 || user >= totalUserNum)) {
    throw new UsageError(
      `--user ${user}: the model knows the people 1 to ${
        totalUserNum - 1
      }; leave it out for another`,
    );
  }
  const at = options.at === undefined ? undefined : parseLocalTime(options.at, "--at");
  const places =
    await (options.places === undefined ? loadPlaces(config) : readPlaces(options.places));
  const visits = await readHistory(path, { places, totalLocNum, radius });
  const train = await trainingSamples(config);
  const history = historySample(visits, path, { ...rulesOf(train), at });
  const as = (id: number): Sample => ({
    ...history.sample,
    user_X: new Int32Array(history.sample.X.length).fill(id),
  });
  // A person whom training did not have is any of those whom it had, for all that is known.
  const people = user === undefined
    ? Array.from({ length: totalUserNum - 1 }, (_, i) => i + 1)
    : [user];
  const mean = new Float64Array(totalLocNum);
  for await (const probabilities of predict(people.map(as))) {
    probabilities.forEach((p, place) => mean[place] += p / people.length);
  }
  const answer = answerOf(history, as(user ?? 0), user, mean, places, train, top);
  print(json ? JSON.stringify(answer) : formatAnswer(answer, history, people.length));
}

/** What the floors count in; they are left out where it is not there any more. */
async function trainingSamples(config: SizedConfig): Promise<readonly Sample[]> {
  try {
    return (await loadData(config, ["train"])).samples.train;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(`without what guessing says: ${error.message}`);
    return [];
  }
}

/** The most days and the fewest visits that a history of the training samples has. */
function rulesOf(train: readonly Sample[]): { readonly days: number; readonly minVisits: number } {
  if (train.length === 0) return REFERENCE;
  return {
    days: train.reduce((most, { diff }) => diff.reduce((m, d) => Math.max(m, d), most), 0),
    minVisits: train.reduce((least, { X }) => Math.min(least, X.length), Infinity),
  };
}

function answerOf(
  history: History,
  sample: Sample,
  user: number | undefined,
  probabilities: Float64Array,
  places: readonly Place[],
  train: readonly Sample[],
  top: number,
): Answer {
  const byId = new Map(places.map((place) => [place.id, place]));
  const choice = (id: number): Partial<Place> & { readonly probability: number } => {
    const { visits: _, ...place } = byId.get(id) ?? { id };
    return { ...place, probability: probabilities[id] };
  };
  // Padding (0) is no place.
  const ranked = Array.from({ length: probabilities.length - 1 }, (_, i) => i + 1)
    .sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const opinions = train.length === 0 ? [] : floors.map(({ name, fit }) => {
    const { first } = fit(train)(sample);
    return [name, { ...choice(first), rank: ranked.indexOf(first) + 1 }] as const;
  });
  return {
    at: formatLocalTime(history.at),
    visits: sample.X.length,
    user: user ?? null,
    next: ranked.slice(0, top).map(choice),
    floors: Object.fromEntries(opinions),
  };
}

function formatAnswer(answer: Answer, { older }: History, people: number): string {
  const { at, visits, user, next } = answer;
  const who = user !== null
    ? `person ${user} of the training data`
    : `a person whom training did not have: the mean over the ${people} whom it had`;
  const percent = (p: number): string => `${(100 * p).toFixed(1)}%`.padStart(6);
  const lines = [
    `Next after ${visits} visits, at ${at}` +
    (older > 0 ? ` (${older} older ones left out)` : "") + `, for ${who}:`,
    ...next.map((place, i) =>
      `${String(i + 1).padStart(4)}. ${percent(place.probability)}  ${nameOf(place)}`
    ),
  ];
  const width = Math.max(...floors.map(({ label }) => label.length));
  const beside = floors.flatMap(({ name, label }) => {
    const opinion = answer.floors[name];
    return opinion === undefined ? [] : [
      `  ${label.padEnd(width)}  ${nameOf(opinion)}; the model's ${ordinal(opinion.rank)}, ${
        percent(opinion.probability).trim()
      }`,
    ];
  });
  if (beside.length > 0) lines.push("", "Why: what guessing without the model says", ...beside);
  return lines.join("\n");
}

function nameOf({ id, name, latitude, longitude }: Partial<Place>): string {
  if (id === 1) return "a place that training did not have";
  const where = latitude === undefined || longitude === undefined
    ? []
    : [`${latitude.toFixed(5)}, ${longitude.toFixed(5)}`];
  const more = [...(name === undefined ? [] : [name]), ...where];
  return more.length === 0 ? `place ${id}` : `place ${id} (${more.join("; ")})`;
}

function ordinal(n: number): string {
  const end = n % 100 >= 11 && n % 100 <= 13 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th";
  return `${n}${end} choice`;
}
