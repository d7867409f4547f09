import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { cpuUsage } from "node:process";
import { InputError } from "../src/core/errors.ts";
import { formatTable, tryApart } from "./fuzz/apart.ts";
import { reader, tryReader } from "./fuzz/reader.ts";
import { readers } from "./fuzz/readers.ts";

/** Another one with `FUZZ_SEED=7 deno test tests/fuzz_test.ts`; `deno task fuzz` tries more. */
const seed = Number(Deno.env.get("FUZZ_SEED") ?? 20261123);

const module = new URL("./fuzz/readers.ts", import.meta.url).href;

for (const [index, one] of readers.entries()) {
  Deno.test(`fuzz: ${one.name} (FUZZ_SEED=${seed})`, async () => {
    const { cases, accepted, refused, crashes, hangs } = one.apart
      ? await tryApart({ module, index, cases: 30, seed })
      : await tryReader(one, { cases: 300, seed });
    assertEquals([...crashes, ...hangs], []);
    assertEquals(accepted + refused, cases);
    assertEquals(one.name.startsWith("valid") ? refused : 0, 0);
  });
}

/** Tries what a reader that is given a number does. */
const tried = (read: (input: number) => unknown) =>
  tryReader(reader({ name: "x", input: fc.nat(9), names: "file", read }), {
    cases: 50,
    seed: 1,
    limit: 100,
  });

Deno.test("fuzz: what readers must not do is seen", async () => {
  const fine = await tried((n) => {
    if (n > 5) throw new InputError("file: is wrong");
  });
  assertEquals([fine.cases, fine.crashes, fine.hangs], [50, [], []]);
  assert(fine.accepted > 0 && fine.refused > 0 && fine.accepted + fine.refused === 50);
  const faults: [string, (n: number) => unknown][] = [
    ["TypeError", () => (undefined as unknown as string).length],
    ["one printable line", () => Promise.reject(new InputError("file: two\nlines"))],
    ["does not name file", () => Promise.reject(new InputError("is wrong"))],
    ["has 800 characters", () => Promise.reject(new InputError("file".repeat(200)))],
  ];
  for (const [part, read] of faults) {
    const { crashes, hangs } = await tried(read);
    assertEquals([crashes.length, hangs.length], [1, 0]);
    assertStringIncludes(crashes[0], part);
  }
  const slow = await tried((n) => {
    const started = cpuUsage();
    while (n === 3 && cpuUsage(started).user < 150_000);
  });
  assertEquals([slow.crashes.length, slow.hangs.length], [0, 1]);
  assertStringIncludes(slow.hangs[0], "[3]");
});

Deno.test("fuzz: a process that never answers, ends or takes too much memory is seen", async () => {
  const module = new URL("./fuzz/broken_readers.ts", import.meta.url).href;
  const [endless, exits, greedy] = await Promise.all(
    [4000, undefined, undefined].map((silence, index) =>
      tryApart({ module, index, cases: 3, seed: 1, silence, mostMemory: 300 })
    ),
  );
  assertEquals([endless.crashes.length, endless.hangs.length], [0, 1]);
  assertStringIncludes(endless.hangs[0], "no answer for 4000 ms");
  assertEquals(exits.hangs, []);
  assertStringIncludes(exits.crashes.join(), "ended with 3");
  assertStringIncludes(greedy.crashes.join(), "more than 300");
  const table = formatTable([{ name: "greedy", ...greedy }]);
  assertStringIncludes(table, `| greedy | 3 | 3 | 0 | 1 | 0 | ${greedy.memory} |`);
});
