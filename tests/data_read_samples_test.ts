import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Buffer } from "node:buffer";
import { existsSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { InputError } from "../src/core/errors.ts";
import { findSplits, readSamples, readSplits, writeSamples } from "../src/data/read_samples.ts";
import { simulate } from "../src/data/simulate.ts";

const pickles = fileURLToPath(new URL("../fixtures/pickles/", import.meta.url));
const geolife = fileURLToPath(new URL("../../shared/data/geolife", import.meta.url));
const { train, test } = simulate({ people: 2, days: 40, places: 50 });

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function refused(promise: Promise<unknown>): Promise<string> {
  const { message } = await assertRejects(() => promise, InputError);
  assertEquals(message.split("\n").length, 1);
  return message;
}

Deno.test("read samples: every pickle protocol and both numpys give the same samples", async () => {
  const expected = JSON.parse(await Deno.readTextFile(join(pickles, "expected.json"))).samples;
  const keys = ["X", "user_X", "weekday_X", "start_min_X", "dur_X", "diff"] as const;
  for (const protocol of [2, 3, 4, 5]) {
    for (const numpy of [1, 2]) {
      const file = join(pickles, `samples_protocol${protocol}_numpy${numpy}.pk`);
      const samples = await readSamples(file);
      assertEquals(samples.length, expected.length);
      samples.forEach((sample, i) => {
        for (const key of keys) assertEquals([...sample[key]], expected[i][key]);
        assertEquals(sample.Y, expected[i].Y);
        assertEquals(Object.keys(sample).sort(), [...keys, "Y"].sort());
      });
    }
  }
});

Deno.test("read samples: what was written reads back equal, and again to the same bytes", async () => {
  await inFolder(async (folder) => {
    for (const end of ["jsonl", "jsonl.gz"]) {
      const path = join(folder, `a.${end}`);
      await writeSamples(path, train);
      assertEquals(await readSamples(path), train);
      const first = await Deno.readFile(path);
      await writeSamples(path, await readSamples(path));
      assertEquals(await Deno.readFile(path), first);
    }
    assertEquals([...Deno.readDirSync(folder)].length, 2); // no partial files stay
  });
});

Deno.test("read samples: gzip of several members, Windows line ends and blank lines", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "a.jsonl");
    await writeSamples(path, train);
    const text = await Deno.readTextFile(path);
    const lines = text.trimEnd().split("\n");
    await Deno.writeTextFile(path, lines.join("\r\n\r\n"));
    assertEquals(await readSamples(path), train);
    const half = lines.length >> 1;
    const parts = [lines.slice(0, half), lines.slice(half)].map((p) =>
      gzipSync(p.join("\n") + "\n")
    );
    await Deno.writeFile(`${path}.gz`, Buffer.concat(parts));
    assertEquals(await readSamples(`${path}.gz`), train);
  });
});

Deno.test("read samples: files that are not as they should be are named", async () => {
  await inFolder(async (folder) => {
    const say = async (name: string, content: string | Uint8Array): Promise<string> => {
      const path = join(folder, name);
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(path, bytes);
      const text = await refused(readSamples(path));
      assertStringIncludes(text, path);
      return text;
    };
    assertStringIncludes(await say("a.csv", "x"), "must end in .pk, .jsonl or .jsonl.gz");
    assertStringIncludes(await say("a.jsonl", ""), "holds no sample");
    assertStringIncludes(await say("b.jsonl", '\n{"X": [3]}\n'), "line 2: user_X is missing");
    assertStringIncludes(await say("c.jsonl", "\u0000{"), "line 1: no JSON");
    assertStringIncludes(await say("d.jsonl", Uint8Array.of(0x22, 0xff, 0xfe)), "no UTF-8 text");
    assertStringIncludes(await say("e.jsonl.gz", "no gzip"), "cannot be read");
    assertStringIncludes(await say("f.jsonl", "[".repeat(5 * 2 ** 20)), "longer than 4 MiB");
    assertStringIncludes(
      await say("a.pk", Uint8Array.of(0x80, 4, 0x4e, 0x2e)),
      "no list of samples",
    );
    assertStringIncludes(await say("b.pk", Uint8Array.of(0x80, 4, 0x5d, 0x2e)), "holds no sample");
    assertStringIncludes(await say("c.pk", Uint8Array.of(0x80, 4, 0x5d)), "cut short at byte 3");
    const whole = join(folder, "whole.jsonl.gz");
    await writeSamples(whole, train);
    const bytes = await Deno.readFile(whole);
    assertStringIncludes(
      await say("g.jsonl.gz", bytes.slice(0, bytes.length - 20)),
      "cannot be read",
    );
    const missing = join(folder, "none.pk");
    assertEquals(
      await refused(readSamples(missing)),
      `${missing}: cannot be read: there is no such file`,
    );
    assertEquals(
      await refused(readSamples(join(folder, "none.jsonl"))),
      `${join(folder, "none.jsonl")}: cannot be read: there is no such file`,
    );
    await Deno.mkdir(join(folder, "folder.jsonl"));
    assertStringIncludes(
      await refused(readSamples(join(folder, "folder.jsonl"))),
      "cannot be read",
    );
  });
});

