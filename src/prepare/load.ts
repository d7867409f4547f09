/**
 * Reading raw data into the database, whatever its columns are called and wherever they stand.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { describe, printable } from "../core/describe.ts";
import { suggestion } from "../core/suggestion.ts";
import { type Database, quote, quoteName } from "./database.ts";
import { firstLine, type Format, type Input, splitHeader } from "./input.ts";
import type { Visit } from "./visits.ts";

/** Columns of a CSV or Parquet file by what they hold. */
export interface Columns {
  /** The person. */
  readonly user: string;
  /** Start: ISO 8601 (without a zone it is UTC), or seconds or milliseconds since 1970. */
  readonly time: string;
  /** Degrees north. */
  readonly lat: string;
  /** Degrees east. */
  readonly lon: string;
  /** End of a stay, as `time`. */
  readonly end?: string;
  /** Identifier of the place. */
  readonly place?: string;
}

/** What is done about rows that hold no fix or visit. */
export type BadRows = "stop" | "skip";

/** What the rows of raw data are. */
export type Kind = "fixes" | "visits";

/** How raw data are read. */
export interface LoadOptions {
  /** Columns of CSV and Parquet; default those named as the keys of {@link Columns}. */
  readonly columns: Readonly<Record<string, string>>;
  /** What the rows are; default `visits` where there is an end or a place. */
  readonly kind?: Kind;
  /** What to do about rows that cannot be. */
  readonly badRows: BadRows;
}

/** Raw data in the database. */
export interface Loaded {
  /** What its rows are. */
  readonly kind: Kind;
  /** Whether visits have an end. */
  readonly ends: boolean;
  /** Rows in the files. */
  readonly rows: number;
  /** Rows that hold no fix or visit, by why. */
  readonly faults: Readonly<Record<string, number>>;
  /** Rows at latitude and longitude 0, which stand for no position. */
  readonly unplaced: number;
  /** Identifiers of the people, by number: whole numbers by size, texts by code points. */
  readonly users: readonly string[];
  /** Identifiers of the places, by number likewise, where the data have them. */
  readonly placeIds?: readonly string[];
  /** Names of the places, by number, where the data have them. */
  readonly placeNames?: readonly string[];
}

/** Files of one layout, and SQL for the texts of their columns. */
interface Layout {
  readonly files: readonly string[];
  /** A table of rows of texts, with `filename`. */
  readonly from: (files: readonly string[]) => string;
  readonly fields: Readonly<
    & Record<"user" | "time" | "lat" | "lon", string>
    & { [F in "end" | "place"]?: string }
    & {
      [F in "offset" | "name"]?: string;
    }
  >;
  /** SQL that reads a text as a time. */
  readonly timeOf: (field: string) => string;
  /** Lines before the first row. */
  readonly headerLines: number;
}

const FIELDS = ["user", "time", "lat", "lon", "end", "place"] as const;

const FAULTS: Readonly<Record<string, (row: Readonly<Record<string, string>>) => string>> = {
  "no user": () => "there is no user",
  "no time": ({ time }) =>
    `the time is ${time}: write it as 2009-01-31T12:00:00Z or as seconds since 1970`,
  "no offset": () => "the offset from UTC is not a number of minutes within a day",
  "no number": ({ lat, lon }) =>
    `lat is ${lat} and lon is ${lon}: both must be numbers, in degrees`,
  "out of range": ({ lat, lon }) =>
    `lat is ${lat} and lon is ${lon}: allowed are -90 to 90 and -180 to 180`,
  "no end": ({ end }) => `the end is ${end}: it must be a time`,
  "end before start": ({ time, end }) => `the end ${end} is before the start ${time}`,
  "no place": () => "there is no place",
};

/**
 * Reads fixes into the table `fixes` (user, t, lat, lon, row) or visits into `visits` (and stop, place,
 * "offset"), where users and places are numbers, times milliseconds since 1970, and `row` tells the
 * order in the files.
 *
 * @throws {InputError} If a file is cut short or damaged, a column is missing, there are no rows, or,
 * unless they are to be skipped, a row holds no fix or visit: file, row and value are named.
 */
