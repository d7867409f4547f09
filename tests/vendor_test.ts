// What the project relies on in @std/*, by its documentation: holds for the published packages and
// for the faces in vendor/ that stand in for them.
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  AssertionError,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
  equal,
} from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { parse, stringify } from "@std/yaml";

Deno.test("assertEquals: 0 equals -0, NaN equals NaN, types and missing keys count", () => {
  const equals: [unknown, unknown][] = [
    [0, -0],
    [NaN, NaN],
    [new Float32Array([0, NaN]), new Float32Array([-0, NaN])],
    [{ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }],
    [new Map([["a", [1]]]), new Map([["a", [1]]])],
    [new Set([1, 2]), new Set([2, 1])],
    [Object.create(null), {}],
  ];
  const differ: [unknown, unknown][] = [
    [1, 2],
    [1, "1"],
    [{ a: undefined }, {}],
    [[1, 2], [1, 2, 3]],
    [new Float32Array([1]), new Float64Array([1])],
    [new Float32Array([1]), new Float32Array([2])],
    [new Date(1), new Date(2)],
    [null, undefined],
  ];
  for (const [a, b] of equals) {
    assert(equal(a, b));
    assertEquals(a, b);
    assertThrows(() => assertNotEquals(a, b), AssertionError);
  }
  for (const [a, b] of differ) {
    assert(!equal(a, b));
    assertNotEquals(a, b);
    assertThrows(() => assertEquals(a, b), AssertionError, "Values are not equal");
  }
});

Deno.test("assertAlmostEquals: the tolerance is absolute, by default 1e-7 of the value", () => {
  assertAlmostEquals(1000.00005, 1000);
  assertThrows(() => assertAlmostEquals(1000.0002, 1000), AssertionError);
  assertAlmostEquals(0.1, 0.2, 0.11);
  assertThrows(() => assertAlmostEquals(0.1, 0.2, 0.09), AssertionError);
  assertThrows(() => assertAlmostEquals(NaN, 1, 1e9), AssertionError);
});

Deno.test("assertThrows and assertRejects: class and text are checked, the error is given", async () => {
  const fails = (): never => {
    throw new RangeError("too large");
  };
  assertEquals(assertThrows(fails, RangeError, "large").message, "too large");
  assertThrows(() => assertThrows(fails, TypeError), AssertionError);
  assertThrows(() => assertThrows(fails, RangeError, "small"), AssertionError);
  assertThrows(() => assertThrows(() => {}), AssertionError);
  const rejects = () => Promise.reject(new RangeError("too large"));
  assertEquals((await assertRejects(rejects, RangeError, "large")).message, "too large");
  await assertRejects(() => assertRejects(rejects, TypeError), AssertionError);
  await assertRejects(() => assertRejects(() => Promise.resolve()), AssertionError);
});

Deno.test("parseArgs: numbers, strings, booleans, negation, collecting, aliases, defaults", () => {
  assertEquals(parseArgs(["--foo", "--bar=baz", "-n", "5", "./quux.txt", "7"]), {
    foo: true,
    bar: "baz",
    n: 5,
    _: ["./quux.txt", 7],
  });
  assertEquals(
    parseArgs(["--seed", "007", "--json", "file", "--no-progress", "-h", "--seed=8"], {
      string: ["seed", "out"],
      boolean: ["json", "progress", "help", "quiet"],
      negatable: ["progress"],
      alias: { help: "h" },
      default: { out: "runs", progress: true },
    }),
    {
      seed: "8",
      json: true,
      progress: false,
      help: true,
      h: true,
      quiet: false,
      out: "runs",
      _: ["file"],
    },
  );
  assertEquals(
    parseArgs(["--foo", "bar", "--foo=baz"], { collect: ["foo", "none"], string: "none" }),
    { foo: ["bar", "baz"], none: [], _: [] },
  );
});

Deno.test("parseArgs: what starts with a dash is no value; -- ends the options", () => {
  assertEquals(
    parseArgs(["--config", "--seed", "1", "--", "--x", "y"], { string: ["config"], "--": true }),
    { config: "", seed: 1, _: [], "--": ["--x", "y"] },
  );
  assertEquals(parseArgs(["a", "--", "--b"]), { _: ["a", "--b"] });
  assertEquals(parseArgs(["--input", "-"], { string: ["input"] }), { input: "", _: ["-"] });
  assertEquals(parseArgs(["--json", "false"], { boolean: ["json"] }), { json: false, _: [] });
  assertEquals(parseArgs(["--no-json"], { boolean: ["json"] }), {
    json: false,
    "no-json": true,
    _: [],
  });
});

Deno.test("parseArgs: unknown is told argument, name and value, and can refuse", () => {
  const seen: unknown[] = [];
  const args = parseArgs(["--sed", "3", "file", "--no-x", "--ok", "v", "--config="], {
    string: ["ok", "config"],
    unknown: (...told) => {
      seen.push(told.slice(0, 3));
      return false;
    },
  });
  assertEquals(args, { ok: "v", _: [] });
  assertEquals(seen, [
    ["--sed", "sed", "3"],
    ["file"],
    ["--no-x", "no-x", true],
    ["--config=", "config=", true],
  ]);
});

Deno.test("parse: scalars, collections, nothing, and errors with line and column", () => {
  assertEquals(
    parse("a: 1\nb: 1e-3\nc: yes\nd: true\ne: ~\nf: '1'\ng: [x, 2.5]\nh: {i: .inf}\n"),
    { a: 1, b: 0.001, c: "yes", d: true, e: null, f: "1", g: ["x", 2.5], h: { i: Infinity } },
  );
  assertEquals(parse(""), null);
  const repeated = "a: 1\nb: 2\na: 3\n";
  assertStringIncludes(
    assertThrows(() => parse(repeated), SyntaxError).message,
    "at line 3, column",
  );
  assertEquals(parse(repeated, { allowDuplicateKeys: true }), { a: 3, b: 2 });
  assertStringIncludes(
    assertThrows(() => parse("a: [1, 2\nb: 3"), SyntaxError).message,
    "at line 2",
  );
  assertThrows(() => parse("a: 1\n---\nb: 2"), SyntaxError);
  assertThrows(() => parse("a: !!js/function 'function () {}'"), SyntaxError);
});

Deno.test("stringify: what parse reads back; functions are refused", () => {
  const value = { a: 1e-6, b: { c: [1, "yes", "1"], d: null }, e: true, f: "a: b" };
  assertEquals(parse(stringify(value)), value);
  assertEquals(stringify({ id: 1, name: "Alice" }), "id: 1\nname: Alice\n");
  assertThrows(() => stringify({ a: () => 1 }), TypeError);
});
