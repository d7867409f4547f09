import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DuckDBInstance } from "@duckdb/node-api";
import { gzipSync } from "node:zlib";
import { InputError } from "../src/core/errors.ts";
import { randomKey } from "../src/core/random.ts";
import {
  readSequences,
  type ReadSequencesOptions,
  readSequenceSplits,
} from "../src/data/read_sequences.ts";
import {
  learnStandardization,
  type SequenceData,
  splitSequences,
  standardize,
  unstandardize,
} from "../src/data/sequences.ts";

const folder = Deno.makeTempDirSync({ prefix: "gatewise_sequences_" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = `${folder}/${name}`;
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  Deno.writeFileSync(path, name.endsWith(".gz") ? gzipSync(bytes) : bytes);
  return path;
}

/** A database that writes Parquet, independent of what reads it. */
async function database() {
  const connection = await (await DuckDBInstance.create()).connect();
  return Object.assign(connection, { [Symbol.dispose]: () => connection.closeSync() });
}

const moves: SequenceData = {
  samples: [
    { values: Float32Array.of(1, 2, 3, 4.5), steps: 2, label: 1, id: "a" },
    { values: Float32Array.of(-5, 6e-3), steps: 1, label: 0, id: "b" },
  ],
  features: ["x", "y"],
  width: 2,
  classes: ["down", "up"],
};
const numbered = {
  ...moves,
  features: ["feature_0", "feature_1"],
};

Deno.test("sequences: CSV, JSON lines and JSON of the same sequences read alike", async () => {
  const rows = ["a,1,2,up", "b,-5,6e-3,down", "a,3,4.5,"];
  for (const [separator, end] of [[",", "\n"], [";", "\r\n"], ["\t", "\n"]]) {
    const text = ["Sequence,x,y,label", ...rows].join(end).replaceAll(",", separator);
    for (const name of ["x.csv", "x.csv.gz"]) {
      assertEquals(await readSequences(file(name, text)), moves);
    }
  }
  const objects = [
    '{"id": "a", "values": [[1, 2], [3, 4.5]], "label": "up"}',
    '{"id": "b", "values": [[-5, 6e-3]], "label": "down", "more": 1}',
  ];
  assertEquals(await readSequences(file("x.jsonl", `${objects.join("\n\n")}\n`)), numbered);
  assertEquals(await readSequences(file("x.jsonl.gz", objects.join("\r\n"))), numbered);
  assertEquals(await readSequences(file("x.json", `[${objects}]`)), numbered);
  const lists = '{"ids": ["a", "b"], "sequences": [[[1, 2], [3, 4.5]], [[-5, 6e-3]]], ' +
    '"labels": ["up", "down"]}';
  assertEquals(await readSequences(file("x.json", lists)), numbered);
});

Deno.test("sequences: columns are chosen by name; numbers to predict", async () => {
  const csv = file(
    "forecast.csv",
    "day,who,Tomorrow,later,spread\n1,a,5,6,0.5\n2,a,5,6,0.25\n1,b,7,,0\n2,b,7,8,0\n",
  );
  const data = await readSequences(csv, { id: "who", targets: ["tomorrow"] }).then(
    ({ samples: [{ values, target }], features, targets }) => ({
      values: [...values],
      target: [...target!],
      features,
      targets,
    }),
    (error) => error.message,
  );
  assertEquals(data, `${csv}: line 4: later is empty: it must be a number`);
  const whole = file("forecast.csv", "who,t,v,w\na,5,1,2\na,5,3,4\nb,6,5,6\n");
  assertEquals(await readSequences(whole, { id: "who", targets: ["t"] }), {
    samples: [
      { values: Float32Array.of(1, 2, 3, 4), steps: 2, target: Float32Array.of(5), id: "a" },
      { values: Float32Array.of(5, 6), steps: 1, target: Float32Array.of(6), id: "b" },
    ],
    features: ["v", "w"],
    width: 2,
    targets: ["t"],
  });
  const several = file("several.csv", "sequence,target_high,v,target_low\na,5,1,2\nb,6,5,6\n");
  const read = await readSequences(several);
  assertEquals([read.features, read.targets], [["v"], ["target_high", "target_low"]]);
  assertEquals(read.samples.map(({ target }) => [...target!]), [[5, 2], [6, 6]]);
  const json = file("x.json", '{"sequences": [[1, 2], [3]], "targets": [0.5, [1.5]]}');
  assertEquals(await readSequences(json), {
    samples: [
      { values: Float32Array.of(1, 2), steps: 2, target: Float32Array.of(0.5) },
      { values: Float32Array.of(3), steps: 1, target: Float32Array.of(1.5) },
    ],
    features: ["feature"],
    width: 1,
    targets: ["target"],
  });
});

Deno.test("sequences: classes that are whole numbers go by size, others by characters", async () => {
  const classes = async (labels: readonly unknown[]) => {
    const sequences = labels.map(() => [1]);
    return (await readSequences(file("c.json", JSON.stringify({ sequences, labels })))).classes;
  };
  assertEquals(await classes([10, 9, 2, -1, 10]), ["-1", "2", "9", "10"]);
  assertEquals(await classes(["10", "9", "b", "a"]), ["10", "9", "a", "b"]);
  assertEquals(await classes([true, false]), ["false", "true"]);
});

Deno.test("sequences: those to predict need no answers, and take the training data's order", async () => {
  const csv = file("new.csv", "y,noise,sequence,x\n2,?,a,1\n4.5,?,a,3\n");
  const { samples, features, classes } = await readSequences(csv, {
    answers: "optional",
    like: moves,
  });
  assertEquals(samples, [{ values: Float32Array.of(1, 2, 3, 4.5), steps: 2, id: "a" }]);
  assertEquals([features, classes], [moves.features, moves.classes]);
  const jsonl = file("new.jsonl", '{"values": [[1, 2]], "label": "up"}');
  assertEquals((await readSequences(jsonl, { like: moves })).samples[0].label, 1);
});

Deno.test("sequences: bad input is one line with file, line and what to do", async () => {
  const cases: [string, string | Uint8Array, string, ReadSequencesOptions?][] = [
    ["x.csv", "", "is empty: its first line names the columns"],
    ["x.csv", "sequence,x,label\n", "holds no sequence"],
    ["x.csv", "sequence,x,label\na,1,up\na,2\n", "line 3: does not have the 3 fields"],
    ["x.csv", "seq,x,label\na,1,up\n", "has no column sequence"],
    ["x.csv", "seqence,x,label\na,1,up\n", "did you mean seqence?"],
    ["x.csv", "sequence,x\na,1\n", "has no labels and no targets"],
    ["x.csv", "sequence,label\na,up\n", "has no column for a feature"],
    ["x.csv", "sequence,x,label,target\na,1,up,2\n", "say which to predict"],
    ["x.csv", "sequence,x,label\na,one,up\n", 'line 2: x is "one", not a number'],
    ["x.csv", "sequence,x,label\na,,up\n", "line 2: x is empty"],
    ["x.csv", "sequence,x,label\na,nan,up\n", 'line 2: x is "nan", not a number'],
    ["x.csv", "sequence,x,label\na,Infinity,up\n", "line 2: x is Infinity"],
    ["x.csv", "sequence,x,label\na,1e39,up\n", "line 2: x is 1e+39: it must be a finite 32-bit"],
    ["x.csv", "sequence,x,label\na,1,up\n,1,up\n", "line 3: sequence is empty"],
    ["x.csv", "sequence,x,label\na,1,up\na,1,down\n", 'line 3: label is "down", but it was "up"'],
    ["x.csv", "sequence,x,label\na,1,up\nb,1,\n", "line 3: sequence b: has no label"],
    ["x.csv", "sequence,x,target\na,1,1\na,1,2\n", "line 3: target is 2, but it was 1"],
    ["x.csv", "sequence,x,label\na,1,sideways\n", 'label "sideways" was not in the training', {
      like: { features: ["x"], classes: ["down", "up"] },
    }],
    ["x.csv", "sequence,x,label\na,1,up\n", "has no column y for a feature", { like: moves }],
    ["x.csv", Uint8Array.of(0xff, 0xfe, 0x61, 0), "is no text in UTF-8"],
    ["x.jsonl", "", "holds no sequence"],
    ["x.jsonl", "[1]\n", "line 1: [1] is no JSON object"],
    ["x.jsonl", '{"values": [1], "label": 1}\n{"values"', "line 2: no JSON"],
    ["x.jsonl", '{"label": 1}', "line 1: values is missing"],
    ["x.jsonl", '{"values": 7, "label": 1}', "line 1: values is 7"],
    ["x.jsonl", '{"values": [], "label": 1}', "line 1: values is empty"],
    ["x.jsonl", '{"values": [[]], "label": 1}', "line 1: values[0] is empty"],
    ["x.jsonl", '{"values": [[1, 2], [3]], "label": 1}', "values[1] has 1 numbers, but [0] has 2"],
    ["x.jsonl", '{"values": [[1], 2], "label": 1}', "values[1] is 2, not a list"],
    ["x.jsonl", '{"values": [1, [2]], "label": 1}', "values[1] is [2], not a number"],
    ["x.jsonl", '{"values": [1, "2"], "label": 1}', 'values[1] is "2", not a number'],
    ["x.jsonl", '{"values": [1, null], "label": 1}', "values[1] is empty"],
    ["x.jsonl", '{"values": [1, NaN], "label": 1}', "line 1: values holds NaN"],
    ["x.jsonl", '{"values": [1, 1e39], "label": 1}', "values[1] is 1e+39"],
    ["x.jsonl", '{"values": [1], "label": 0.5}', "a class is a text or a whole number"],
    ["x.jsonl", '{"values": [1], "label": [1]}', "a class is a text or a whole number"],
    ["x.jsonl", '{"values": [1], "label": 1, "target": 2}', "has both a label and a target"],
    [
      "x.jsonl",
      '{"values": [1], "label": 1}\n{"values": [1], "target": 2}',
      "line 2: has a target",
    ],
    ["x.jsonl", '{"values": [1], "label": 1}\n{"values": [1]}', "line 2: has no label"],
    [
      "x.jsonl",
      '{"values": [1], "label": 1}\n{"values": [[1, 2]]}',
      "line 2: values has 2 numbers",
    ],
    ["x.jsonl", '{"values": [[1, 2, 3]], "label": "up"}', "values has 3 numbers", { like: moves }],
    ["x.jsonl", '{"values": [[1, 2]], "label": "top"}', 'label "top" was not in', { like: moves }],
    ["x.jsonl", Uint8Array.of(0x7b, 0xff), "is no UTF-8 text"],
    ["x.json", "", "no JSON"],
    ["x.json", "3", "3 is no JSON object"],
    ["x.json", "[]", "holds no sequence"],
    ["x.json", "[3]", "sequence 0 (from 0): 3 is no JSON object"],
    ["x.json", '{"labels": [1]}', "sequences is missing"],
    ["x.json", '{"sequences": [[1]], "labels": [1, 2]}', "there are 1 sequences and 2 labels"],
    ["x.json", Uint8Array.of(0xfe, 0xff), "is no text in UTF-8"],
    ["x.txt", "a", "unknown kind of file"],
  ];
  for (const [name, content, part, options] of cases) {
    const path = file(name, content);
    const error = await assertRejects(() => readSequences(path, options), InputError);
    assert(error.message.startsWith(path), error.message);
    assert(error.message.includes(part), `${error.message} has no "${part}"`);
    assert(!error.message.includes("\n"));
  }
  await assertRejects(
    () => readSequences(`${folder}/no.csv`),
    InputError,
    "no.csv: cannot be read",
  );
  Deno.writeFileSync(
    `${folder}/cut.csv.gz`,
    gzipSync("sequence,x,label\na,1,up\n").subarray(0, 30),
  );
  await assertRejects(() => readSequences(`${folder}/cut.csv.gz`), InputError, "cannot be read");
});

Deno.test("standardization: as torch.std(correction=0) has it, undone exactly enough", () => {
  // torch.tensor([[1,100,7],[2,300,7],[4,200,7],[9,0,7]]).mean(0), .std(0, unbiased=False)
  const rows = [Float32Array.of(1, 100, 7, 2, 300, 7), Float32Array.of(4, 200, 7, 9, 0, 7)];
  const learned = learnStandardization(rows, 3);
  assertEquals([...learned.mean.data], [4, 150, 7]);
  assertEquals([...learned.std.data], [
    Math.fround(3.082207001484488),
    Math.fround(111.80339887498948),
    1,
  ]);
  const [first] = rows.map((values) => standardize(values, learned));
  assertEquals([first[2], first[5]], [0, 0]);
  assertEquals(unstandardize(first, learned).map(Math.round), rows[0]);
  // A constant far from 0, whose mean rounds, is still a constant.
  const far = new Float32Array(7).fill(1e7 / 3);
  assertEquals([...learnStandardization([far], 1).std.data], [1]);
  assertThrows(() => learnStandardization([], 3), RangeError);
});

const many = (count: number, classes: number): SequenceData => ({
  samples: Array.from({ length: count }, (_, i) => ({
    values: Float32Array.of(i),
    steps: 1,
    label: i % classes,
  })),
  features: ["x"],
  width: 1,
  classes: Array.from({ length: classes }, String),
});

Deno.test("split: every sequence once, every class by its share, the same for the same key", () => {
  const data = many(103, 4);
  const parts = splitSequences(data, randomKey(5));
  assertEquals(splitSequences(data, randomKey(5)), parts);
  assert(
    splitSequences(data, randomKey(6)).test.samples.some((s, i) => s !== parts.test.samples[i]),
  );
  const all = [parts.train, parts.validation, parts.test].flatMap(({ samples }) => samples);
  assertEquals(new Set(all).size, 103);
  for (let label = 0; label < 4; label++) {
    const counts = [parts.train, parts.validation, parts.test]
      .map(({ samples }) => samples.filter((s) => s.label === label).length);
    const total = counts.reduce((a, b) => a + b);
    for (const [i, share] of [0.6, 0.2, 0.2].entries()) {
      assert(Math.abs(counts[i] - share * total) < 1, `${counts}`);
    }
  }
  for (const { samples } of Object.values(parts)) {
    assertEquals(
      samples.map((s) => s.values[0]),
      samples.map((s) => s.values[0]).sort((a, b) => a - b),
    );
  }
  // A class of one sequence is in training, where it can be learned.
  const rare = splitSequences({
    ...data,
    samples: [...many(20, 1).samples, { ...data.samples[1] }],
  }, randomKey(1));
  assert(rare.train.samples.some(({ label }) => label === 1));
  assertThrows(() => splitSequences(many(2, 2), randomKey(1)), InputError, "too few to split");
});

Deno.test("split: three files of one data set share the training file's classes", async () => {
  const rows = "sequence,x,label\na,1,up\nb,2,down\nc,3,flat\n";
  file("set_train.csv", rows);
  file("set_validation.csv", "label,sequence,x\nup,a,1\n");
  file("set_test.csv", "sequence,x,label\na,1,flat\n");
  const key = randomKey(1);
  const { train, validation, test } = await readSequenceSplits(`${folder}/set`, { key });
  assertEquals(
    [train.classes, validation.classes, test.classes],
    Array(3).fill(["down", "flat", "up"]),
  );
  assertEquals([validation.samples[0].label, test.samples[0].label], [2, 1]);
  file("set_test.csv", "sequence,x,label\na,1,new\n");
  await assertRejects(
    () => readSequenceSplits(`${folder}/set`, { key }),
    InputError,
    "set_test.csv",
  );
  Deno.removeSync(`${folder}/set_test.csv`);
  await assertRejects(
    () => readSequenceSplits(`${folder}/set`, { key }),
    InputError,
    "set_test.csv",
  );
  const one = file(
    "one.csv",
    "sequence,x,label\n" + many(20, 2).samples.map((s, i) => `s${i},${i},${s.label}\n`).join(""),
  );
  const parts = await readSequenceSplits(one, { key });
  assertEquals(Object.values(parts).map(({ samples }) => samples.length), [12, 4, 4]);
});

const fixtures = new URL("../fixtures/sequences/", import.meta.url).pathname;

Deno.test("sequences: Parquet files of DuckDB read as the same rows in CSV", async () => {
  const expected = await readSequences(`${fixtures}steps.csv`);
  assertEquals(expected.samples.length, 6);
  for (const kind of ["snappy", "zstd", "gzip", "plain"]) {
    assertEquals(await readSequences(`${fixtures}${kind}.parquet`), expected, kind);
  }
});

Deno.test("sequences: Parquet in several row groups, with every encoding that DuckDB chooses", async () => {
  using connection = await database();
  const write = (name: string, options: string): Promise<unknown> =>
    connection.run(`COPY steps TO '${folder}/${name}' (${options})`);
  await connection.run(
    "CREATE TABLE steps AS SELECT 's' || i % 97 AS sequence, hash(i) % 1000003 AS large, " +
      "(hash(i + 1) % 100000)::INTEGER AS small, hash(i + 2) / 1.8446744073709552e19 AS real, " +
      "(hash(i + 3) % 2048 / 7)::FLOAT AS single, 1 AS constant, i % 97 % 3 AS label " +
      "FROM range(9000) t(i) ORDER BY i",
  );
  await write("many.csv", "FORMAT csv, HEADER");
  const expected = await readSequences(`${folder}/many.csv`);
  const found = new Set<string>();
  for (const version of ["V1", "V2"]) {
    for (const codec of ["snappy", "zstd", "gzip", "brotli", "uncompressed"]) {
      const name = `${version}_${codec}.parquet`;
      await write(
        name,
        `FORMAT parquet, COMPRESSION ${codec}, PARQUET_VERSION ${version}, ROW_GROUP_SIZE 2048`,
      );
      const rows = await connection.runAndReadAll(
        `SELECT DISTINCT row_group_id, encodings FROM parquet_metadata('${folder}/${name}')`,
      );
      for (const [, encodings] of rows.getRows()) found.add(String(encodings));
      assertEquals(await readSequences(`${folder}/${name}`), expected, name);
    }
  }
  assert(found.size >= 4, [...found].join());
});

Deno.test("sequences: Parquet that cannot be is refused in one line", async () => {
  using connection = await database();
  const table = async (select: string): Promise<string> => {
    await connection.run(`COPY (${select}) TO '${folder}/x.parquet' (FORMAT parquet)`);
    return `${folder}/x.parquet`;
  };
  const good = Deno.readFileSync(`${fixtures}snappy.parquet`);
  const flipped = good.with(40, 255).with(41, 255).with(42, 255).with(43, 255);
  const cases: [string, () => Promise<string> | string][] = [
    ["is empty", () => file("e.parquet", "")],
    ["cannot be read as Parquet", () => file("t.parquet", "sequence,x,label\na,1,up\n")],
    ["cannot be read as Parquet", () => file("c.parquet", good.subarray(0, 2000))],
    ["cannot be read as Parquet", () => file("f.parquet", flipped)],
    ["column x holds lists or records", () => `${fixtures}nested.parquet`],
    ["has no column sequence", () => table("SELECT 1 AS x, 'a' AS label")],
    [
      "row 2: x is empty",
      () =>
        table("SELECT * FROM (VALUES ('a', 1.5, 'up'), ('a', NULL, 'up')) t(sequence, x, label)"),
    ],
    ["row 1: x is NaN", () => table("SELECT 'a' AS sequence, 'nan'::DOUBLE AS x, 1 AS label")],
    [
      'row 1: x is "one", not a number',
      () => table("SELECT 'a' AS sequence, 'one' AS x, 1 AS label"),
    ],
    [
      "row 1: x is true, not a number",
      () => table("SELECT 'a' AS sequence, true AS x, 1 AS label"),
    ],
    [
      'row 1: x is "2024',
      () => table("SELECT 'a' AS sequence, TIMESTAMP '2024-05-01 08:00:00' AS x, 1 AS label"),
    ],
    [
      "a class is a text or a whole number",
      () => table("SELECT 'a' AS sequence, 1 AS x, 1.5::DOUBLE AS label"),
    ],
    ["holds no sequence", () => table("SELECT 'a' AS sequence, 1 AS x, 1 AS label LIMIT 0")],
    ["cannot be read: there is no such file", () => `${folder}/none.parquet`],
  ];
  for (const [part, make] of cases) {
    const path = await make();
    const { message } = await assertRejects(() => readSequences(path), InputError, part);
    assert(message.startsWith(path) && !message.includes("\n"), message);
  }
  // A tiny file of very many rows.
  const bomb = await table("SELECT 'a' AS sequence, 1 AS x, 1 AS label FROM range(3000000)");
  assert(Deno.statSync(bomb).size < 2 ** 16);
  await assertRejects(() => readSequences(bomb), InputError, "unpacks to more than 100 values");
});
