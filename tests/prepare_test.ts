import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { randomKey, uniform } from "../src/core/random.ts";
import { distance } from "../src/data/places.ts";
import { readPlaces } from "../src/data/read_places.ts";
import { readSplits } from "../src/data/read_samples.ts";
import type { Sample } from "../src/data/samples.ts";
import { cluster, type Point } from "../src/prepare/cluster.ts";
import { referenceRules, type Rules } from "../src/prepare/rules.ts";
import { isTrackedLongEnough, mergeStays, stayDetector } from "../src/prepare/stays.ts";
import { toSamples, toVisits, type Visit } from "../src/prepare/visits.ts";
import { filesBelow, task } from "./commands.ts";

const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));

const MINUTE = 60_000;
const rules: Rules = { ...referenceRules, minDays: 0, minWeeks: 0 };

/** The stays in one person's fixes, given as minute and metres north of the equator. */
function staysIn(fixes: readonly (readonly [minute: number, metres: number])[], some = {}) {
  const detector = stayDetector({ ...rules, ...some });
  const degrees = 180 / (Math.PI * 6_371_000);
  fixes.forEach(([minute, metres], row) =>
    detector.add(0, minute * MINUTE, metres * degrees, 7, row)
  );
  const { stays, ...rest } = detector.end();
  const seen = stays.map(({ start, end, lat }) => [
    start / MINUTE,
    end / MINUTE,
    Math.round(lat / degrees),
  ]);
  return { seen, ...rest };
}

Deno.test("a stay lasts until the first fix at 200 m, and counts from 30 minutes on", () => {
  // At 0 m and 100 m until 300 m at minute 40 ends it; that one is left after 29 minutes.
  const fixes = [[0, 0], [20, 100], [40, 300], [69, 600], [80, 900]] as const;
  assertEquals(staysIn(fixes).seen, [[0, 40, 50]]);
  assertEquals(staysIn(fixes, { stayMinutes: 29 }).seen, [[0, 40, 50], [40, 69, 300]]);
  assertEquals(staysIn(fixes, { stayMeters: 101, stayMinutes: 11 }).seen.length, 3);
  // Slow walking: each fix is near the one before, but the distance to the first counts.
  const walk = Array.from({ length: 8 }, (_, i) => [10 * i, 101 * i] as const);
  assertEquals(staysIn(walk).seen, []);
});

Deno.test("a gap ends a stay without result; the last one counts if wanted", () => {
  const gap = [[0, 0], [60, 0], [60 + 1441, 0], [60 + 1441 + 50, 0]] as const;
  assertEquals(staysIn(gap).seen, [[1501, 1551, 0]]);
  assertEquals(staysIn(gap, { gapMinutes: 1441 }).seen, [[0, 1551, 0]]);
  assertEquals(staysIn(gap, { includeLast: false }).seen, []);
});

Deno.test("repeated fixes are left out, and those out of order are counted", () => {
  const { duplicates, unordered, tracks } = staysIn([[0, 0], [5, 0], [5, 0], [50, 0]]);
  assertEquals([duplicates, unordered], [1, 0]);
  assertEquals(tracks, [{ user: 0, first: 0, last: 50 * MINUTE }]);
  const detector = stayDetector(rules);
  // Sorted by time; the rows tell that the second stood first.
  [[0, 7], [10, 3], [20, 9]].forEach(([minute, row]) =>
    detector.add(0, minute * MINUTE, 0, 0, row)
  );
  assertEquals(detector.end().unordered, 1);
});

Deno.test("users are tracked for more than 50 days, and ten weeks", () => {
  const tracked = (days: number): boolean =>
    isTrackedLongEnough({ user: 0, first: 0, last: days * 1440 * MINUTE }, referenceRules);
  assertEquals([50, 51, 69.9, 70, 71].map(tracked), [false, false, false, true, true]);
  const byDays = (days: number): boolean =>
    isTrackedLongEnough({ user: 0, first: 0, last: days * 1440 * MINUTE }, {
      ...referenceRules,
      minWeeks: 0,
    });
  assertEquals([50, 50.9, 51].map(byDays), [false, false, true]);
});

