/**
 * Every reader of input from outside, with inputs that are arbitrary, changed from valid ones, nearly
 * valid, or valid.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { command as evaluate } from "../../src/cli/evaluate.ts";
import { command as generate } from "../../src/cli/generate.ts";
import { command as inspect } from "../../src/cli/inspect.ts";
import { type Command, parseOptions } from "../../src/cli/options.ts";
import { command as predict } from "../../src/cli/predict.ts";
import { command as report } from "../../src/cli/report.ts";
import { command as trace } from "../../src/cli/trace.ts";
import { command as train } from "../../src/cli/train.ts";
import { InputError } from "../../src/core/errors.ts";
import { type HostTensor, sizeOf, tensor } from "../../src/core/tensor.ts";
import { historySample, readHistory } from "../../src/data/history.ts";
import { isNdArray, readPickle } from "../../src/data/pickle.ts";
import { formatPlaces, type Place } from "../../src/data/places.ts";
import { readPlaces } from "../../src/data/read_places.ts";
import { readSamples, writeSamples } from "../../src/data/read_samples.ts";
import { readSequences } from "../../src/data/read_sequences.ts";
import { formatSample, parseSample, type Sample } from "../../src/data/samples.ts";
import { readTable } from "../../src/data/table.ts";
import { decodeText, encodeText, readText, textVocabulary } from "../../src/data/text.ts";
import { bothScores, type ScoredBatch } from "../../src/metrics/scores.ts";
import type { Initial } from "../../src/models/next_location.ts";
import {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
  type Progress,
} from "../../src/train/checkpoint.ts";
import { readRun } from "../../src/report/run.ts";
import { loadCheckpoint } from "../../src/train/run_directory.ts";
import { defaultConfig, formatConfig, parseConfig, readConfig } from "../../src/train/config.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  readSafetensors,
} from "../../src/train/safetensors.ts";
import { rawDataReaders } from "./raw_data.ts";
import { bytes, encoded, json, mutated, number, repeated, text } from "./inputs.ts";
import { type Reader, reader } from "./reader.ts";

const folder = Deno.makeTempDirSync({ prefix: "gatewise_fuzz_" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

const fixtures = new URL("../../fixtures/", import.meta.url);
const fixture = (path: string): Uint8Array => Deno.readFileSync(new URL(path, fixtures));
const namesIn = (path: string): string[] =>
  [...Deno.readDirSync(new URL(path, fixtures))].map(({ name }) => name).sort();

/** Puts the bytes in a file and reads that. */
function inFile<T>(
  name: string,
  read: (path: string) => T,
): Pick<Reader<Uint8Array>, "read" | "names"> {
  return {
    names: name,
    read(content): T {
      Deno.writeFileSync(`${folder}/${name}`, content);
      return read(`${folder}/${name}`);
    },
  };
}

const ascii = (value: string): number[] => [...value].map((c) => c.charCodeAt(0) & 255);
const uint = (value: number, width: number): number[] =>
  Array.from({ length: width }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 255);
const utf8 = (value: string): number[] => [...new TextEncoder().encode(value)];

// ---- safetensors

const odd = { maxLength: 6 };
const typed: fc.Arbitrary<HostTensor> = fc.oneof(
  fc.array(fc.double(), odd).map((values) => tensor(Float32Array.from(values))),
  fc.array(fc.nat(0xffffffff), odd).map((bits) =>
    tensor(new Float32Array(Uint32Array.from(bits).buffer))
  ),
  fc.array(fc.integer(), odd).map((values) => tensor(Int32Array.from(values))),
  fc.array(fc.nat(0xffffffff), odd).map((values) => tensor(Uint32Array.from(values))),
);
const name = text.filter((value) =>
  value !== "__metadata__" && value.isWellFormed() && !value.includes("\0")
);
const tensors = fc.tuple(
  fc.uniqueArray(fc.tuple(name, typed), { maxLength: 4, selector: ([key]) => key }),
  fc.dictionary(name, name, { maxKeys: 2 }),
);

function checkTensors(read: ReturnType<typeof decodeSafetensors>): void {
  for (const [, { data, shape }] of read.tensors) assertEquals(data.length, sizeOf(shape));
  const i64 = [...read.tensors].filter(([, { dtype }]) => dtype === "i32").map(([key]) => key);
  const again = decodeSafetensors(encodeSafetensors(read.tensors, { ...read, i64 }));
  assertEquals(again.tensors.size, read.tensors.size);
  for (const [key, { shape, data }] of read.tensors) {
    assertEquals(again.tensors.get(key)!.shape, shape);
    assertEquals([...again.tensors.get(key)!.data], [...data]);
  }
  assertEquals(again.metadata, read.metadata);
}

