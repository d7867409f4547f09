/**
 * The readers of raw data that `deno task prepare` has: from a file to samples, with the same database
 * for all inputs of a process.
 *
 * @module
 */
import fc from "fast-check";
import { gzipSync } from "node:zlib";
import type { Sample } from "../../src/data/samples.ts";
import type { Database } from "../../src/prepare/database.ts";
import { referenceRules, type Rules } from "../../src/prepare/rules.ts";
import { bytes, encoded, mutated, number, text } from "./inputs.ts";
import { type Reader, reader } from "./reader.ts";

/** Under which nearly all visits make samples. */
const rules: Rules = {
  ...referenceRules,
  ...{ minDays: 0, minWeeks: 0, activityMinutes: 0, placeSamples: 1, stayMinutes: 5 },
  ...{ historyDays: 1, minVisits: 1, allParts: false },
};
const TABLES = ["raw", "users", "places", "fixes", "visits"];
const silent = { note(): void {}, fixes(): void {} };

/** Makes samples of raw data, some of which are checked. */
async function readRaw(
  path: string,
  folder: string,
  badRows: "stop" | "skip",
  check: (sample: Sample) => void,
): Promise<void> {
  // Imported here: DuckDB is loaded with them, which tests in this process may not.
  const { openDatabase } = await import("../../src/prepare/database.ts");
  const { digestFiles, findInput } = await import("../../src/prepare/input.ts");
  const { readVisits } = await import("../../src/prepare/prepare.ts");
  const { toSamples } = await import("../../src/prepare/visits.ts");
  database ??= await openDatabase({ memory: 0.25, folder: Deno.makeTempDirSync({ dir: folder }) });
  try {
    for (const table of TABLES) await database.run(`DROP TABLE IF EXISTS ${table}`);
    const input = await findInput(path, "auto");
    await digestFiles(input.files, path);
    const { visits } = await readVisits(database, input, { rules, columns: {}, badRows }, silent);
    const { samples } = toSamples(visits, rules);
    for (const split of ["train", "validation", "test"] as const) {
      for (const sample of samples[split]()) check(sample);
    }
  } catch (error) {
    // After a fault of its own, DuckDB refuses everything; a command ends with it.
    if (/DuckDB failed/.test((error as Error).message)) database = undefined;
    throw error;
  }
}

let database: Database | undefined;

const encoder = new TextEncoder();
const hours = Array.from({ length: 12 }, (_, i) => i);
const csv = [
  "user,time,lat,lon",
  ...hours.map((hour) => `a,2024-05-0${1 + hour % 6}T1${hour % 4}:00:00Z,46.${hour % 3},7.4`),
].join("\n");
const ends = [
  "place;end;user;lat;lon;time",
  ...hours.map((hour) => `p${hour % 3};${3600 * hour + 1800};7;-1e1;179.9;${3600 * hour}`),
].join("\n");
const gowalla = hours.map((hour) =>
  `${hour % 2}\t2010-10-${11 + hour}T23:55:27Z\t30.2\t-97.7\t${hour % 3}`
).join("\n");
const foursquare = hours.map((hour) =>
  `${hour % 2}\tv${hour % 3}\t4bf5\tCaf\u00e9\t40.7\t-74\t-240\tTue Apr ${
    10 + hour
  } 18:00:06 +0000 2012`
).join("\n");
const staypoints = [
  "id,user_id,location_id,duration,start_day,start_min,weekday",
  ...hours.map((n) => `${n},${n % 2},${n % 3},60,${n},${60 * n},${n % 7}`),
].join("\n");
const track = `Geolife trajectory\nWGS 84\nAltitude is in Feet\nReserved 3\n0,2,255\n0\n${
  hours.map((hour) => `39.9${hour % 3},116.3,0,492,39744.1,2008-10-${11 + hour},0${hour % 9}:53:04`)
    .join("\n")
}`;
const latin1 = Uint8Array.from(foursquare, (c) => c.charCodeAt(0));
const parquet = ["snappy", "zstd"].map((codec) =>
  Deno.readFileSync(new URL(`../../fixtures/raw/${codec}.parquet`, import.meta.url))
);