export async function loadRows(
  database: Database,
  { path, format, files }: Input,
  { columns, kind: wanted, badRows }: LoadOptions,
): Promise<Loaded> {
  const layouts = await layoutsOf(database, format, files, columns);
  const [{ fields: has }] = layouts;
  const kind = wanted ?? (has.end !== undefined || has.place !== undefined ? "visits" : "fixes");
  await database.run(
    'CREATE TABLE raw ("user" VARCHAR, t DOUBLE, lat DOUBLE, lon DOUBLE, stop DOUBLE, ' +
      'place VARCHAR, "offset" DOUBLE, name VARCHAR, fault VARCHAR)',
  );
  for (const layout of layouts) {
    await database.run(`INSERT INTO raw ${selectRows(layout, layout.files)}`);
  }
  const faults = Object.fromEntries(
    (await database.all(
      "SELECT fault, count(*)::DOUBLE FROM raw WHERE fault IS NOT NULL GROUP BY 1 ORDER BY 1",
    )).map(([fault, count]) => [fault as string, count as number]),
  );
  const bad = Object.values(faults).reduce((a, b) => a + b, 0);
  const [[rows, unplaced]] = await database.all(
    "SELECT count(*)::DOUBLE, (count(*) FILTER (fault IS NULL AND lat = 0 AND lon = 0))::DOUBLE " +
      "FROM raw",
  ) as [[number, number]];
  if (rows === 0) throw new InputError(`${path}: holds no rows`);
  if (bad > 0 && badRows === "stop") await failAtFirst(database, layouts, bad);
  if (bad + unplaced === rows) throw new InputError(`${path}: none of the ${rows} rows is usable`);
  await database.run("DELETE FROM raw WHERE fault IS NOT NULL OR (lat = 0 AND lon = 0)");

  const users = await numberTexts(database, "user", "users");
  const hasPlaces = kind === "visits" && has.place !== undefined;
  const placeIds = hasPlaces ? await numberTexts(database, "place", "places") : undefined;
  const placeNames = hasPlaces && has.name !== undefined
    ? (await database.all(
      "SELECT min(name) FROM raw JOIN places ON raw.place = places.text GROUP BY places.n " +
        "ORDER BY places.n",
    )).map(([name]) => (name ?? "") as string)
    : placeIds;
  const more = kind === "fixes"
    ? ""
    : `, coalesce(stop, t) AS stop, "offset"${hasPlaces ? ", places.n AS place" : ""}`;
  await database.run(
    `CREATE TABLE ${kind} AS SELECT users.n AS "user", t, lat, lon, raw.rowid::DOUBLE AS row${more} ` +
      'FROM raw JOIN users ON raw."user" = users.text' +
      (hasPlaces ? " JOIN places ON raw.place = places.text" : ""),
  );
  await database.run("DROP TABLE raw");
  return {
    kind,
    ends: has.end !== undefined,
    rows,
    faults,
    unplaced,
    users,
    ...(placeIds === undefined ? {} : { placeIds, placeNames }),
  };
}

/** Numbers the texts of a column of `raw` in a new table (text, n). */
async function numberTexts(
  database: Database,
  column: string,
  table: string,
): Promise<readonly string[]> {
  const name = quoteName(column);
  // Whole numbers by size, as long as all of them are.
  await database.run(
    `CREATE TABLE ${table} AS WITH texts AS (SELECT DISTINCT ${name} AS text FROM raw), ` +
      "numbers AS (SELECT text, try_cast(text AS HUGEINT) AS number, " +
      "count(*) FILTER (try_cast(text AS HUGEINT) IS NULL) OVER () = 0 AS whole FROM texts) " +
      "SELECT text, (row_number() OVER (ORDER BY CASE WHEN whole THEN number END, text) - 1)" +
      "::INTEGER AS n FROM numbers",
  );
  return (await database.all(`SELECT text FROM ${table} ORDER BY n`)).map(([text]) =>
    text as string
  );
}

function selectRows({ from, fields, timeOf }: Layout, files: readonly string[]): string {
  const number = (field: string | undefined): string =>
    field === undefined ? "NULL::DOUBLE" : `try_cast(${field} AS DOUBLE)`;
  const time = (field: string | undefined): string =>
    field === undefined ? "NULL::DOUBLE" : `${timeOf(field)}::DOUBLE`;
  // A time as milliseconds or seconds since 1970 lies within the years -1199 and 5138.
  const isTime = (column: string): string => `coalesce(abs(${column}) <= 1e14, false)`;
  const text = (field: string | undefined): string => `nullif(trim(${field ?? "NULL"}), '')`;
  return `SELECT *, CASE WHEN "user" IS NULL THEN 'no user' WHEN NOT ${
    isTime("t")
  } THEN 'no time' ` +
    (fields.offset === undefined ? "" : `WHEN abs("offset") > 1440 THEN 'no offset' `) +
    "WHEN lat IS NULL OR lon IS NULL THEN 'no number' " +
    "WHEN NOT (lat BETWEEN -90 AND 90 AND lon BETWEEN -180 AND 180) THEN 'out of range' " +
    (fields.end === undefined ? "" : `WHEN NOT ${isTime("stop")} THEN 'no end' `) +
    (fields.end === undefined ? "" : "WHEN stop < t THEN 'end before start' ") +
    (fields.place === undefined ? "" : "WHEN place IS NULL THEN 'no place' ") +
    `END AS fault FROM (SELECT ${text(fields.user)} AS "user", ${time(fields.time)} AS t, ` +
    `${number(fields.lat)} AS lat, ${number(fields.lon)} AS lon, ${time(fields.end)} AS stop, ` +
    `${text(fields.place)} AS place, ${number(fields.offset)} AS "offset", ` +
    `${text(fields.name)} AS name FROM ${from(files)})`;
}