/** A file whose header is nearly that of its data. */
const nearTensors = fc.record({
  entries: fc.array(
    fc.record({
      name: fc.oneof(fc.constantFrom("a", "b", "__metadata__"), text),
      dtype: fc.oneof(
        { weight: 6, arbitrary: fc.constantFrom("F64", "F32", "F16", "BF16", "I64", "U8", "BOOL") },
        fc.constantFrom("F4", "C64", "F8_E4M3", "f32", "", "toString", "__proto__"),
      ),
      shape: fc.array(fc.oneof({ weight: 8, arbitrary: fc.nat(3) }, number), { maxLength: 3 }),
      shift: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: -9, max: 9 })),
      instead: fc.option(json, { freq: 12 }),
      more: fc.option(fc.dictionary(text, json, { maxKeys: 1 }), { freq: 12 }),
    }),
    { maxLength: 4 },
  ),
  metadata: fc.option(fc.dictionary(text, fc.oneof(text, json), { maxKeys: 2 })),
  length: fc.oneof(
    { weight: 8, arbitrary: fc.constant(0) },
    fc.integer({ min: -9, max: 9 }),
    number,
  ),
  padding: fc.nat(8),
  extra: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, fc.nat(9)),
  value: fc.nat(255),
}).map(({ entries, metadata, length, padding, extra, value }) => {
  const widths: Record<string, number> = {
    F64: 8,
    F32: 4,
    F16: 2,
    BF16: 2,
    I64: 8,
    U8: 1,
    BOOL: 1,
  };
  let end = 0;
  const fields = entries.map(({ name, dtype, shape, shift, instead, more }) => {
    const begin = end;
    const bytes = shape.reduce((n, m) => n * m, widths[dtype] ?? 1);
    end += bytes >= 0 && bytes < 1000 ? bytes : 0;
    const entry = { dtype, shape, data_offsets: [begin, end + shift], ...more };
    return `${JSON.stringify(name)}:${JSON.stringify(instead ?? entry)}`;
  });
  if (metadata !== null) fields.push(`"__metadata__":${JSON.stringify(metadata)}`);
  const header = new TextEncoder().encode(`{${fields.join()}}${" ".repeat(padding)}`);
  const file = new Uint8Array(8 + header.length + end + extra).fill(value);
  const named = Math.floor(header.length + length);
  const sized = Number.isFinite(named) ? BigInt(named) : 2n ** 64n - 1n;
  new DataView(file.buffer).setBigUint64(0, BigInt.asUintN(64, sized), true);
  file.set(header, 8);
  return file;
});

/** Headers of one piece very many times over. */
const manyEntries = fc.tuple(
  repeated(
    [
      '"a":{},',
      "[",
      '{"a":',
      '"a":[[1],',
      "1,",
      '"\\n',
      "\\\\",
      '"a',
      "0",
      "[],",
      " ",
      '"":0,',
      "-",
    ],
    21,
  ),
  fc.constantFrom("{", '{"', '{"a":[', '{"__metadata__":{"'),
  fc.constantFrom("", "}", '"', '":0}', "]}"),
).map(([middle, start, end]) => {
  const header = start + middle + end;
  const length = String.fromCharCode(...uint(header.length, 8));
  return new Uint8Array(Buffer.from(length + header, "latin1"));
});

const safetensorsFiles = ["written", "read"].map((key) =>
  fixture(`safetensors/${key}.safetensors`)
);

// ---- checkpoints

const checkpointFile = "checkpoints/step_00000002.safetensors";
Deno.mkdirSync(`${folder}/checkpoints`);
const checkpointWeights = { params: { w: tensor([1, 2]) }, statistics: {} } as unknown as Initial;
const moments = { m: { w: tensor([3, 4]) } };
const progress: Progress = {
  epoch: 1,
  done: 2,
  step: 2,
  learningRate: 0.1,
  heldRate: null,
  rateFactor: 1,
  rewinds: 0,
  stopping: { best: 1.5, waited: 0, reductions: 0 },
  stopped: false,
  bestEpoch: 0,
  bestStep: 0,
  epochs: [],
  epochSeconds: 1,
  seconds: NaN,
};
const checkpoint: Checkpoint = {
  progress,
  weights: checkpointWeights,
  optimizer: moments,
  best: checkpointWeights,
  answers: [1, 2].map((loss) => ({
    targets: Uint32Array.of(3, 1),
    ranks: Uint32Array.of(1, 20),
    predictions: Uint32Array.of(3, 4),
    loss,
  })),
};
const labels = { config: formatConfig(defaultConfig), data: "0", environment: "x" };
const wholeCheckpoint = await encodeCheckpoint(checkpoint, { ...labels, metrics_bytes: "5" });
const inCheckpoint = decodeSafetensors(wholeCheckpoint);
/** Checkpoints with other progress, labels and tensors, whose checksum fits. */
const forged = fc.record({
  parts: fc.dictionary(
    fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...Object.keys(progress)) }, text),
    fc.oneof(json, number, fc.constantFrom("number NaN", "number x", [{}], {})),
    { maxKeys: 2 },
  ),
  progressText: fc.oneof(
    { weight: 12, arbitrary: fc.constant(undefined) },
    fc.json(),
    text,
    fc.constant("[".repeat(1e5)),
  ),
  texts: fc.dictionary(
    fc.constantFrom("config", "metrics_bytes", "version", "format", "data"),
    fc.oneof(text, number.map(String)),
    { maxKeys: 1 },
  ),
  changed: fc.dictionary(
    fc.constantFrom(...inCheckpoint.tensors.keys(), "answers.more"),
    fc.oneof(
      fc.constant(undefined),
      fc.constant(tensor([1, 2])),
      fc.tuple(typed, fc.nat(3)).map(([{ data }, width]) =>
        tensor(data.subarray(0, width * Math.floor(data.length / (width || 1))), [
          width && Math.floor(data.length / width),
          width,
        ])
      ),
      typed,
    ),
    { maxKeys: 2 },
  ),
}).map(({ parts, progressText, texts, changed }) => {
  const tensors = Object.fromEntries(
    Object.entries({ ...Object.fromEntries(inCheckpoint.tensors), ...changed })
      .filter(([, value]) => value !== undefined),
  ) as Record<string, HostTensor>;
  const { sha256: _, ...unsigned } = inCheckpoint.metadata;
  const changedProgress = { ...JSON.parse(unsigned.progress), ...parts };
  const metadata = Object.fromEntries(
    Object.entries({
      ...unsigned,
      progress: progressText ?? JSON.stringify(changedProgress),
      ...texts,
    }).map(([key, value]) => [key, value.toWellFormed().replaceAll("\0", "")]),
  );
  const sha256 = createHash("sha256").update(encodeSafetensors(tensors, { metadata }))
    .digest("hex");
  return encodeSafetensors(tensors, { metadata: { ...metadata, sha256 } });
});

