import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { checkSamples, formatSample, makeSample, parseSample } from "../src/data/samples.ts";

type Raw = Record<string, unknown>;

const good: Raw = {
  X: [2, 1, 7],
  user_X: [3, 3, 3],
  weekday_X: [0, 6, 0],
  start_min_X: [0, 1439, 600],
  dur_X: [0, 2879, 30.25],
  diff: [7, 1, 0],
  Y: 5,
};

const sampleOf = (raw: Raw) => makeSample((key) => raw[key], "data.pk: sample 4");

function refused(change: Raw): string {
  const raw = { ...good, ...change };
  return assertThrows(() => sampleOf(raw), InputError).message;
}

Deno.test("samples: a good sample keeps its values in typed arrays", () => {
  const sample = sampleOf(good);
  assertEquals(sample, {
    X: Int32Array.of(2, 1, 7),
    user_X: Int32Array.of(3, 3, 3),
    weekday_X: Int32Array.of(0, 6, 0),
    start_min_X: Int32Array.of(0, 1439, 600),
    dur_X: Float64Array.of(0, 2879, 30.25),
    diff: Int32Array.of(7, 1, 0),
    Y: 5,
  });
  assertEquals(Object.isFrozen(sample), true);
});

const faults: readonly (readonly [string, Raw, readonly string[]])[] = [
  ["empty sequence", { X: [] }, ["X is empty", "at least 1 visit"]],
  ["missing key", { weekday_X: undefined }, ["weekday_X is missing"]],
  ["no list", { diff: 3 }, ["diff is 3", "list of numbers"]],
  ["another length", { dur_X: [1, 2] }, ["dur_X has 2 values and X has 3"]],
  ["NaN", { dur_X: [1, NaN, 2] }, ["dur_X[1] is NaN", "finite"]],
  ["infinity", { dur_X: [1, 2, Infinity] }, ["dur_X[2] is Infinity", "finite"]],
  ["text", { X: [2, "3", 4] }, ['X[1] is "3"', "not a number"]],
  ["null", { user_X: [1, null, 1] }, ["user_X[1] is null", "not a number"]],
  ["fraction", { start_min_X: [1.5, 0, 0] }, ["start_min_X[0] is 1.5", "whole number"]],
  ["padding id", { X: [2, 0, 3] }, ["X[1] is 0", "0 is padding"]],
  ["negative id", { user_X: [0, -1, 0] }, ["user_X[1] is -1", "from 0"]],
  ["weekday", { weekday_X: [0, 7, 0] }, ["weekday_X[1] is 7", "0 to 6"]],
  ["minute", { start_min_X: [0, 0, 1440] }, ["start_min_X[2] is 1440", "0 to 1439"]],
  ["duration", { dur_X: [0, 2880, 1] }, ["dur_X[1] is 2880", "0 to 2879", "cap"]],
  ["negative duration", { dur_X: [0, -1, 1] }, ["dur_X[1] is -1"]],
  ["negative diff", { diff: [-1, 0, 0] }, ["diff[0] is -1"]],
  ["id past 32 bits", { X: [2 ** 31, 2, 2] }, ["X[0] is 2147483648"]],
  ["missing target", { Y: undefined }, ["Y", "missing"]],
  ["padding target", { Y: 0 }, ["Y is 0", "0 is padding"]],
  ["fractional target", { Y: 2.5 }, ["Y is 2.5", "whole"]],
];

for (const [name, change, parts] of faults) {
  Deno.test(`samples: ${name} is named with file, sample and key`, () => {
    const text = refused(change);
    for (const part of ["data.pk: sample 4: ", ...parts]) assertStringIncludes(text, part);
    assertEquals(text.split("\n").length, 1);
  });
}

Deno.test("samples: durations of 2879 and a fraction still count as 2879 whole minutes", () => {
  assertEquals(sampleOf({ ...good, dur_X: [2879.5, 0, 0] }).dur_X[0], 2879.5);
});

Deno.test("samples: targets may be absent where that is asked for, and only there", () => {
  const { Y: _, ...rest } = good;
  assertEquals("Y" in makeSample((key) => rest[key as keyof typeof rest], "x", "optional"), false);
  assertEquals(makeSample((key) => good[key], "x", "optional").Y, 5);
});

Deno.test("samples: ids past the tables are named with the size that would fit all", () => {
  const samples = [good, { ...good, X: [2, 40, 50] }, { ...good, Y: 99, user_X: [8, 8, 9] }]
    .map(sampleOf);
  const limits = { file: "data.jsonl", totalLocNum: 100, totalUserNum: 10 };
  checkSamples(samples, limits);
  const place = assertThrows(
    () => checkSamples(samples, { ...limits, totalLocNum: 50 }),
    InputError,
  );
  assertEquals(
    place.message,
    "data.jsonl: sample 1 (from 0): X[2] is 50, but dataset_info.total_loc_num is 50, so ids run " +
      "to 49: train with total_loc_num 100 or more, or give unknown places the id 1",
  );
  const target = assertThrows(
    () => checkSamples(samples, { ...limits, totalLocNum: 99 }),
    InputError,
  );
  assertStringIncludes(target.message, "sample 2 (from 0): Y is 99");
  const user = assertThrows(
    () => checkSamples(samples, { ...limits, totalUserNum: 8 }),
    InputError,
  );
  assertStringIncludes(user.message, "sample 2 (from 0): user_X[0] is 8");
  assertStringIncludes(user.message, "train with total_user_num 10 or more");
});

Deno.test("samples: a line of JSON reads back equal", () => {
  const sample = sampleOf(good);
  const line = formatSample(sample);
  assertEquals(line.includes("\n"), false);
  assertEquals(JSON.parse(line), good);
  assertEquals(parseSample(line, "x"), sample);
});

Deno.test("samples: lines that are no samples say why", () => {
  const say = (line: string) =>
    assertThrows(() => parseSample(line, "d.jsonl: line 7"), InputError);
  assertStringIncludes(say('{"X": [1').message, "d.jsonl: line 7: no JSON");
  assertStringIncludes(say("[1, 2]").message, "no JSON object");
  assertStringIncludes(say("null").message, "no JSON object");
  assertStringIncludes(say("{}").message, "X is missing");
  assertStringIncludes(say('{"__proto__": {"X": [2]}}').message, "X is missing");
  const odd = JSON.stringify(good).replace("2879", "NaN");
  assertStringIncludes(say(odd).message, "line 7: dur_X holds NaN: it must be a finite number");
  const infinite = JSON.stringify(good).replace("2879", "-Infinity");
  assertStringIncludes(say(infinite).message, "dur_X holds -Infinity");
  say("[".repeat(1_000_000));
});