Deno.test("stays at one place with up to a minute between them become one", () => {
  const stay = (user: number, place: number, start: number, end: number) => ({
    ...{ user, place, start: start * MINUTE, end: end * MINUTE, lat: 0, lon: 0 },
  });
  const merged = mergeStays([
    ...[stay(0, 1, 0, 30), stay(0, 1, 31, 60), stay(0, 1, 62, 90), stay(0, 2, 90, 95)],
    ...[stay(1, 2, 95, 99), stay(1, 2, 99, 100)],
  ], rules);
  assertEquals(merged.map(({ user, start, end }) => [user, start / MINUTE, end / MINUTE]), [
    ...[[0, 0, 60], [0, 62, 90], [0, 90, 95]],
    [1, 95, 100],
  ]);
});

/** DBSCAN by its definition, with all pairs: groups of core points in reach of one another. */
function groupsByDefinition(points: readonly Point[], meters: number, samples: number) {
  const near = points.map((a) =>
    points.flatMap((b, j) => distance(a.lat, a.lon, b.lat, b.lon) <= meters ? [j] : [])
  );
  const core = near.map((all) => all.length >= samples);
  const group = points.map((_, i) => i);
  for (let changed = true; changed;) {
    changed = false;
    for (const i of points.keys()) {
      for (const j of near[i]) {
        if (core[i] && core[j] && group[j] < group[i]) [group[i], changed] = [group[j], true];
      }
    }
  }
  return { near, core, group };
}

Deno.test("places are DBSCAN's groups, at the equator, near the pole and across the date line", () => {
  const draws = uniform(randomKey(5), 2 * 900);
  const points = Array.from({ length: 900 }, (_, i): Point => {
    const [a, b] = [draws[2 * i], draws[2 * i + 1]];
    return i % 3 === 0
      ? { lat: 0.02 * a, lon: 0.02 * b }
      : i % 3 === 1
      ? { lat: 89.99 + 0.01 * a, lon: 360 * b - 180 }
      : { lat: 60 + 0.01 * a, lon: b < 0.5 ? 180 - 0.01 * b : -179.995 + 0.01 * (b - 0.5) };
  });
  for (const [meters, samples] of [[60, 2], [60, 4], [120, 3]]) {
    const found = cluster(points, meters, samples);
    const { near, core, group } = groupsByDefinition(points, meters, samples);
    for (const i of points.keys()) {
      // Noise has no core point near; others have the group of one.
      const groups = near[i].filter((j) => core[j]).map((j) => found[j]);
      if (groups.length === 0) assertEquals(found[i], -1);
      else assert(groups.includes(found[i]));
      for (const j of near[i]) if (core[i] && core[j]) assertEquals(found[i], found[j]);
      // Cores of different groups are never joined.
      const j = group.indexOf(group[i]);
      if (core[i]) assertEquals(found[i], found[j]);
    }
    const cores = points.flatMap((_, i) => core[i] ? [i] : []);
    const count = new Set(cores.map((i) => group[i])).size;
    assertEquals(new Set(cores.map((i) => found[i])).size, count);
    assert(count >= 10 && count < 200, `${count} groups try too little`);
  }
  assertEquals(cluster([], 20, 2).length, 0);
});

Deno.test("local time follows the zone, also when clocks change", () => {
  // Zurich: 31 March 2024, 02:00 becomes 03:00; 27 October, 03:00 becomes 02:00.
  const at = (...starts: string[]) =>
    starts.map((start) => ({
      ...{ user: 0, place: 0, lat: 0, lon: 0 },
      start: Date.parse(start),
      end: Date.parse(start) + 90.5 * MINUTE,
    }));
  const seen = (zone: string, ...starts: string[]) =>
    toVisits(at(...starts), zone).map(({ day, minute, weekday, start, duration }) =>
      [day, minute, weekday, start, duration] as const
    );
  assertEquals(seen("Europe/Zurich", "2024-03-31T00:59Z", "2024-03-31T01:00Z"), [
    [0, 119, 6, "2024-03-31T01:59", 90],
    [0, 180, 6, "2024-03-31T03:00", 90],
  ]);
  // Sorted by local time, which runs backwards once a year.
  assertEquals(
    seen("Europe/Zurich", "2024-10-27T00:59Z", "2024-10-27T01:00Z").map(([, minute]) => minute),
    [120, 179],
  );
  assertEquals(seen("Asia/Shanghai", "2008-10-23T16:30Z"), [[0, 30, 4, "2008-10-24T00:30", 90]]);
  const own = toVisits([{ ...at("2024-01-01T00:10Z")[0], offset: -300 }], "UTC");
  assertEquals([own[0].start, own[0].weekday], ["2023-12-31T19:10", 6]);
});