async function checkCheckpoint(path: string): Promise<void> {
  const run = { path: path.replace(/\/checkpoints\/[^/]*$/, ""), config: defaultConfig };
  const reasons: string[] = [];
  const found = await loadCheckpoint(run, (reason) => reasons.push(reason)).catch((error) => {
    throw reasons.length === 1 ? new InputError(reasons[0]) : error;
  });
  const read = found.fit(checkpointWeights, moments);
  const again = await decodeCheckpoint(await encodeCheckpoint(read, found.labels), "again");
  assertEquals(again.fit(checkpointWeights, moments), read);
  assert(bothScores(read.answers as readonly ScoredBatch[]).all.count >= 0);
  assert(Number.isSafeInteger(found.metricsBytes) && found.metricsBytes >= 0);
}

// ---- run directories, as a report reads them

const runFolder = `${folder}/run`;
const both = '{"all":{"count":3,"acc1":1.5},"known":{"count":2,"acc1":2}}';
const lineOf = (kind: string, more: string): string =>
  `{"kind":"${kind}","epoch":1,"step":4,"learningRate":0.1,"trainLoss":2,"train":${both}${more}}`;
const runMetrics = [
  lineOf("interval", ""),
  lineOf(
    "epoch",
    `,"validationLoss":1,"validation":${both},"improved":true,"action":"continue",` +
      '"seconds":1',
  ),
  '{"kind":"rewind","step":9,"loss":"NaN","to":4,"rateFactor":0.5}',
].join("\n");
const runResults = '{"total":3,"acc@1":1.5,"known":{"total":2},"best_epoch":1,"seconds":1}';
const runPieces: Readonly<Record<string, Uint8Array>> = {
  "config.yaml": encodedText(formatConfig(defaultConfig)),
  "metrics.jsonl": encodedText(runMetrics),
  "test_results.json": encodedText(runResults),
  "environment.json": encodedText('{"adapter":"x"}'),
  "best.safetensors": encodeSafetensors({ "fc.bias": tensor([1, 2]) }),
};
const runChange = fc.constantFrom("metrics.jsonl", "metrics.jsonl", ...Object.keys(runPieces))
  .chain((name) =>
    mutated([runPieces[name]]).map((content) => ({ ...runPieces, [name]: content }))
  );

async function checkRun(files: Readonly<Record<string, Uint8Array>>): Promise<void> {
  Deno.mkdirSync(runFolder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    Deno.writeFileSync(`${runFolder}/${name}`, content);
  }
  const { epochs, parameters } = await readRun(runFolder);
  assert(epochs.length > 0 && parameters.every(({ count }) => count >= 0));
}

// ---- pickles

const sized = (opcode: number, width: number, content: number[], change = 0): number[] => [
  opcode,
  ...uint(content.length + change, width),
  ...content,
];
const words = fc.oneof(
  fc.constantFrom("X", "user_X", "Y", "dur_X", "i8", "f4", "O8", "<", ">", "latin1", "builtins"),
  text,
);
const lie = fc.oneof({ weight: 12, arbitrary: fc.constant(0) }, fc.integer({ min: -3, max: 300 }));
const globals = fc.constantFrom(
  ...["numpy\ndtype", "numpy\nndarray", "numpy.core.multiarray\n_reconstruct", "os\nsystem"],
  ...["numpy._core.numeric\n_frombuffer", "numpy.core.multiarray\nscalar", "_codecs\nencode"],
  ...["builtins\nbytes", "builtins\nexec", "__builtin__\nbytearray", "copyreg\n_reconstructor"],
);
/** Opcodes without an argument that data are built with. */
const bare = ascii("()]}N.0125aesultdRb").concat([0x85, 0x86, 0x87, 0x88, 0x89, 0x93, 0x94]);
const instruction: fc.Arbitrary<number[]> = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom(...bare).map((code) => [code]) },
  fc.nat(255).map((code) => [code]),
  fc.nat(255).map((value) => [0x4b, value]),
  fc.integer().map((value) => [0x4a, ...uint(value, 4)]),
  fc.tuple(words, lie).map(([value, by]) => sized(0x58, 4, utf8(value), by)),
  fc.tuple(words, lie).map(([value, by]) => sized(0x8c, 1, utf8(value), by)),
  fc.tuple(fc.array(fc.nat(255), { maxLength: 16 }), lie).map(([value, by]) =>
    sized(0x43, 1, value, by)
  ),
  fc.tuple(fc.array(fc.nat(255), { maxLength: 9 }), lie).map(([value, by]) =>
    sized(0x8a, 1, value, by)
  ),
  fc.nat(6).map((index) => [0x71, index]),
  fc.nat(6).map((index) => [0x68, index]),
  fc.nat(64).map((length) => [0x95, ...uint(length, 8)]),
  globals.map((value) => [0x63, ...ascii(`${value}\n`)]),
);
const program = fc.array(instruction, { maxLength: 40 }).map((codes) => codes.flat());
const instructions = program.map((codes) => Uint8Array.from([0x80, 4, ...codes, 0x2e]));
/** A list of one sample, one of whose values an arbitrary program makes. */
const madeSample = fc.tuple(fc.constantFrom("X", "user_X", "dur_X", "Y"), program)
  .map(([key, codes]) =>
    Uint8Array.from([
      ...[0x80, 4, 0x5d, 0x7d, 0x28, 0x8c, 1, 0x58, 0x5d, 0x4b, 2, 0x61, 0x8c, key.length],
      ...[...ascii(key), ...codes, ...ascii("ua.")],
    ])
  );