const COLUMNS = ["user", "time", "lat", "lon", "end", "place"];
const time = fc.constantFrom(
  "2024-05-01T08:00:00Z",
  "2024-05-03 09:30",
  "1714550400",
  "1714550400000",
);
const cell = fc.oneof(
  number.map(String),
  text.map((value) => value.replaceAll(/[\r\n]/g, "")),
  fc.constantFrom("294247-01-10T04:00:54Z", "1e16", "-1e15", "inf", "nan", "", '"', "'; DROP", "0"),
);
/** Tables with nearly the right columns and cells. */
const table = fc.tuple(
  fc.constantFrom(",", ";", "\t", "|"),
  fc.oneof(
    { weight: 4, arbitrary: fc.constant(COLUMNS) },
    fc.shuffledSubarray(COLUMNS, { minLength: 3 }),
    fc.array(cell, { maxLength: 5 }),
  ),
  fc.nat(8),
).chain(([delimiter, columns, count]) => {
  const good: Readonly<Record<string, fc.Arbitrary<string>>> = {
    user: fc.constantFrom("a", "b"),
    time,
    end: fc.constantFrom("2024-05-09T08:00:00Z", "1999999999"),
    lat: fc.constantFrom("46.9", "-90", "1e1"),
    lon: fc.constantFrom("7.4", "180"),
    place: fc.constantFrom("p", "q", "7"),
  };
  const row = fc.tuple(
    ...columns.map((name) =>
      Object.hasOwn(good, name) ? fc.oneof({ weight: 25, arbitrary: good[name] }, cell) : cell
    ),
  );
  return fc.array(row, { minLength: count, maxLength: count })
    .map((rows) => [columns, ...rows].map((cells) => cells.join(delimiter)).join("\n"));
});

/**
 * The readers. Each has the permission to load DuckDB only in a process of its own.
 *
 * @param folder Where files may be written.
 * @param check Of a sample that was made.
 */
export function rawDataReaders(folder: string, check: (sample: Sample) => void): readonly Reader[] {
  let turn = 0;
  const raw = (
    name: string,
    file: string,
    input: fc.Arbitrary<Uint8Array>,
    given = file,
  ): Reader =>
    reader({
      name: `raw data, ${name}`,
      apart: true,
      names: given,
      input,
      async read(content): Promise<void> {
        const path = `${folder}/${file}`;
        Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
        Deno.writeFileSync(path, content);
        await readRaw(`${folder}/${given}`, folder, turn++ % 2 === 0 ? "stop" : "skip", check);
      },
    });
  const changed = (content: string): fc.Arbitrary<Uint8Array> => mutated([encoder.encode(content)]);
  return [
    raw("CSV: any bytes", "raw.csv", fc.oneof(bytes, encoded(text))),
    raw("CSV: files changed", "raw.csv", fc.oneof(changed(csv), changed(ends))),
    raw("CSV: nearly fixes and visits", "raw.csv", encoded(table)),
    raw("CSV, gzip: files changed", "raw.csv.gz", mutated([new Uint8Array(gzipSync(csv))])),
    raw("GeoLife: files changed", "geo/007/Trajectory/raw.plt", changed(track), "geo"),
    raw("Foursquare: files changed", "raw.txt", mutated([latin1])),
    raw("Gowalla: files changed", "raw.txt", changed(gowalla)),
    raw("staypoints: files changed", "raw.csv", changed(staypoints)),
    raw(
      "Parquet: any bytes",
      "raw.parquet",
      bytes.map((middle) =>
        Uint8Array.from([...encoder.encode("PAR1"), ...middle, ...encoder.encode("PAR1")])
      ),
    ),
    raw("Parquet: files changed", "raw.parquet", mutated(parquet)),
  ];
}
