import { assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { formatLocalTime, historySample, readHistory } from "../src/data/history.ts";
import { distance, formatPlaces } from "../src/data/places.ts";
import { findPlaces, readPlaces } from "../src/data/read_places.ts";

const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const path = `${folder}/${name}`;
  await (typeof content === "string"
    ? Deno.writeTextFile(path, content)
    : Deno.writeFile(path, content));
  return path;
}

const places = [
  { id: 2, latitude: 46.95, longitude: 7.45, name: "home" },
  { id: 3, latitude: 46.96, longitude: 7.45 },
];
const options = { places, totalLocNum: 9, radius: 100 };

Deno.test("distances are those on a sphere of 6,371 km", () => {
  // A degree of a great circle is 6,371,000 * pi / 180 metres.
  assertAlmostEquals(distance(0, 0, 0, 1), 111_194.93, 0.01);
  assertAlmostEquals(distance(89, 20, 90, -100), 111_194.93, 0.01);
  // Across the date line, at 60 degrees north where parallels are half as long.
  assertAlmostEquals(distance(60, 179.99, 60, -179.99), 1111.95, 0.01);
  assertAlmostEquals(distance(0, 0, 0, 180), Math.PI * 6_371_000, 0.01);
  assertEquals(distance(46.9, 7.4, 46.9, 7.4), 0);
});

Deno.test("places are written and read back", async () => {
  const given = [
    ...places.map((place) => ({ ...place, visits: 4 })),
    { id: 7, latitude: -90, longitude: 180, name: 'a "b", c\nd' },
  ];
  const path = await write("town_places.csv", formatPlaces(given));
  assertEquals(await readPlaces(path), given);
  assertEquals(await findPlaces(`${folder}/town`), path);
  assertEquals(await findPlaces(`${folder}/village`), undefined);
  const mixed = await write("mixed.csv", "\ufeffName;Longitude;ID;Latitude\r\nx;7.5;4;46\r\n");
  assertEquals(await readPlaces(mixed), [{ id: 4, latitude: 46, longitude: 7.5, name: "x" }]);
});

Deno.test("visits are read in any order of columns and lines, places by id or position", async () => {
  const path = await write(
    "visits.csv",
    "latitude\tend\tplace\tstart\tlongitude\n" +
      // 4 May: near home (50 m north), until the next one; 3 May: by id; 5 May: 1 km from anything.
      "46.95045\t\t\t2024-05-04T10:00\t7.45\n" +
      "\t2024-05-03T18:30:59\t8\t2024-05-03 18:00+02:00\t\n" +
      "46.94\t\t\t2024-05-05T00:00Z\t7.45\n" +
      "46.95045\t\t\t2024-05-04T10:00\t7.45\n",
  );
  const visits = await readHistory(path, options);
  assertEquals(visits.map(({ place, minutes }) => [place, minutes]), [[8, 30], [2, 840], [1, 0]]);
  assertEquals(visits.map(({ start }) => formatLocalTime(start)), [
    "2024-05-03T18:00",
    "2024-05-04T10:00",
    "2024-05-05T00:00",
  ]);
  const { sample, at, older } = historySample(visits, path, { days: 7, minVisits: 3 });
  assertEquals(formatLocalTime(at), "2024-05-05T00:00");
  assertEquals(older, 0);
  assertEquals(sample, {
    X: Int32Array.of(8, 2, 1),
    user_X: new Int32Array(3),
    // 3 May 2024 was a Friday.
    weekday_X: Int32Array.of(4, 5, 6),
    start_min_X: Int32Array.of(1080, 600, 0),
    dur_X: Float64Array.of(30, 840, 0),
    diff: Int32Array.of(2, 1, 0),
  });
});

Deno.test("what is too long ago is left out, and durations are cut as in training", async () => {
  const path = await write(
    "long.csv",
    "start,minutes,place\n2024-05-01T23:59,1,2\n2024-05-02T00:00,1,3\n2024-05-03T12:00,9999,2\n",
  );
  const visits = await readHistory(path, options);
  const at = visits[0].start + 7 * 1440 + 1; // The 9th, 00:00: 8 days after the 1st, 7 after the 2nd.
  const { sample, older } = historySample(visits, path, { days: 7, minVisits: 2, at });
  assertEquals([...sample.X], [3, 2]);
  assertEquals([...sample.diff], [7, 6]);
  assertEquals([...sample.dur_X], [1, 2879]);
  assertEquals(older, 1);
  assertThrows(
    () => historySample(visits, path, { days: 7, minVisits: 3, at }),
    InputError,
    "long.csv: 2 of 3 visits are within 7 days before 2024-05-09T00:00, but the model was trained " +
      "on 3 or more",
  );
  assertThrows(
    () => historySample(visits, path, { days: 7, minVisits: 1, at: visits[1].start }),
    InputError,
    "line 4: begins at 2024-05-03T12:00, after --at 2024-05-02T00:00",
  );
  assertThrows(() => historySample([], path, { days: 7, minVisits: 1 }), InputError, "no visit");
});