/** One value or structure very many times over. */
const manyInstructions = repeated(
  [
    "}",
    "]",
    "(",
    "N",
    "K\x01",
    "X\0\0\0\0",
    "C\0",
    "]\x85",
    "]a",
    "}0",
    "]\x94",
    "\x94",
    "](K\x01e",
    "l(",
  ],
  21,
).map((codes) => new Uint8Array(Buffer.from(`\x80\x04](${codes}`, "latin1")));

/** A list of one thing very many times over by reference: a sample, or what a sample's lists are. */
const manySamples = fc.tuple(
  fc.constantFrom(1, 3, 40),
  fc.constantFrom("h\0", "h\0h\x01", "2", "}(h\x02h\x01u", "}h\x02h\x01s"),
  fc.double({ min: 0, max: 20, noNaN: true }),
).map(([visits, piece, power]) => {
  const keys = ["X", "user_X", "weekday_X", "start_min_X", "dur_X", "diff"];
  const items = keys.slice(1).map((key) => `\x8c${String.fromCharCode(key.length)}${key}h\x01`);
  const list = `](${"K\x01".repeat(visits)}eq\x01`;
  const sample = `}q\0(\x8c\x01Xq\x02${list}${items.join("")}\x8c\x01YK\x02u`;
  const many = piece.repeat(2 ** power / piece.length);
  return new Uint8Array(Buffer.from(`\x80\x04](${sample}${many}e.`, "latin1"));
});

/** What a valid pickle of protocol 2 holds of a value as JSON has them. */
function pickled(value: unknown): number[] {
  if (value === null || value === undefined) return [0x4e];
  if (typeof value === "boolean") return [value ? 0x88 : 0x89];
  if (typeof value === "string") return sized(0x58, 4, utf8(value));
  if (typeof value === "number") {
    if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) return [0x4a, ...uint(value, 4)];
    const field = new DataView(new ArrayBuffer(8));
    field.setFloat64(0, value);
    return [0x47, ...new Uint8Array(field.buffer)];
  }
  if (Array.isArray(value)) return [0x5d, 0x28, ...value.flatMap(pickled), 0x65];
  return [0x7d, 0x28, ...Object.entries(value as object).flat().flatMap(pickled), 0x75];
}

/** Checks that a pickle gave data and nothing else. */
function checkData(value: unknown, seen = new Set<unknown>()): void {
  if (typeof value !== "object" || value === null) {
    assertEquals(["string", "number", "boolean", "object"].includes(typeof value), true);
    return;
  }
  if (seen.has(value) || value instanceof Uint8Array) return;
  seen.add(value);
  if (isNdArray(value)) {
    const width = Number(value.dtype.slice(2));
    assertEquals(value.bytes.length, value.shape.reduce((n, m) => n * m, width));
  } else if (value instanceof Map) {
    value.forEach((item, key) => [item, key].forEach((part) => checkData(part, seen)));
  } else if (Array.isArray(value)) value.forEach((item) => checkData(item, seen));
  else assertEquals(["global", "dtype"].includes((value as { kind: string }).kind), true);
}

// Files of samples more often: of the others most are refused at once.
const pickles = namesIn("pickles").filter((file) => file.endsWith(".pk"))
  .flatMap((file) => Array(file.startsWith("samples") ? 8 : 1).fill(fixture(`pickles/${file}`)));

// ---- samples

const visits = fc.integer({ min: 1, max: 4 });
const series = (least: number, most: number, n: number): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: least, max: most }), { minLength: n, maxLength: n });
const validRecord = visits.chain((n) =>
  fc.record({
    X: series(1, 2 ** 31 - 1, n),
    user_X: series(0, 2 ** 31 - 1, n),
    weekday_X: series(0, 6, n),
    start_min_X: series(0, 1439, n),
    dur_X: fc.array(fc.double({ min: 0, max: 2879, noNaN: true }), { minLength: n, maxLength: n }),
    diff: series(0, 2 ** 31 - 1, n),
    Y: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
  })
);
const keys = [
  "X",
  "user_X",
  "weekday_X",
  "start_min_X",
  "dur_X",
  "diff",
  "Y",
  "__proto__",
] as const;
/** A sample with some of its values replaced by others. */
const nearRecord = fc.tuple(
  validRecord,
  fc.array(
    fc.tuple(
      fc.oneof(fc.constantFrom(...keys), text),
      fc.oneof(json, number, fc.array(number, { maxLength: 4 }), fc.constant(undefined)),
    ),
    { maxLength: 2 },
  ),
).map(([record, changes]) => ({ ...record, ...Object.fromEntries(changes) }));
const line = fc.oneof(
  { weight: 4, arbitrary: validRecord.map((record) => JSON.stringify(record)) },
  { weight: 4, arbitrary: nearRecord.map((record) => JSON.stringify(record)) },
  fc.json(),
  text,
  repeated(
    ["[", '{"X":[', "{},", '"\\n', "[1,", " ", '{"":', "NaN,", "[NaN", '"a"', "-", "1e"],
    21,
  ),
);
const lines = fc.tuple(fc.array(line, { maxLength: 4 }), fc.constantFrom("\n", "\r\n", "\n\n"))
  .map(([all, end]) => all.join(end));