async function failAtFirst(
  database: Database,
  layouts: readonly Layout[],
  bad: number,
): Promise<never> {
  for (const layout of layouts) {
    for (const file of layout.files) {
      const texts = FIELDS.flatMap((field) =>
        layout.fields[field] === undefined
          ? []
          : [`${layout.fields[field]} AS ${quoteName(`${field}_text`)}`]
      );
      // Both read the file in its order, so that their rows go together.
      const [row] = await database.all(
        `SELECT n, fault, * EXCLUDE (n, fault) FROM (SELECT row_number() OVER () AS n, fault FROM (${
          selectRows(layout, [file])
        })) POSITIONAL JOIN (SELECT ${texts.join(", ")} FROM ${layout.from([file])}) ` +
          "WHERE fault IS NOT NULL ORDER BY n LIMIT 1",
      );
      if (row === undefined) continue;
      const [n, fault, ...values] = row;
      const names = FIELDS.filter((field) => layout.fields[field] !== undefined);
      const shown = Object.fromEntries(names.map((name, i) => [name, describe(values[i])]));
      const others = bad > 1 ? ` (and ${bad - 1} more like it)` : "";
      throw new InputError(
        `${file}: line ${Number(n) + layout.headerLines}${others}: ${
          FAULTS[fault as string](shown)
        }; repair it, or leave such rows out with --bad-rows skip`,
      );
    }
  }
  throw new Error("a row at fault cannot be found again");
}

async function layoutsOf(
  database: Database,
  format: Format,
  files: readonly string[],
  columns: Readonly<Record<string, string>>,
): Promise<readonly Layout[]> {
  if (format === "geolife") {
    return [{
      files,
      from: csvReader(["lat", "lon", "zero", "altitude", "days", "date", "time"], ",", 6),
      fields: {
        user: "regexp_extract(filename, '([^/]+)/Trajectory/[^/]+$', 1)",
        time: "date || ' ' || \"time\"",
        lat: "lat",
        lon: "lon",
      },
      timeOf: isoTime,
      headerLines: 6,
    }];
  }
  if (format === "gowalla") {
    return [{
      files,
      from: csvReader(["user", "time", "lat", "lon", "place"], "\t", 0),
      fields: { user: '"user"', time: '"time"', lat: "lat", lon: "lon", place: "place" },
      timeOf: isoTime,
      headerLines: 0,
    }];
  }
  if (format === "foursquare") {
    const names = ["user", "place", "category_id", "category", "lat", "lon", "offset", "time"];
    return [{
      files,
      from: csvReader(names, "\t", 0, "latin-1"),
      fields: {
        user: '"user"',
        time: '"time"',
        lat: "lat",
        lon: "lon",
        place: "place",
        offset: '"offset"',
        name: "category",
      },
      timeOf: (field) => `epoch_ms(try_strptime(${field}, '%a %b %d %H:%M:%S %z %Y'))`,
      headerLines: 0,
    }];
  }
  const layouts: Layout[] = [];
  for (const file of files) {
    const { names, from, headerLines } = await tableOf(database, format, file);
    const fields = Object.fromEntries(
      Object.entries(findColumns(names, columns, file))
        .map(([field, name]) => [field, `${quoteName(name)}::VARCHAR`]),
    ) as unknown as Layout["fields"];
    layouts.push({ files: [file], from, fields, timeOf: isoOrNumber, headerLines });
  }
  return layouts;
}

/** A file with named columns as a table. */
async function tableOf(database: Database, format: Format, file: string): Promise<{
  readonly names: readonly string[];
  readonly from: Layout["from"];
  readonly headerLines: number;
}> {
  if (format === "parquet") {
    const from = (files: readonly string[]): string =>
      `read_parquet([${files.map(quote)}], filename = true)`;
    const table = await database.all(`DESCRIBE SELECT * FROM ${from([file])}`);
    return { names: table.map(([name]) => name as string), from, headerLines: 0 };
  }
  const line = await firstLine(file);
  if (line.trim() === "") {
    throw new InputError(`${file}: the first line is empty: it names columns`);
  }
  if (/[\0\uFFFD]/.test(line)) {
    throw new InputError(`${file}: is no text in UTF-8: give CSV saved as UTF-8, or --format`);
  }
  const { names, delimiter } = splitHeader(line);
  if (new Set(names).size < names.length) {
    throw new InputError(`${file}: line 1: two columns have one name: ${printable(line)}`);
  }
  return { names, from: csvReader(names, delimiter, 1), headerLines: 1 };
}