const head = "start,end,place\n";
const bad: Readonly<Record<string, readonly [content: string | Uint8Array, message: string]>> = {
  "an empty file": ["", "is empty: its first line names the columns"],
  "another encoding": [Uint8Array.of(...[0xff, 0xfe], 115, 0, 116, 0), "no text in UTF-8"],
  "no start": ["begin,place\n", "line 1: has no column start; it has begin, place"],
  "no place": ["start,end\n", "neither a column place nor latitude and longitude"],
  "one column twice": ["start,place,start\n", "line 1: two columns are called start"],
  "a line cut short": [
    `${head}2024-05-01T08:00,,2\n2024-05-`,
    "line 3: does not have the 3 fields",
  ],
  "a quote left open": [`${head}2024-05-01T08:00,,"2\n`, "a quote is opened and not closed"],
  "no time": [
    `${head}yesterday,,2\n`,
    'line 2: start is "yesterday": write it as 2024-05-31T17:45',
  ],
  "31 April": [`${head}2024-04-31T08:00,,2\n`, "line 2: start is"],
  "a clock that runs backwards": [
    `${head}2024-05-01T08:00,2024-05-01T07:59,2\n`,
    "line 2: ends at 2024-05-01T07:59, before its start",
  ],
  "two places at once": [
    `${head}2024-05-01T08:00,,2\n2024-05-02T08:00,,2\n2024-05-01T08:00,,3\n`,
    "lines 2 and 4 are visits to two places at one time",
  ],
  "a place that is none": [`${head}2024-05-01T08:00,,home\n`, 'line 2: place is "home"'],
  "a place too many": [`${head}2024-05-01T08:00,,9\n`, "the model knows ids up to 8"],
  "neither place nor position": [`${head}2024-05-01T08:00,,\n`, "line 2: there is no place"],
  "a latitude of 91": [
    "start,latitude,longitude\n2024-05-01T08:00,91,7\n",
    'line 2: latitude is "91": it must be degrees from -90 to 90',
  ],
  "no longitude": [
    "start,latitude,longitude\n2024-05-01T08:00,46,\n",
    'line 2: longitude is "": it must be degrees',
  ],
  "minutes below 0": ["start,minutes,place\n2024-05-01T08:00,-1,2\n", "line 2: minutes is"],
};
for (const [what, [content, message]] of Object.entries(bad)) {
  Deno.test(`visits with ${what} are refused in one line that names file and line`, async () => {
    const path = await write("bad.csv", content);
    const error = await assertRejects(() => readHistory(path, options), InputError, message);
    assertEquals(error.message.startsWith(`${path}: `), true, error.message);
    assertEquals(error.message.includes("\n"), false);
  });
}

Deno.test("positions without places, and places that cannot be, are refused", async () => {
  const path = await write("positions.csv", "start,latitude,longitude\n2024-05-01T08:00,46,7\n");
  await assertRejects(() => readHistory(path, { ...options, places: [] }), InputError, "--places");
  for (
    const [rows, message] of [
      ["id,latitude\n", "has no column longitude; did you mean latitude?"],
      ["id,latitude,longitude\n1,0,0\n", 'line 2: id is "1": it must be a whole number from 2'],
      ["id,latitude,longitude\n2,0,0\n2,1,1\n", "line 3: id 2 is there twice"],
      ["id,latitude,longitude\n2,0,181\n", "line 2: longitude is"],
    ]
  ) {
    const file = await write("places.csv", rows);
    await assertRejects(() => readPlaces(file), InputError, message);
  }
  await assertRejects(() => readPlaces(`${folder}/none.csv`), InputError, "cannot be read");
});

Deno.test("tables of very many rows or columns are refused", async () => {
  const start = "start,place\n";
  for (
    const [content, message] of [
      [start + "a,1\n".repeat(2 ** 18 + 1), ": holds more than 262144 rows: split it"],
      [
        `${Array.from({ length: 5000 }, (_, i) => `c${i}`)}\n`,
        ": line 1: has more than 4096 columns",
      ],
      [`${Array.from({ length: 5e5 }, (_, i) => `c${i}`)}\n`, ": line 1: is longer than 128 KiB"],
      [`${start}"${"a".repeat(2e6)}`, ": line 2: is longer than 128 KiB"],
    ]
  ) {
    const path = await write("many.csv", content);
    const { message: found } = await assertRejects(() => readHistory(path, options), InputError);
    assertEquals(found, `${path}${message}`);
  }
});