const validLines = fc.array(validRecord, { minLength: 1, maxLength: 3 })
  .map((records) => records.map((record) => JSON.stringify(record)).join("\n"));
const someLines = fc.sample(validLines, { seed: 1, numRuns: 4 })
  .map((value) => new TextEncoder().encode(value));

async function readBack(path: string): Promise<void> {
  for (const sample of await readSamples(path)) {
    const { length } = sample.X;
    for (const key of keys.slice(0, 6)) {
      assertEquals((sample as unknown as Record<string, ArrayLike<number>>)[key].length, length);
    }
    assertEquals(parseSample(formatSample(sample), "again"), sample);
  }
}

// ---- configurations

const configs = namesIn("configs").map((file) => fixture(`configs/${file}`));
const settings = formatConfig({ ...defaultConfig, dataDir: "d", datasetPrefix: "p" });
const sections = settings.match(/^\w+(?=:$)/gm)!;
const settingNames = settings.match(/^ *\w+(?=: )/gm)!.map((key) => key.trim());
const yamlValue = fc.oneof(
  fc.constantFrom(
    ...["1", "0.5", "true", "all", "lstm", "~", "''", "*a", "&a [1, *a]", "[*a, *a]", "{<<: *a}"],
    ...["!!binary aGk=", "2001-01-01", "0x10", "1e999", ".nan", "-.inf", "{a: b}", "- x", "|\n  t"],
    ...[
      "!!set {a}",
      "!!js/function 'x'",
      "!<tag:x> y",
      '"\\u0000\\u2028"',
      "[[[[",
      "? x",
      "%YAML 9",
    ],
  ),
  number.map(String),
  text.map((value) => JSON.stringify(value)),
  text,
);
const yamlLine = fc.tuple(
  fc.constantFrom("", "", "  ", "  ", "\t"),
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...settingNames, ...sections) },
    fc.constantFrom("<<", "&a x", "'a\\nb'", '"a\\nb"', "__proto__", "---", "? x"),
    text,
  ),
  yamlValue,
).map(([indent, key, value]) => `${indent}${key}: ${value}`);
const yamlText = fc.array(
  fc.oneof(fc.constantFrom(...sections).map((section) => `${section}:`), yamlLine),
  { maxLength: 12 },
).map((all) => all.join("\n"));
const nested = fc.tuple(
  fc.constantFrom("", ...settingNames.slice(0, 1), "optimiser:\n  lr"),
  repeated(
    ["[", "{a: ", "- ", "? ", "&a [", "!!seq [", "- - ", "{", "'", "*a ", "a: ", "<<: "],
    16,
  ),
).map(([key, deep]) => key === "" ? deep : `${key}: ${deep}`);
/** Lists of aliases of lists of aliases: 9^depth elements if anyone unfolds them. */
const laughs = fc.tuple(
  fc.constantFrom("seed: ", "optimiser: {lr: ", "model: ", "optimiser:\n  "),
  fc.integer({ min: 1, max: 30 }),
).map(([key, depth]) =>
  key +
  `[${Array.from({ length: depth }, (_, i) => `&a${i} [${`*a${i - 1}, `.repeat(i && 9)}1]`)}]${
    key.includes("{") ? "}" : ""
  }`
);

async function checkConfig(path: string): Promise<void> {
  const config = await readConfig(path);
  assertEquals(parseConfig(formatConfig(config), "again"), config);
}

// ---- command lines

const commands: readonly Command[] = [train, evaluate, predict, generate, inspect, trace, report];
const argument = fc.oneof(
  fc.constantFrom(
    "-",
    "--",
    "---",
    "-h",
    "-q",
    "-qx",
    "--=",
    "--no-quiet",
    "--__proto__",
    "--help=1",
  ),
  number.map(String),
  text,
);
const commandLine = fc.constantFrom(...commands).chain((command) => {
  const option = fc.constantFrom(...Object.keys(command.options)).map((key) => `--${key}`);
  const one = fc.oneof(
    option.map((key) => [key]),
    fc.tuple(option, argument),
    fc.tuple(option, argument).map(([key, value]) => [`${key}=${value}`]),
    argument.map((value) => [value]),
  );
  return fc.tuple(fc.constant(command), fc.array(one, { maxLength: 5 }).map((all) => all.flat()));
});

function checkOptions([command, args]: [Command, string[]]): void {
  const values: Readonly<Record<string, unknown>> = parseOptions(args, command);
  if (values.help === true) return;
  for (const [key, option] of Object.entries(command.options)) {
    const { type, min = -Infinity, max = Infinity, choices } = option;
    const value = values[key];
    if (value === undefined && type !== "flag" && option.default === undefined) continue;
    const wanted = { flag: "boolean", text: "string", whole: "number", number: "number" }[type];
    assertEquals(Array.isArray(value), option.many === true);
    for (const one of Array.isArray(value) ? value : [value]) {
      assertEquals(typeof one, wanted);
      if (typeof one === "number") {
        assertEquals(one >= min && one <= max && (type !== "whole" || one % 1 === 0), true);
      }
      if (choices !== undefined) assertEquals(choices.includes(one), true);
    }
  }
}