Deno.test("read samples: a pickle that runs code or has numbers past 2^53 is refused", async () => {
  const code = await refused(readSamples(join(pickles, "refused_nested_5.pk")));
  assertStringIncludes(code, "wants to run builtins.exec");
  const wide = await refused(readSamples(join(pickles, "int64_large_5.pk")));
  assertStringIncludes(wide, "sample 0 (from 0): diff: a whole number past 2^53");
});

Deno.test("read samples: one array named by very many samples is refused, not copied", async () => {
  await inFolder(async (folder) => {
    // A dict of one list of 50,000 ones under every key, very many times over in a list by reference.
    const path = join(folder, "many.pk");
    const keys = ["user_X", "weekday_X", "start_min_X", "dur_X", "diff"];
    const rest = keys.map((key) => `X${String.fromCharCode(key.length)}\0\0\0${key}h\x01`).join("");
    const ones = "K\x01".repeat(50_000);
    for (
      const [count, problem] of [
        [5000, "more visits than the file has bytes"],
        [20_000, "20000 samples are more than so small a file can hold"],
      ] as const
    ) {
      const content = `}q\0(X\x01\0\0\0X](${ones}eq\x01${rest}X\x01\0\0\0YK\x02u0](${
        "h\0".repeat(count)
      }e.`;
      await Deno.writeFile(path, Buffer.from(`\x80\x02${content}`, "latin1"));
      assertStringIncludes(await refused(readSamples(path)), problem);
    }
  });
});

Deno.test("read samples: values that hold themselves or nest deeply are described short", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "a.pk");
    // [{"X": x}] with x = [x], a list of 100,000 levels, and a long text.
    const values = [
      "]q\x01h\x01a",
      "]".repeat(100_000) + "a".repeat(99_999),
      "X\0\0\x01\0" + "t".repeat(65536),
    ];
    for (const value of values) {
      const content = `\x80\x02](}X\x01\0\0\0X](${value}ese.`;
      await Deno.writeFile(path, Buffer.from(content, "latin1"));
      const text = await refused(readSamples(path));
      assertStringIncludes(text, "sample 0 (from 0): X[0] is ");
      assertEquals(text.length < path.length + 150, true);
    }
    const line = `{"X": [${"[".repeat(50_000)}${"]".repeat(50_000)}]}`;
    await Deno.writeTextFile(`${folder}/a.jsonl`, line);
    assertStringIncludes(
      await refused(readSamples(`${folder}/a.jsonl`)),
      "line 1: X[0] is [[...]]",
    );
  });
});

Deno.test("read samples: text that unpacks to far more than its size is refused", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "a.jsonl.gz");
    for (const content of ["\n", " ".repeat(2 ** 20) + "\n"]) {
      await Deno.writeFile(path, gzipSync(content.repeat(2 ** 25 / content.length)));
      assertStringIncludes(await refused(readSamples(path)), "more than 100 times its size");
    }
    // Little text may repeat itself as much as it likes.
    await writeSamples(path, Array(2000).fill(train[0]));
    assertEquals((await readSamples(path)).length, 2000);
  });
});