function findColumns(
  names: readonly string[],
  columns: Readonly<Record<string, string>>,
  file: string,
): Columns {
  const found = FIELDS.flatMap((field) => {
    const name = columns[field] ?? field;
    if (names.includes(name)) return [[field, name]];
    // What nobody asked for may be missing.
    if (columns[field] === undefined && (field === "end" || field === "place")) return [];
    // What stands for another field is not what was meant.
    const others = names.filter((other) => !FIELDS.some((field) => field === other));
    throw new InputError(
      `${file}: has no column ${printable(name)}${suggestion(name, others)}; it has ${
        printable(names.join(", "), 200)
      }: name yours as in --columns user=ID,time=WHEN,lat=Y,lon=X`,
    );
  });
  return Object.fromEntries(found);
}

function csvReader(
  names: readonly string[],
  delimiter: string,
  skip: number,
  encoding = "utf-8",
): Layout["from"] {
  const columns = names.map((name) => `${quote(name)}: 'VARCHAR'`).join(", ");
  // Tabs separate fields that nobody quotes.
  const quotes = delimiter === "\t" ? "''" : `'"'`;
  return (files) =>
    `read_csv([${files.map(quote)}], auto_detect = false, header = false, skip = ${skip}, ` +
    `delim = ${quote(delimiter)}, quote = ${quotes}, escape = ${quotes}, ` +
    `columns = {${columns}}, encoding = '${encoding}', filename = true)`;
}

function isoTime(field: string): string {
  // Seconds may be left out, which DuckDB takes only without a zone.
  const whole =
    `regexp_replace(${field}, '(\\d\\d:\\d\\d)(Z|[+-]\\d\\d(:?\\d\\d)?)$', '\\1:00\\2')`;
  return `epoch_ms(coalesce(try_cast(${field} AS TIMESTAMPTZ), try_cast(${whole} AS TIMESTAMPTZ)))`;
}

function isoOrNumber(field: string): string {
  const number = `try_cast(${field} AS DOUBLE)`;
  // As seconds, 1e11 lies in the year 5138.
  return `CASE WHEN ${number} IS NULL THEN ${isoTime(field)} ` +
    `WHEN abs(${number}) < 1e11 THEN 1000 * ${number} ELSE ${number} END`;
}

const STAYPOINTS = [
  "id",
  "user_id",
  "location_id",
  "duration",
  "start_day",
  "start_min",
  "weekday",
] as const;

/**
 * Reads staypoints as the reference writes them, with a header naming at least `id`, `user_id`,
 * `location_id`, `duration` (minutes), `start_day`, `start_min` and `weekday`.
 *
 * @param targets Staypoints that may be targets, by id; default all.
 * @throws {InputError} If the file is damaged, a column is missing, or a value is no whole number.
 */
export async function loadStaypoints(
  database: Database,
  file: string,
  targets?: ReadonlySet<number>,
): Promise<readonly Visit[]> {
  const { names, from } = await tableOf(database, "csv", file);
  const missing = STAYPOINTS.find((name) => !names.includes(name));
  if (missing !== undefined) {
    throw new InputError(
      `${file}: has no column ${missing}; it has ${printable(names.join(", "))}`,
    );
  }
  const values = STAYPOINTS.map((name) => `try_cast(${name} AS DOUBLE) AS ${name}`).join(", ");
  const visits: Visit[] = [];
  for await (
    const columns of database.stream(
      `SELECT * EXCLUDE n FROM (SELECT row_number() OVER () AS n, ${values} FROM ${
        from([file])
      }) ` +
        "ORDER BY user_id, start_day, start_min, n",
    )
  ) {
    for (let i = 0; i < columns[0].length; i++) {
      const row = columns.map((column) => column[i] as number | null);
      const at = row.findIndex((value) =>
        value === null || !Number.isInteger(value) || value < 0 || value >= 2 ** 31
      );
      if (at >= 0) {
        throw new InputError(
          `${file}: the staypoint with id ${row[0]}: ${
            STAYPOINTS[at]
          } must be a whole number from 0, below 2^31`,
        );
      }
      const [id, user, place, duration, day, minute, weekday] = row as number[];
      if (minute > 1439 || weekday > 6) {
        throw new InputError(
          `${file}: the staypoint with id ${id}: start_min ${minute} must be up to 1439 and weekday ` +
            `${weekday} up to 6`,
        );
      }
      const target = targets === undefined || targets.has(id);
      visits.push({ user, place, day, minute, weekday, duration, target });
    }
  }
  if (visits.length === 0) throw new InputError(`${file}: holds no staypoints`);
  return visits;
}