// ---- CSV

const cell: fc.Arbitrary<string> = fc.oneof(
  number.map(String),
  text,
  fc.constantFrom(
    "2024-05-01T08:00",
    "2024-02-30T08:00",
    "2024-05-01T08:00Z",
    "3",
    "46.9",
    '"',
    "",
  ),
);
const goodCells: Readonly<Record<string, fc.Arbitrary<string>>> = {
  start: fc.integer({ min: 1, max: 9 }).map((day) => `2024-05-0${day}T08:00`),
  end: fc.integer({ min: 10, max: 23 }).map((hour) => `2024-05-09T${hour}:00`),
  minutes: fc.nat(3000).map(String),
  place: fc.integer({ min: 1, max: 8 }).map(String),
  latitude: fc.constantFrom("46.9", "-90", "1e1"),
  longitude: fc.constantFrom("7.4", "180"),
  id: fc.integer({ min: 2, max: 99 }).map(String),
  visits: fc.nat(99).map(String),
  name: fc.constantFrom("home", '"a, ""b"""', ""),
};
/** Tables whose columns are nearly those given, and their cells nearly right. */
function tableOf(
  cells: Readonly<Record<string, fc.Arbitrary<string>>>,
  always: readonly string[] = [],
): fc.Arbitrary<string> {
  const heads = Object.keys(cells);
  return fc.tuple(
    fc.constantFrom(",", ";", "\t"),
    fc.constantFrom("\n", "\r\n"),
    fc.oneof(
      {
        weight: 6,
        arbitrary: fc.shuffledSubarray(heads, { minLength: 3 })
          .map((some) => [...new Set([...always, ...some])]),
      },
      fc.array(cell, { maxLength: 4 }),
    ),
    fc.nat(4),
  ).chain(([delimiter, end, columns, rows]) => {
    const row = fc.tuple(
      ...columns.map((head) =>
        !Object.hasOwn(cells, head) ? cell : fc.oneof({ weight: 30, arbitrary: cells[head] }, cell)
      ),
    );
    return fc.array(row, { minLength: rows, maxLength: rows })
      .map((all) => [columns, ...all].map((one) => one.join(delimiter)).join(end));
  });
}
const table = tableOf(goodCells);
const someVisits = encodedText(
  "start,end,place\n2024-05-01T08:00,2024-05-01T09:00,2\n2024-05-01T10:00,,3\n" +
    "2024-05-01T12:00,2024-05-01T13:00,2\n",
);
const somePlaces = encodedText(
  'id,latitude,longitude,visits,name\n2,46.9,7.4,12,"home, sweet"\n3,-1,179.9,,\n',
);
const place: fc.Arbitrary<Place> = fc.record({
  id: fc.integer({ min: 2, max: 99 }),
  latitude: fc.integer({ min: -90e7, max: 90e7 }).map((n) => n / 1e7),
  longitude: fc.integer({ min: -180e7, max: 180e7 }).map((n) => n / 1e7),
  visits: fc.nat(1000),
});

function encodedText(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** Tables of one piece very many times over, or of very many columns: `csv-parse` takes 1 s a MB. */
const manyCells = fc.oneof(
  fc.tuple(
    fc.constantFrom("", "start,place\n", "id,latitude,longitude\n"),
    repeated(
      ["1\n", "1,", ",", "\n", '"', '""', "a ", ";\t", '1,"\n"\n', "2024-05-01T08:00,3\n"],
      18,
    ),
  ).map((parts) => parts.join("")),
  fc.double({ min: 0, max: 17, noNaN: true }).map((power) =>
    `${Array.from({ length: 2 ** power }, (_, i) => `c${i}`)}\n`
  ),
);

async function readVisits(path: string): Promise<void> {
  const places = [{ id: 2, latitude: 46.9, longitude: 7.4 }];
  const visits = await readHistory(path, { places, totalLocNum: 9, radius: 100 });
  for (const { place } of visits) assert(place >= 1 && place < 9);
  const { sample } = historySample(visits, path, { days: 7, minVisits: 2 });
  accepted(() => parseSample(formatSample(sample), "history", "optional"));
}

// ---- sequences

const sequenceCells: Readonly<Record<string, fc.Arbitrary<string>>> = {
  sequence: fc.constantFrom("a", "b", "7"),
  x: fc.double({ min: -1e30, max: 1e30, noNaN: true }).map(String),
  y: fc.nat(9).map(String),
  label: fc.constantFrom("up", "up", "down"),
  target: fc.constantFrom("0.5", "0.5", ""),
};
const sequenceTable = tableOf(sequenceCells, ["sequence", "x"]);
const someSequences = ["label", "target"].map((answer) =>
  encodedText(`sequence,x,y,${answer}\na,1,2.5,1\na,-3,1e-3,1\nb,0,4,7\nb,1,"5",7\n`)
);
const parquets = ["snappy", "zstd", "gzip", "plain"].map((kind) =>
  fixture(`sequences/${kind}.parquet`)
);
const nearObject: fc.Arbitrary<unknown> = fc.record({
  id: fc.oneof(fc.constantFrom("a", 1), json),
  values: fc.oneof(
    { weight: 6, arbitrary: fc.array(fc.nat(9), { minLength: 1, maxLength: 3 }) },
    { weight: 6, arbitrary: fc.array(fc.tuple(fc.nat(9), fc.double()), { maxLength: 3 }) },
    fc.array(fc.array(number, { maxLength: 2 }), { maxLength: 3 }),
    json,
  ),
  label: fc.oneof({ weight: 8, arbitrary: fc.constantFrom("up", 1, true) }, json),
  target: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(0.5, [1]) }, number, json),
}, { requiredKeys: [] }).chain((whole) =>
  fc.constantFrom(["id", "values", "label"], ["values", "label"], ["values", "target"], [
    "id",
    "values",
    "label",
    "target",
  ]).map((keys) =>
    Object.fromEntries(keys.map((key) => [key, (whole as Record<string, unknown>)[key]]))
  )
);
const sequenceLines = fc.array(nearObject, { maxLength: 3 })
  .map((all) => all.map((one) => JSON.stringify(one)).join("\n"));