Deno.test("samples: days are split, histories stay inside, ids come from training", () => {
  // A visit a day for 21 days, at places 10, 11, 10, 11, ..., on the last days at 99.
  const visits = Array.from({ length: 21 }, (_, day): Visit => ({
    ...{ user: 4, day, minute: 60, weekday: day % 7, duration: 5000 },
    place: day >= 18 ? 99 : 10 + day % 2,
  }));
  const short = { ...rules, historyDays: 2, minVisits: 2 };
  const { samples, places, placeVisits, users, counts } = toSamples(visits, short);
  // The last day is 20: training is days 0 to 11, validation 12 to 15, test 16 to 20.
  assertEquals(counts, { train: 10, validation: 2, test: 3 });
  assertEquals([places, placeVisits, users], [[10, 11], [6, 6], [4]]);
  const [first] = samples.train();
  assertEquals({ ...first, dur_X: [...first.dur_X] }, {
    X: Int32Array.of(2, 3),
    user_X: Int32Array.of(1, 1),
    weekday_X: Int32Array.of(0, 1),
    start_min_X: Int32Array.of(60, 60),
    dur_X: [2879, 2879],
    diff: Int32Array.of(2, 1),
    Y: 2,
    weekday_Y: 2,
    start_min_Y: 60,
  });
  assertEquals([...samples.test()].map(({ X, Y }) => [...X, Y]), [
    [2, 3, 1],
    [3, 1, 1],
    [1, 1, 1],
  ]);
  // One that is no target is still history.
  const fewer = toSamples(visits.map((v) => ({ ...v, target: v.day !== 2 })), short);
  assertEquals(fewer.counts.train, 9);
  const [sample] = fewer.samples.train();
  assertEquals([...sample.X, sample.Y], [3, 2, 3]);
});

Deno.test("samples: users need all three parts, or training where that is enough", () => {
  const daily = (user: number, days: number): Visit[] =>
    Array.from({ length: days }, (_, day) => ({
      ...{ user, day, place: user, minute: 0, weekday: 0, duration: 9 },
    }));
  // A single last day after a long break leaves the second person's validation empty.
  const late = { ...daily(1, 1)[0], day: 100 };
  const visits = [...daily(0, 40), ...daily(1, 40), late];
  const some = { ...rules, historyDays: 2, minVisits: 2 };
  assertEquals(toSamples(visits, some).users, [0]);
  const all = toSamples(visits, { ...some, allParts: false });
  assertEquals(all.users, [0, 1]);
  assertEquals(all.places, [0, 1]);
});

const shared = fileURLToPath(new URL("../../shared/data/geolife", import.meta.url));
const present = existsSync(shared);

Deno.test({
  name: `prepare: GeoLife's staypoints become the reference's samples, one by one${
    present ? "" : " (skipped: ../shared/data/geolife is not there)"
  }`,
  ignore: !present,
  async fn() {
    const out = `${folder}/geolife`;
    const { code, err } = await task("prepare", [
      ...["--input", `${shared}/staypoints.csv`, "--valid-ids", `${shared}/valid_ids.json`],
      ...["--out", out, "--quiet"],
    ]);
    assertEquals(code, 0, err);
    const [ours, theirs] = [await readSplits(out), await readSplits(shared)];
    for (const [split, count] of [["train", 7424], ["validation", 3334], ["test", 3502]] as const) {
      assertEquals(ours[split].length, count);
      theirs[split].forEach((sample, i) => assertEquals<Sample>(ours[split][i], sample));
    }
    const manifest = JSON.parse(await Deno.readTextFile(`${out}_manifest.json`));
    assertEquals(manifest.inputs.map(({ file }: { file: string }) => file), [
      ...["staypoints.csv", "valid_ids.json"],
    ]);
  },
});

/** Ten weeks of check-ins of three people, a few a day, and lines that repeat others. */
function checkIns(): string[][] {
  const draws = uniform(randomKey(8), 3 * 80 * 4);
  const rows: string[][] = [];
  for (let n = 0; n < draws.length; n++) {
    const [person, day, hour] = [n % 3, Math.floor(n / 12), 8 + 3 * (Math.floor(n / 3) % 4)];
    const venue = Math.floor(draws[n] * 4) + 4 * person;
    const time = new Date(Date.UTC(2012, 3, 1 + day, hour)).toISOString().replace(".000", "");
    rows.push([`u${person}`, time, String(40 + 0.01 * venue), "-74", `v${venue}`]);
  }
  return [...rows, rows[0], rows[5]];
}