Deno.test("read samples: files without an end are cut off", async () => {
  await inFolder(async (folder) => {
    await Deno.symlink("/dev/zero", join(folder, "a.jsonl"));
    const text = await refused(readSamples(join(folder, "a.jsonl")));
    assertStringIncludes(text, "line 1 is longer than 4 MiB");
  });
});

Deno.test("read samples: targets are required unless said otherwise", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "a.jsonl");
    const { Y: _, ...history } = train[0];
    await writeSamples(path, [history]);
    assertStringIncludes(await refused(readSamples(path)), "line 1: Y, the place visited next");
    assertEquals(await readSamples(path, { targets: "optional" }), [history]);
  });
});

Deno.test("read samples: standard input is read as lines", async () => {
  const code = `import { readSamples } from ${
    JSON.stringify(new URL("../src/data/read_samples.ts", import.meta.url).href)
  };
    console.log((await readSamples("-", { targets: "optional" })).map((s) => s.X.join()).join(";"));`;
  const child = new Deno.Command("deno", {
    args: ["eval", code],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const line =
    '{"X":[2,3],"user_X":[1,1],"weekday_X":[0,0],"start_min_X":[1,2],"dur_X":[1,2],"diff":[0,0]}';
  await writer.write(new TextEncoder().encode(`${line}\n${line.replace("[2,3]", "[4,5]")}`));
  await writer.close();
  assertEquals(new TextDecoder().decode((await child.output()).stdout), "2,3;4,5\n");
});

Deno.test("read samples: a data set is found by prefix or directory, with only what is asked", async () => {
  await inFolder(async (folder) => {
    const prefix = join(folder, "city_7");
    const empty = await refused(findSplits(folder));
    assertStringIncludes(empty, "holds no samples");
    const none = await refused(findSplits(prefix));
    assertStringIncludes(none, `${prefix}_train.pk: there is no such file, nor one ending in`);
    await writeSamples(`${prefix}_train.jsonl`, train);
    await writeSamples(`${prefix}_test.jsonl`, test);
    const partly = await refused(readSplits(prefix));
    assertStringIncludes(partly, `${prefix}_validation.jsonl: there is no such file`);
    assertEquals(await findSplits(folder, ["test"]), { test: `${prefix}_test.jsonl` });
    const read = await readSplits(folder, ["test", "train"]);
    assertEquals(read, { test, train });
    await writeSamples(`${prefix}_validation.jsonl`, test);
    assertEquals(Object.keys(await readSplits(prefix)), ["train", "validation", "test"]);
    await writeSamples(join(folder, "other_test.jsonl.gz"), test);
    const several = await refused(readSplits(folder));
    assertStringIncludes(several, `name one: ${prefix}, ${join(folder, "other")}`);
  });
});

Deno.test("read samples: writing fails with one line and leaves nothing", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "none", "a.jsonl");
    assertStringIncludes(await refused(writeSamples(path, train)), `${path}: cannot be written`);
    const end = await refused(writeSamples(join(folder, "a.pk"), train));
    assertStringIncludes(end, "ending in .jsonl or .jsonl.gz");
    const old = join(folder, "old.jsonl");
    await writeSamples(old, test);
    const failing = function* () {
      yield train[0];
      throw new Error("stopped half way");
    };
    assertStringIncludes(await refused(writeSamples(old, failing())), "stopped half way");
    assertEquals(await readSamples(old), test);
    assertEquals([...Deno.readDirSync(folder)].length, 1);
  });
});

const present = existsSync(geolife);
Deno.test({
  name: `read samples: GeoLife has 7424, 3334 and 3502 samples${
    present ? "" : " (skipped: ../shared/data/geolife is not there)"
  }`,
  ignore: !present,
  fn: async () => {
    const splits = await readSplits(geolife);
    assertEquals(Object.values(splits).map((s) => s.length), [7424, 3334, 3502]);
    assertEquals(splits.test.filter(({ Y }) => Y === 1).length, 798);
    assertEquals(splits.train.filter(({ Y }) => Y === 1).length, 0);
    // Summed by Python over X, dur_X and Y of the test split.
    let sum = 0;
    for (const { X, dur_X, Y } of splits.test) {
      for (let i = 0; i < X.length; i++) sum += X[i] + dur_X[i];
      sum += Y!;
    }
    assertEquals(sum, 37921352);
  },
});
