import { rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import denoConfig from "../../deno.json" with { type: "json" };
import { printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { readWholeFile } from "../core/whole_file.ts";
import { formatPlaces } from "../data/places.ts";
import { writeSamples } from "../data/read_samples.ts";
import { writeFile } from "../train/run_directory.ts";
import { type Database, openDatabase } from "./database.ts";
import { digestFiles, type FileDigest, findInput, type Format, type Input } from "./input.ts";
import { type BadRows, type Kind, type Loaded, loadRows, loadStaypoints } from "./load.ts";
import { cluster, placeCenters, type Point } from "./cluster.ts";
import type { Rules } from "./rules.ts";
import {
  type DetectedStays,
  isTrackedLongEnough,
  mergeStays,
  type Stay,
  stayDetector,
  type Track,
} from "./stays.ts";
import { type PreparedSamples, toSamples, toVisits, type Visit } from "./visits.ts";

/** What {@link prepare} makes samples of, and how. */
export interface PrepareOptions {
  /** File or folder of raw data. */
  readonly input: string;
  /** What it holds; `auto`: seen from names and the first line. */
  readonly format: Format | "auto";
  /** Prefix of the files to write. */
  readonly out: string;
  /** The rules. */
  readonly rules: Rules;
  /** Columns of CSV and Parquet by what they hold: user, time, lat, lon, end, place. */
  readonly columns: Readonly<Record<string, string>>;
  /** What rows of CSV and Parquet are; default by their columns. */
  readonly kind?: Kind;
  /** What to do about rows that hold no fix or visit. */
  readonly badRows: BadRows;
  /** IANA name of local time; default UTC, for Foursquare each row's own offset. */
  readonly timezone?: string;
  /** JSON file of the ids of staypoints that may be targets. */
  readonly validIds?: string;
  /** Memory of the database in GiB. */
  readonly memory: number;
  /** Folder for the database's files; default the system's for temporary files. */
  readonly temporary?: string;
  /** Whether files that are there are replaced. */
  readonly force: boolean;
}

/** Tells whoever waits how far it is. */
export interface PrepareProgress {
  /** Says what begins, or what came of it. */
  readonly note: (text: string) => void;
  /** So many fixes of all have been looked at. */
  readonly fixes: (done: number, total: number) => void;
}

/** What a rule kept and dropped. */
export interface RuleCount {
  /** The rule in words. */
  readonly rule: string;
  /** What is counted: `fixes`. */
  readonly of: string;
  /** How many are left. */
  readonly kept: number;
  /** How many are not. */
  readonly dropped: number;
}

/** All that is needed to make a data set again, and to see whether it is the same. */
export interface Manifest {
  /** Versions of what made it. */
  readonly versions: Readonly<Record<string, string>>;
  /** What the input held. */
  readonly format: Format;
  /** The rules. */
  readonly rules: Rules;
  /** Other options that count. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Local time: an IANA name, or `as recorded` for each row's own offset. */
  readonly timezone: string;
  /** The files read. */
  readonly inputs: readonly FileDigest[];
  /** What each rule kept and dropped, in their order. */
  readonly counts: readonly RuleCount[];
  /** Sizes of the tables that a model needs, id 0 and for places also 1 included. */
  readonly tables: { readonly totalLocNum: number; readonly totalUserNum: number };
  /** Identifiers of the people in the input, that of user id 1 first. */
  readonly users: readonly string[];
  /** The other files written. */
  readonly outputs: readonly FileDigest[];
}

const SPLITS = ["train", "validation", "test"] as const;

/** Visits with all that is known of their users and places. */
export interface Prepared {
  readonly visits: readonly Visit[];
  readonly userIds: (user: number) => string;
  /** Where places are and what they are called; undefined where nothing tells. */
  readonly places?: (place: number) => Point & { readonly name: string };
  readonly counts: readonly RuleCount[];
}

/**
 * Makes `<out>_train.jsonl.gz`, `_validation` and `_test`, `<out>_places.csv` (not for staypoints,
 * which have no coordinates) and `<out>_manifest.json` of raw data. The same input and options give
 * the same bytes. All files appear when all are complete.
 *
 * @throws {InputError} If the input cannot be read or no user is left, or a file is there already.
 */
export async function prepare(
  options: PrepareOptions,
  progress: PrepareProgress,
): Promise<Manifest> {
  const { out, rules } = options;
  checkTimezone(options.timezone);
  await checkOutputs(out, options.force);
  const input = await findInput(options.input, options.format);
  progress.note(`reading ${count(input.files.length, "file")} as ${input.format}`);
  const inputs = [
    ...await digestFiles(input.files, options.input),
    ...options.validIds === undefined
      ? []
      : await digestFiles([options.validIds], dirname(options.validIds)),
  ];
  const folder = await Deno.makeTempDir({ dir: options.temporary, prefix: "gatewise_prepare_" });
  const folders = [folder];
  const removeAndExit = (): void => {
    for (const each of folders) rmSync(each, { recursive: true, force: true });
    Deno.exit(130);
  };
  Deno.addSignalListener("SIGINT", removeAndExit);
  try {
    using database = await openDatabase({ memory: options.memory, folder });
    const prepared = await readVisits(database, input, options, progress);
    const samples = toSamples(prepared.visits, rules);
    const all = new Set(prepared.visits.map(({ user }) => user)).size;
    const empty = Object.entries(samples.counts).find(([, samples]) => samples === 0);
    if (empty !== undefined) {
      const where = rules.allParts ? "all three parts" : empty[0];
      throw new InputError(
        `${options.input}: none of ${
          count(all, "user")
        } has samples in ${where}: they need visits ` +
          `over more than ${
            count(rules.historyDays, "day")
          } there, ${rules.minVisits} or more before a ` +
          `target; relax --history-days, --min-visits or --split` +
          (rules.allParts ? ", or give --users in-training" : ""),
      );
    }
    const counts = [
      ...prepared.counts,
      kept(
        `with samples in ${rules.allParts ? "all three parts" : "training"}`,
        "users",
        all,
        samples.users.length,
      ),
      kept("of these users", "visits", prepared.visits.length, samples.visits),
    ];
    const [[duckdb]] = await database.all("SELECT version()");
    return await write(options, folders, samples, prepared, {
      versions: { gatewise: denoConfig.version, duckdb: String(duckdb), deno: Deno.version.deno },
      format: input.format,
      rules,
      options: { columns: options.columns, kind: options.kind, badRows: options.badRows },
      timezone: options.timezone ?? (input.format === "foursquare" ? "as recorded" : "UTC"),
      inputs,
      counts,
      tables: {
        totalLocNum: samples.places.length + 2,
        totalUserNum: samples.users.length + 1,
      },
      users: samples.users.map(prepared.userIds),
    });
  } finally {
    Deno.removeSignalListener("SIGINT", removeAndExit);
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Reads raw data as visits, by the rules.
 *
 * @throws {InputError} If they cannot be read, or no visit is left.
 */
export async function readVisits(
  database: Database,
  input: Input,
  options: Pick<PrepareOptions, "rules" | "timezone" | "columns" | "kind" | "badRows" | "validIds">,
  progress: PrepareProgress,
): Promise<Prepared> {
  try {
    return input.format === "staypoints"
      ? await prepareStaypoints(database, input, options)
      : await preparePositions(database, input, options, progress);
  } catch (error) {
    // DuckDB does not always say what it read.
    if (!(error instanceof InputError) || error.message.includes(input.path)) throw error;
    throw new InputError(`${input.path}: ${error.message}`, { cause: error });
  }
}

async function prepareStaypoints(
  database: Database,
  { files: [file] }: Input,
  { validIds }: Pick<PrepareOptions, "validIds">,
): Promise<Prepared> {
  const targets = validIds === undefined ? undefined : await readIds(validIds);
  const visits = await loadStaypoints(database, file, targets);
  const valid = visits.filter(({ target }) => target !== false).length;
  const counts = targets === undefined
    ? [kept("read", "staypoints", visits.length, visits.length)]
    : [
      kept("read", "staypoints", visits.length, visits.length),
      kept("may be a target", "staypoints", visits.length, valid),
    ];
  return { visits, userIds: String, counts };
}

const MAX_IDS = 64 * 2 ** 20;

async function readIds(path: string): Promise<ReadonlySet<number>> {
  let ids: unknown;
  try {
    const bytes = await readWholeFile(path, MAX_IDS);
    if (bytes === undefined) throw new InputError(`${path}: is larger than 64 MiB`);
    ids = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    if (error instanceof InputError) throw error;
    const [reason] = (error as Error).message.split("\n");
    throw new InputError(`${path}: cannot be read: ${printable(reason, 120)}`);
  }
  if (!Array.isArray(ids) || !ids.every(Number.isInteger)) {
    throw new InputError(`${path}: must be a JSON list of the ids of staypoints: [9, 10, 11]`);
  }
  return new Set(ids);
}

async function preparePositions(
  database: Database,
  input: Input,
  { rules, timezone, columns, kind, badRows }: Omit<Parameters<typeof readVisits>[2], "validIds">,
  progress: PrepareProgress,
): Promise<Prepared> {
  const loaded = await loadRows(database, input, { columns, kind, badRows });
  const bad = Object.values(loaded.faults).reduce((a, b) => a + b, 0);
  const total = loaded.rows - bad - loaded.unplaced;
  progress.note(
    `${count(total, loaded.kind === "fixes" ? "fixe" : "visit")} of ${
      count(loaded.users.length, "user")
    }`,
  );
  const counts: RuleCount[] = [
    ...Object.entries(loaded.faults).map(([fault, n]) =>
      kept(`rows with fault: ${fault}`, "rows", loaded.rows, loaded.rows - n)
    ),
    kept("not at 0, 0, which stands for no position", "rows", loaded.rows - bad, total),
  ];
  const found = loaded.kind === "fixes"
    ? await detectStays(database, rules, total, progress)
    : await staysOfVisits(database, loaded);
  const distinct = total - found.duplicates;
  counts.push(
    kept("not repeated", loaded.kind, total, distinct),
    {
      rule: `${found.unordered.toLocaleString("en-US")} out of order, sorted by time`,
      of: loaded.kind,
      kept: distinct,
      dropped: 0,
    },
  );
  let stays = found.stays;
  if (loaded.kind === "fixes") {
    if (stays.length === 0) {
      throw new InputError(
        `${input.path}: nobody stays within ${rules.stayMeters} m for ${rules.stayMinutes} min; ` +
          "relax --stay-meters and --stay-minutes, or --kind visits if each row is a visit",
      );
    }
    counts.push({
      rule: `stays: within ${rules.stayMeters} m for ${rules.stayMinutes} min`,
      of: "stays",
      kept: stays.length,
      dropped: 0,
    });
  }
  const narrow = (rule: string, keep: (stay: Stay) => boolean): void => {
    const before = stays.length;
    stays = stays.filter(keep);
    counts.push(kept(rule, "stays", before, stays.length));
    if (stays.length === 0) {
      throw new InputError(`${input.path}: no stay of ${before} is left by the rule: ${rule}`);
    }
  };
  const users = new Set(
    found.tracks.filter((track) => isTrackedLongEnough(track, rules)).map(({ user }) => user),
  );
  const tracked = `tracked over ${rules.minDays} days and for ${rules.minWeeks} weeks`;
  counts.push(kept(tracked, "users", found.tracks.length, users.size));
  if (users.size === 0) {
    throw new InputError(
      `${input.path}: none of ${
        count(found.tracks.length, "user")
      } is ${tracked}; relax --min-days ` +
        "and --min-weeks",
    );
  }
  narrow("of these users", ({ user }) => users.has(user));
  if (loaded.kind === "fixes" || loaded.ends) {
    narrow(
      `activities: ${rules.activityMinutes} min or more`,
      ({ start, end }) => end - start >= rules.activityMinutes * 60_000,
    );
  }
  if (loaded.placeIds === undefined) {
    progress.note(`grouping ${count(stays.length, "stay")} into places`);
    const groups = cluster(stays, rules.placeMeters, rules.placeSamples);
    stays = stays.map((stay, i) => ({ ...stay, place: groups[i] }));
    narrow(
      `at places: ${rules.placeSamples} or more within ${rules.placeMeters} m`,
      ({ place }) => place! >= 0,
    );
  }
  const centers = placeCenters(stays, stays.map(({ place }) => place!));
  const merged = mergeStays(stays, rules);
  counts.push(
    kept(`after merging within ${rules.mergeMinutes} min`, "visits", stays.length, merged.length),
  );
  const offsets = timezone === undefined ? merged : merged.map(withoutOffset);
  return {
    visits: toVisits(offsets, timezone ?? "UTC"),
    userIds: (user) => loaded.users[user],
    places: (place) => ({ ...centers.get(place)!, name: loaded.placeNames?.[place] ?? "" }),
    counts,
  };
}

function withoutOffset({ offset: _, ...stay }: Stay): Stay {
  return stay;
}

async function detectStays(
  database: Database,
  rules: Rules,
  total: number,
  progress: PrepareProgress,
): Promise<DetectedStays> {
  const detector = stayDetector(rules);
  let done = 0;
  // The first one comes when all are sorted.
  progress.fixes(done, total);
  const sql = 'SELECT "user", t, lat, lon, row FROM fixes ORDER BY "user", t, row';
  for await (const columns of database.stream(sql)) {
    const [user, time, lat, lon, row] = columns as readonly (readonly number[])[];
    for (let i = 0; i < user.length; i++) detector.add(user[i], time[i], lat[i], lon[i], row[i]);
    progress.fixes(done += user.length, total);
  }
  return detector.end();
}

async function staysOfVisits(database: Database, { placeIds }: Loaded): Promise<DetectedStays> {
  const stays: Stay[] = [];
  const tracks: Track[] = [];
  let [duplicates, unordered, lastRow] = [0, 0, 0];
  let now: Stay[] = [];
  const place = placeIds === undefined ? "NULL" : "place";
  const sql = `SELECT "user", t, lat, lon, row, stop, "offset", ${place} FROM visits ` +
    'ORDER BY "user", t, row';
  for await (const columns of database.stream(sql)) {
    const [users, starts, lats, lons, rows, ends, offsets, places] =
      columns as readonly (readonly (number | null)[])[];
    for (let i = 0; i < users.length; i++) {
      const stay: Stay = {
        user: users[i]!,
        start: starts[i]!,
        end: ends[i]!,
        lat: lats[i]!,
        lon: lons[i]!,
        ...(places[i] === null ? {} : { place: places[i]! }),
        ...(offsets[i] === null ? {} : { offset: offsets[i]! }),
      };
      const track = tracks.at(-1);
      const isNewUser = track?.user !== stay.user;
      if (isNewUser || now[0].start !== stay.start) now = [];
      if (now.some((other) => isSameVisit(other, stay))) {
        duplicates++;
        continue;
      }
      now.push(stay);
      if (!isNewUser && rows[i]! < lastRow) unordered++;
      lastRow = rows[i]!;
      if (isNewUser) tracks.push({ user: stay.user, first: stay.start, last: stay.end });
      else tracks[tracks.length - 1] = { ...track!, last: Math.max(track!.last, stay.end) };
      stays.push(stay);
    }
  }
  return { stays, tracks, duplicates, unordered };
}

function isSameVisit(a: Stay, b: Stay): boolean {
  return a.end === b.end && a.lat === b.lat && a.lon === b.lon && a.place === b.place;
}

async function write(
  { out, force }: PrepareOptions,
  folders: string[],
  { samples, places, placeVisits }: PreparedSamples,
  prepared: Prepared,
  rest: Omit<Manifest, "outputs">,
): Promise<Manifest> {
  const parent = dirname(out);
  await Deno.mkdir(parent, { recursive: true });
  const folder = await Deno.makeTempDir({ dir: parent, prefix: ".gatewise_prepare_" });
  folders.push(folder);
  try {
    const names: string[] = [];
    for (const split of SPLITS) {
      names.push(`${basename(out)}_${split}.jsonl.gz`);
      await writeSamples(join(folder, names.at(-1)!), samples[split]());
    }
    if (prepared.places !== undefined) {
      names.push(`${basename(out)}_places.csv`);
      const rows = places.map((place, i) => {
        const { lat, lon, name } = prepared.places!(place);
        return { id: i + 2, latitude: lat, longitude: lon, visits: placeVisits[i], name };
      });
      await writeFile(join(folder, names.at(-1)!), formatPlaces(rows));
    }
    const outputs = await digestFiles(names.map((name) => join(folder, name)), folder);
    const manifest = { ...rest, outputs };
    names.push(`${basename(out)}_manifest.json`);
    await writeFile(join(folder, names.at(-1)!), `${JSON.stringify(manifest, null, 2)}\n`);
    await checkOutputs(out, force);
    for (const name of names) await Deno.rename(join(folder, name), join(parent, name));
    // Of an earlier data set that had more.
    const others = outputsOf(out).filter((path) => !names.includes(basename(path)));
    for (const path of others) await Deno.remove(path).catch(() => {});
    return manifest;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function outputsOf(out: string): readonly string[] {
  const ends = [...SPLITS.map((split) => `${split}.jsonl.gz`), "places.csv", "manifest.json"];
  return ends.map((end) => `${out}_${end}`);
}

async function checkOutputs(out: string, force: boolean): Promise<void> {
  if (basename(out) === "" || out.endsWith("/")) {
    throw new InputError(`--out ${out} is a folder: give a prefix: ${join(out, "tracks")}`);
  }
  if (force) return;
  for (const path of outputsOf(out)) {
    if (await Deno.stat(path).then(() => true, () => false)) {
      throw new InputError(
        `${path}: is there already; replace it with --force, or give another --out`,
      );
    }
  }
}

function checkTimezone(timezone: string | undefined): void {
  try {
    Intl.DateTimeFormat("en", { timeZone: timezone });
  } catch {
    throw new InputError(
      `--timezone ${timezone}: there is no such time zone; give an IANA name such as Asia/Shanghai`,
    );
  }
}

function kept(rule: string, of: string, before: number, after: number): RuleCount {
  return { rule, of, kept: after, dropped: before - after };
}

function count(n: number, what: string): string {
  return `${n.toLocaleString("en-US")} ${what}${n === 1 ? "" : "s"}`;
}