/** Writes check-ins as Parquet: with DuckDB, which tests themselves may not load. */
async function parquet(csv: string, out: string): Promise<string> {
  const sql = `COPY (SELECT place AS venue, lon::DOUBLE AS x, lat::DOUBLE AS y, ` +
    `time::TIMESTAMP AS at, "user" AS person FROM '${csv}') TO '${out}' (FORMAT parquet)`;
  const program = `import { DuckDBInstance } from "@duckdb/node-api";
    const connection = await (await DuckDBInstance.create(":memory:")).connect();
    await connection.run("SET TimeZone = 'UTC'");
    await connection.run(${JSON.stringify(sql)});`;
  const { success, stderr } = await new Deno.Command("deno", { args: ["eval", program] }).output();
  assert(success, new TextDecoder().decode(stderr));
  return out;
}

/** The samples of a data set and the text of its places. */
async function made(prefix: string) {
  return {
    ...await readSplits(prefix),
    places: await readPlaces(`${prefix}_places.csv`),
  };
}

Deno.test("prepare: the same check-ins give the same samples in every format and order", async () => {
  const rows = checkIns();
  await Deno.mkdir(`${folder}/in`);
  const file = async (name: string, content: string | Uint8Array<ArrayBuffer>): Promise<string> => {
    await Deno.writeFile(
      `${folder}/in/${name}`,
      typeof content === "string" ? new TextEncoder().encode(content) : content,
    );
    return `${folder}/in/${name}`;
  };
  const csv = (order: readonly number[], delimiter = ","): string => {
    const names = ["user", "time", "lat", "lon", "place"];
    return [names, ...rows].map((row) => order.map((i) => row[i]).join(delimiter)).join("\n");
  };
  const gowalla = rows.map((row) => row.join("\t")).join("\n");
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul"];
  const foursquare = rows.map(([user, time, lat, lon, place]) => {
    const at = new Date(time);
    const two = (n: number): string => String(n).padStart(2, "0");
    const clock = `${two(at.getUTCHours())}:00:00 +0000`;
    const text = `Sun ${months[at.getUTCMonth()]} ${two(at.getUTCDate())} ${clock} 2012`;
    return [user, place, "4bf58dd8", "Café".toWellFormed(), lat, lon, "-240", text].join("\t");
  }).join("\n");
  const latin1 = Uint8Array.from(foursquare, (c) => c.charCodeAt(0));
  const inputs = {
    plain: [await file("plain.csv", `${csv([0, 1, 2, 3, 4])}\n`)],
    mixed: [await file("mixed.tsv", csv([4, 3, 2, 1, 0], "\t"))],
    zipped: [await file("zipped.csv.gz", new Uint8Array(gzipSync(csv([2, 0, 1, 4, 3], ";"))))],
    gowalla: [await file("gowalla.txt", gowalla)],
    // Clocks that run backwards: the last line first.
    backwards: [await file("back.txt", gowalla.split("\n").reverse().join("\n"))],
    foursquare: [await file("tsmc.txt", latin1), "--timezone", "UTC"],
    // Typed columns, and names of their own.
    parquet: [
      await parquet(`${folder}/in/plain.csv`, `${folder}/in/plain.parquet`),
      "--columns",
      "user=person,time=at,lat=y,lon=x,place=venue",
    ],
  };
  const results: Record<string, Awaited<ReturnType<typeof made>>> = {};
  for (const [name, [input, ...options]] of Object.entries(inputs)) {
    const out = `${folder}/out/${name}`;
    const { code, out: text, err } = await task("prepare", [
      ...["--input", input, "--out", out, "--quiet", ...options],
    ]);
    assertEquals(code, 0, err);
    assertMatch(text, /not repeated +960 +2 +visits/);
    results[name] = await made(out);
  }
  const { plain, foursquare: venues } = results;
  assertEquals([plain.train.length > 300, plain.places.length], [true, 12]);
  assertAlmostEquals(plain.places[1].latitude, 40.01, 1e-7);
  assertEquals(plain.places.map(({ visits }) => visits! > 10), Array(12).fill(true));
  for (const name of ["mixed", "zipped", "gowalla", "backwards", "parquet"]) {
    assertEquals(results[name], plain);
  }
  assertEquals({ ...venues, places: undefined }, { ...plain, places: undefined });
  assertEquals(venues.places[0].name, "Café");
  // Foursquare's lines say how far local time is behind: four hours.
  const { code } = await task("prepare", [
    ...["--input", inputs.foursquare[0], "--out", `${folder}/out/local`, "--quiet"],
  ]);
  assertEquals(code, 0);
  const { train: [local] } = await readSplits(`${folder}/out/local`);
  assertEquals([...new Set(local.start_min_X)].sort((a, b) => a - b), [240, 420, 600, 780]);
});