const sequenceJson = fc.oneof(
  fc.array(nearObject, { maxLength: 3 }),
  fc.record({
    sequences: fc.oneof(fc.array(fc.array(fc.nat(9), { minLength: 1, maxLength: 3 })), json),
    labels: fc.oneof(fc.array(fc.nat(2)), json),
    targets: json,
    ids: json,
  }, { requiredKeys: [] }),
  json,
).map((value) => JSON.stringify(value));

async function checkSequences(path: string): Promise<void> {
  const { samples, features, width, classes, targets } = await readSequences(path, {
    answers: "optional",
  });
  assertEquals(features.length, width);
  assert(samples.length > 0);
  for (const { values, steps, label, target } of samples) {
    assert(steps >= 1);
    assertEquals(values.length, steps * width);
    assert(values.every(Number.isFinite));
    assert(label === undefined || label < classes!.length);
    assert(target === undefined || target.length === targets!.length);
  }
}

/** The readers. Names are the rows of the table. */
export const readers: readonly Reader[] = [
  reader({
    name: "YAML: any bytes",
    input: fc.oneof(bytes, encoded(text)),
    ...inFile("run.yaml", checkConfig),
  }),
  reader({
    name: "YAML: files changed",
    input: mutated(configs),
    ...inFile("run.yaml", checkConfig),
  }),
  reader({
    name: "YAML: nearly configurations",
    input: encoded(yamlText),
    ...inFile("run.yaml", checkConfig),
  }),
  reader({
    name: "YAML: deep nesting and aliases",
    input: encoded(fc.oneof(nested, laughs)),
    ...inFile("run.yaml", checkConfig),
  }),
  reader({
    name: "pickle: any bytes",
    input: bytes.map((tail) => Uint8Array.from([0x80, 4, ...tail])),
    ...inFile("x.pk", (path) => checkData(readPickle(Deno.readFileSync(path), path))),
  }),
  reader({
    name: "pickle: files changed",
    input: mutated(pickles),
    ...inFile("x.pk", readBack),
  }),
  reader({
    name: "pickle: instructions put together",
    input: instructions,
    ...inFile("x.pk", (path) => checkData(readPickle(Deno.readFileSync(path), path))),
  }),
  reader({
    name: "pickle: samples of instructions",
    input: madeSample,
    ...inFile("x.pk", readBack),
  }),
  reader({
    name: "pickle: very many instructions",
    input: manyInstructions,
    ...inFile("x.pk", (path) => checkData(readPickle(Deno.readFileSync(path), path))),
  }),
  reader({
    name: "pickle: one sample very many times",
    input: manySamples,
    ...inFile("x.pk", readBack),
  }),
  reader({
    name: "pickle: nearly samples",
    input: fc.array(nearRecord, { maxLength: 3 })
      .map((value) => Uint8Array.from([0x80, 2, ...pickled(value), 0x2e])),
    ...inFile("x.pk", readBack),
  }),
  reader({
    name: "safetensors: any bytes",
    input: fc.oneof(
      bytes,
      bytes.map((tail) => Uint8Array.from([...uint(tail.length, 8), ...tail])),
    ),
    ...inFile("x.safetensors", async (path) => checkTensors(await readSafetensors(path))),
  }),
  reader({
    name: "safetensors: files changed",
    input: mutated(safetensorsFiles),
    ...inFile("x.safetensors", async (path) => checkTensors(await readSafetensors(path))),
  }),
  reader({
    name: "safetensors: nearly files",
    input: nearTensors,
    ...inFile("x.safetensors", async (path) => checkTensors(await readSafetensors(path))),
  }),
  reader({
    name: "safetensors: very many entries",
    input: manyEntries,
    ...inFile("x.safetensors", async (path) => checkTensors(await readSafetensors(path))),
  }),
  reader({
    name: "checkpoints: files changed",
    input: mutated([wholeCheckpoint]),
    ...inFile(checkpointFile, checkCheckpoint),
  }),
  reader({
    name: "checkpoints: others whose checksum fits",
    input: forged,
    ...inFile(checkpointFile, checkCheckpoint),
  }),
  reader({
    name: "run directories: files changed",
    input: runChange,
    names: runFolder,
    read: checkRun,
  }),
  reader({
    name: "JSON lines: any bytes",
    input: fc.oneof(bytes, encoded(text)),
    ...inFile("x.jsonl", readBack),
  }),
  reader({
    name: "JSON lines: files changed",
    input: mutated(someLines),
    ...inFile("x.jsonl", readBack),
  }),
  reader({
    name: "JSON lines: nearly samples",
    input: encoded(lines),
    ...inFile("x.jsonl", readBack),
  }),
  reader({
    name: "JSON lines, gzip: any bytes",
    input: bytes.map((tail) => Uint8Array.from([31, 139, 8, ...tail])),
    ...inFile("x.jsonl.gz", readBack),
  }),
  reader({
    name: "JSON lines, gzip: files changed",
    input: mutated(someLines.map((file) => new Uint8Array(gzipSync(file)))),
    ...inFile("x.jsonl.gz", readBack),
  }),
  reader({
    name: "JSON lines, gzip: nearly samples",
    input: encoded(lines).map((content) => new Uint8Array(gzipSync(content))),
    ...inFile("x.jsonl.gz", readBack),
  }),
  reader({
    name: "CSV: any bytes",
    input: fc.oneof(bytes, encoded(text)),
    ...inFile("x.csv", (path) => readVisits(path).catch(() => readPlaces(path))),
  }),
  reader({
    name: "CSV: visits changed",
    input: mutated([someVisits]),
    ...inFile("x.csv", readVisits),
  }),
  reader({ name: "CSV: nearly visits", input: encoded(table), ...inFile("x.csv", readVisits) }),
  reader({
    name: "CSV: places changed",
    input: mutated([somePlaces]),
    ...inFile("x.csv", readPlaces),
  }),
  reader({ name: "CSV: nearly places", input: encoded(table), ...inFile("x.csv", readPlaces) }),
  reader({
    name: "sequences, CSV: any bytes",
    input: fc.oneof(bytes, encoded(text)),
    ...inFile("s.csv", checkSequences),
  }),
  reader({
    name: "sequences, CSV: files changed",
    input: mutated(someSequences),
    ...inFile("s.csv", checkSequences),
  }),
  reader({
    name: "sequences, CSV: nearly sequences",
    input: encoded(sequenceTable),
    ...inFile("s.csv", checkSequences),
  }),
  reader({
    name: "sequences, CSV, gzip: files changed",
    input: mutated(someSequences.map((file) => new Uint8Array(gzipSync(file)))),
    ...inFile("s.csv.gz", checkSequences),
  }),
  reader({
    name: "sequences, JSON lines: nearly sequences",
    input: encoded(sequenceLines),
    ...inFile("s.jsonl", checkSequences),
  }),
  reader({
    name: "sequences, JSON: any bytes",
    input: fc.oneof(bytes, encoded(text)),
    ...inFile("s.json", checkSequences),
  }),
  reader({
    name: "sequences, JSON: nearly sequences",
    input: encoded(sequenceJson),
    ...inFile("s.json", checkSequences),
  }),
  reader({
    name: "CSV: very many cells",
    input: encoded(manyCells),
    ...inFile("x.csv", (path) => readTable(path)),
  }),
  reader({
    name: "sequences, Parquet: any bytes",
    input: fc.oneof(
      bytes,
      bytes.map((middle) => Uint8Array.from([...ascii("PAR1"), ...middle, ...ascii("PAR1")])),
    ),
    ...inFile("s.parquet", checkSequences),
  }),
  reader({
    name: "sequences, Parquet: files changed",
    input: mutated(parquets),
    ...inFile("s.parquet", checkSequences),
  }),
  reader({
    name: "text: any bytes",
    input: fc.oneof(bytes, encoded(text)),
    ...inFile("t.txt", async (path) => {
      const content = await readText(path);
      const vocabulary = textVocabulary(content);
      assertEquals(decodeText(encodeText(content, vocabulary, path), vocabulary), content);
    }),
  }),
  reader({ name: "command lines", input: commandLine, read: checkOptions }),
  ...rawDataReaders(
    folder,
    (sample) => accepted(() => parseSample(formatSample(sample), "raw", "required")),
  ),
  // Valid input comes back as it was; a refusal is a crash here.
  reader({
    name: "valid: safetensors",
    input: tensors,
    read([entries, metadata]): void {
      const bytes = encodeSafetensors(new Map(entries), { metadata });
      const read = decodeSafetensors(bytes);
      assertEquals(encodeSafetensors(read.tensors, read), bytes);
      assertEquals(read.tensors.size, entries.length);
      accepted(() => checkTensors(read));
    },
  }),
  reader({
    name: "valid: places as CSV",
    input: fc.uniqueArray(place, { selector: ({ id }) => id, maxLength: 4 }),
    async read(places): Promise<void> {
      const file = `${folder}/valid.csv`;
      Deno.writeTextFileSync(file, formatPlaces(places));
      assertEquals(await readPlaces(file).catch(crash), places);
    },
  }),
  reader({
    name: "valid: samples as pickle and JSON lines",
    input: fc.array(validRecord, { minLength: 1, maxLength: 3 }),
    async read(records): Promise<void> {
      const [pickle, plain] = [`${folder}/valid.pk`, `${folder}/valid.jsonl`];
      Deno.writeFileSync(pickle, Uint8Array.from([0x80, 2, ...pickled(records), 0x2e]));
      const samples = await readSamples(pickle).catch(crash);
      assertEquals(samples.map((sample) => plainOf(sample)), records);
      await writeSamples(plain, samples).catch(crash);
      assertEquals(await readSamples(plain).catch(crash), samples);
    },
  }),
];

function plainOf(sample: Sample): unknown {
  return Object.fromEntries(
    Object.entries(sample).map((
      [key, value],
    ) => [key, typeof value === "number" ? value : [...value]]),
  );
}

function crash(error: unknown): never {
  throw new Error(`valid input was refused: ${error}`);
}

function accepted(check: () => void): void {
  try {
    check();
  } catch (error) {
    crash(error);
  }
}