Deno.test("prepare: tracks become stays and places; the same again gives the same bytes", async () => {
  // Two people go from home to work and back each day; a fix every ten minutes with some noise.
  const lines = ["lon,time,user,lat"];
  const noise = uniform(randomKey(3), 2 * 75 * 144 * 2);
  let n = 0;
  for (const [person, shift] of [["a", 0], ["b", 0.5]] as const) {
    for (let step = 0; step < 75 * 144; step++) {
      const hour = step / 6 % 24;
      const atWork = hour >= 9 && hour < 17;
      const [x, y] = [1e-4 * noise[n++] / 2, 1e-4 * noise[n++] / 2];
      const lat = 39.9 + shift + (atWork ? 0.05 : 0) + x;
      lines.push(`${116.3 + y},${Date.UTC(2024, 0, 1) / 1000 + 600 * step},${person},${lat}`);
    }
  }
  const input = `${folder}/tracks.csv`;
  await Deno.writeTextFile(input, lines.join("\n"));
  const first = `${folder}/tracks/one`, again = `${folder}/again/one`;
  const { code, out, err } = await task("prepare", ["--input", input, "--out", first]);
  assertEquals(code, 0, err);
  // Home until 9:00, work until 17:00, home: two stays a day and a last one, a person.
  assertMatch(out, /stays: within 200 m for 30 min +302 +0 +stays/);
  const { places, train } = await made(first);
  assertEquals(places.length, 4);
  for (const { latitude, longitude } of places) {
    assert([39.9, 39.95, 40.4, 40.45].some((lat) => Math.abs(lat - latitude) < 1e-4));
    assertAlmostEquals(longitude, 116.3, 1e-4);
  }
  // At work for eight hours, at home for sixteen; before that, since midnight, nine.
  const sample = train.at(-1)!;
  const byMinute = Array.from(sample.start_min_X, (at, i) => [at, sample.dur_X[i]]);
  assertEquals(new Set(byMinute.map(String)), new Set(["540,480", "1020,960"]));

  const files = await filesBelow(`${folder}/tracks`);
  assertEquals(Object.keys(files).sort(), [
    ...["one_manifest.json", "one_places.csv", "one_test.jsonl.gz", "one_train.jsonl.gz"],
    "one_validation.jsonl.gz",
  ]);
  await task("prepare", ["--input", input, "--out", again, "--quiet"]);
  assertEquals(await filesBelow(`${folder}/again`), files);
  const manifest = JSON.parse(await Deno.readTextFile(`${first}_manifest.json`));
  const digest = async (path: string): Promise<string> =>
    new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(path))).toHex();
  assertEquals(manifest.inputs.map(({ sha256 }: { sha256: string }) => sha256), [
    await digest(input),
  ]);
  for (const { file, sha256 } of manifest.outputs) {
    assertEquals(sha256, await digest(`${folder}/tracks/${file}`));
  }
  assertEquals(manifest.rules, { ...referenceRules });
  assertEquals(manifest.users, ["a", "b"]);

  const refused = await task("prepare", ["--input", input, "--out", first, "--quiet"]);
  assertEquals(refused.code, 1);
  assertMatch(refused.err, /^error: .*one_train.jsonl.gz: is there already; .*--force.*\n$/);
  const forced = await task("prepare", ["--input", input, "--out", first, "--quiet", "--force"]);
  assertEquals(forced.code, 0);
});

const header = "user,time,lat,lon\n";
const good = "a,2024-01-01T00:00:00Z,39.9,116.3\n";
const visits = checkIns().map((row) => row.join("\t")).join("\n");
const zipped = new Uint8Array(gzipSync(visits));
const bad: Readonly<
  Record<
    string,
    readonly [file: string, content: string | Uint8Array, names: string[], ...string[]]
  >
> = {
  "a latitude of 91": ["a.csv", `${header}${good}a,1,91,0\n`, ["a.csv: line 3", "lat is", "91"]],
  "text for a number": ["a.csv", `${header}a,1,north,0\n`, ["line 2", "north", "must be numbers"]],
  "no time": ["a.csv", `${header}a,soon,1,1\n`, ["line 2", "soon", "2009-01-31T12:00:00Z"]],
  "a time past all calendars": ["a.csv", `${header}${good}a,1e16,1,1\n`, [
    "line 3",
    "time",
    "1e16",
  ]],
  "an offset of more than a day": [
    "a.txt",
    "1\tv\tc\tHome\t40.7\t-74\t1e9\tTue Apr 03 18:00:06 +0000 2012\n",
    ["a.txt: line 1", "the offset from UTC"],
  ],
  "an end before the start": [
    "a.csv",
    "user,time,end,lat,lon\na,2024-01-01T00:00Z,2023-01-01T00:00Z,1,1\n",
    ["line 2", "is before the start"],
  ],
  "a missing column": ["a.csv", "user,time,lat,lng\n", [
    "no column lon",
    "did you mean lng?",
    "--columns",
  ]],
  "two columns of one name": ["a.csv", "user,time,lat,lat\n", ["line 1", "one name"]],
  "only names of columns": ["a.csv", header, ["holds no rows"]],
  "an empty file": ["a.csv", "", ["the first line is empty"]],
  "a line cut short": ["a.csv", `${header}${good}a,2024-01-`, [
    "line 3",
    "2 fields where 4 belong",
  ]],
  "a zipped file cut short": ["a.csv.gz", zipped.subarray(0, 900), ["a.csv.gz", "cut short"]],
  "a CSV that is no text": ["a.csv", Uint8Array.from([0xff, 0xfe, 44, 10]), ["no text in UTF-8"]],
  "a Parquet that is none": ["a.parquet", "PAR1".repeat(9) + "PAR2", ["a.parquet", "no Parquet"]],
  "no stay": ["a.csv", `${header}${good}`, ["nobody stays within 200 m", "--stay-minutes"]],
  "0 usable users": [
    ...["a.txt", visits.split("\n").slice(0, 60).join("\n"), ["none of 3 users", "--min-days"]],
  ] as unknown as [string, string, string[]],
  "a zone that is none": [
    ...["a.txt", visits, ["--timezone Mars", "IANA"], "--timezone", "Mars"],
  ] as unknown as [string, string, string[]],
  "a split that is none": [
    ...["a.txt", visits, ["--split is 60/40"], "--split", "60/40"],
  ] as unknown as [string, string, string[]],
};
for (const [what, [name, content, names, ...options]] of Object.entries(bad)) {
  Deno.test(`prepare refuses ${what} in one line, and leaves nothing`, async () => {
    await Deno.remove(`${folder}/bad`, { recursive: true }).catch(() => {});
    await Deno.mkdir(`${folder}/bad`);
    const input = `${folder}/bad/${name}`;
    await Deno.writeFile(
      input,
      typeof content === "string" ? new TextEncoder().encode(content) : content,
    );
    const { code, out, err } = await task("prepare", [
      ...["--input", input, "--out", `${folder}/bad/out/x`, "--quiet", ...options],
    ]);
    assertEquals(out, "");
    assertMatch(err, /^error: [^\n]+\n$/);
    for (const part of names) assert(err.includes(part), `${part} is not in ${err}`);
    assertEquals(code, what === "a split that is none" ? 2 : 1);
    assertEquals(Object.keys(await filesBelow(`${folder}/bad`)), [name]);
  });
}

Deno.test("prepare: bad rows are left out when asked, and counted", async () => {
  const rows = checkIns().map((row) => row.join("\t"));
  const input = `${folder}/some_bad.txt`;
  await Deno.writeTextFile(
    input,
    [...rows, "u1\tsoon\t40\t-74\tv1", "u1\t2012-04-05T10:00:00Z\t95\t0\tv1"].join("\n"),
  );
  const { code, out, err } = await task("prepare", [
    ...["--input", input, "--out", `${folder}/some/x`, "--quiet", "--bad-rows", "skip"],
  ]);
  assertEquals(code, 0, err);
  assertMatch(out, /rows with fault: no time +963 +1 +rows/);
  assertMatch(out, /rows with fault: out of range +963 +1 +rows/);
});
