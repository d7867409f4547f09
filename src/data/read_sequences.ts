/**
 * Files of sequences: CSV and Parquet with a row a time step, JSON with an object a sequence.
 *
 * @module
 */
import { describe, printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import type { Key } from "../core/random.ts";
import { suggestion } from "../core/suggestion.ts";
import { readWholeFile } from "../core/whole_file.ts";
import { jsonFields, parseJson } from "./json.ts";
import { findSplits, type Split } from "./read_samples.ts";
import type { Targets } from "./samples.ts";
import {
  type SequenceData,
  type SequenceSample,
  type SequenceSchema,
  splitSequences,
} from "./sequences.ts";
import { fileProblem, gunzip, isKind, textLines } from "./text_file.ts";

/** Options of {@link readSequences}. */
export interface ReadSequencesOptions {
  /** Column of CSV and Parquet that says which sequence a row belongs to; default `sequence`. */
  readonly id?: string;
  /** Column with the class; default `label`, if there is one. */
  readonly label?: string;
  /** Columns with the numbers to predict; default `target` and those that begin with `target_`. */
  readonly targets?: readonly string[];
  /** Whether every sequence must have its class or numbers to predict; default `required`. */
  readonly answers?: Targets;
  /** What the sequences must be made of: that of the training data. */
  readonly like?: SequenceSchema;
}

/** A sequence as its file has it. */
interface Found {
  /** File and line, for errors. */
  readonly where: string;
  readonly id?: string;
  readonly values: Float32Array;
  readonly steps: number;
  readonly label?: string;
  readonly target?: Float32Array;
}

/** Rows of a table, whatever file they come from. Columns are in lower case. */
interface SequenceRows {
  /** Names of the columns. */
  readonly columns: readonly string[];
  /** How many rows. */
  readonly count: number;
  /** What is in a row, from 0, and column: text, number or nothing. */
  readonly cell: (row: number, column: string) => unknown;
  /** The row's place in the file: `line 7`. */
  readonly where: (row: number) => string;
}

const ENDINGS = ["csv", "csv.gz", "jsonl", "jsonl.gz", "json", "parquet"] as const;
/** What a line of JSON, a file of JSON, and all sequences together may hold. */
const MAX_LINE_MIB = 64;
const MAX_JSON = 256 * 2 ** 20;
const MAX_NUMBERS = 2 ** 28;
// Rows of CSV are read as a whole; the other kinds are read line by line.
const MAX_ROWS = 2 ** 21;

/** The number that a cell or a value of JSON is, as a 32-bit float, or what is wrong with it. */
function toNumber(value: unknown): number | string {
  const given = typeof value === "string" && value.trim() !== ""
    ? Number(value)
    : typeof value === "bigint"
    ? Number(value)
    : value;
  if (typeof given !== "number" || (typeof value === "string" && Number.isNaN(given))) {
    const blank = value === undefined || value === null || value === "";
    return blank ? "is empty: it must be a number" : `is ${describe(value)}, not a number`;
  }
  if (!Number.isFinite(Math.fround(given))) {
    return `is ${given}: it must be a finite 32-bit number`;
  }
  return given;
}

/** A class's name, undefined where there is none. */
function toLabel(value: unknown, where: string, name: string): string | undefined {
  const text = typeof value === "string" ? value.trim() : value ?? "";
  if (text === "") return undefined;
  const fits = typeof text === "string" || typeof text === "boolean" || typeof text === "bigint" ||
    Number.isSafeInteger(text);
  if (!fits) {
    throw new InputError(
      `${where}: ${name} is ${describe(value)}: a class is a text or a whole number`,
    );
  }
  return String(text);
}

// ---- tables

function sequencesOfRows(
  file: string,
  { columns, count, cell, where: place }: SequenceRows,
  { id: idName = "sequence", label, targets, like }: ReadSequencesOptions,
): { schema: SequenceSchema; found: readonly Found[] } {
  const fail = (problem: string): never => {
    throw new InputError(`${file}: ${problem}`);
  };
  const need = (name: string, what: string): string => {
    const wanted = name.toLowerCase();
    if (columns.includes(wanted)) return wanted;
    return fail(
      `has no column ${printable(name)} for ${what}${suggestion(wanted, columns)}; name one of ${
        printable(columns.join(", "), 200)
      }`,
    );
  };
  const idColumn = need(idName, "the sequence that a row belongs to");
  const labelColumn = label !== undefined
    ? need(label, "the class")
    : targets === undefined && columns.includes("label")
    ? "label"
    : undefined;
  const named = columns.filter((name) => name === "target" || name.startsWith("target_"));
  const targetColumns = (targets ?? (label !== undefined ? [] : named))
    .map((name) => need(name, "a number to predict"));
  if (labelColumn !== undefined && targetColumns.length > 0) {
    fail("has both a column for the class and one for numbers to predict: say which to predict");
  }
  const taken = new Set(["label", ...named, idColumn, labelColumn, ...targetColumns]);
  const features = like?.features.map((name) => need(name, "a feature")) ??
    columns.filter((name) => !taken.has(name));
  if (features.length === 0) fail("has no column for a feature");
  if (count * (features.length + targetColumns.length) > MAX_NUMBERS) {
    fail(`holds more than ${MAX_NUMBERS} numbers: split it`);
  }

  const rowsOf = new Map<string, number[]>();
  for (let row = 0; row < count; row++) {
    const name = toLabel(cell(row, idColumn), `${file}: ${place(row)}`, idColumn) ??
      fail(`${place(row)}: ${idColumn} is empty: it says which sequence the row belongs to`);
    const rows = rowsOf.get(name);
    if (rows === undefined) rowsOf.set(name, [row]);
    else rows.push(row);
  }
  const number = (row: number, column: string): number => {
    const value = toNumber(cell(row, column));
    return typeof value === "number" ? value : fail(`${place(row)}: ${printable(column)} ${value}`);
  };
  const isBlank = (row: number, column: string): boolean => {
    const value = cell(row, column);
    return value === undefined || value === null || value === "";
  };
  const found = Array.from(rowsOf, ([name, rows]): Found => {
    const differs = (row: number, column: string, value: unknown, before: unknown): never =>
      fail(
        `${place(row)}: ${printable(column)} is ${describe(value)}, but it was ${
          describe(before)
        } before in sequence ${printable(name)}: a sequence has one`,
      );
    let known: string | undefined;
    let target: Float32Array | undefined;
    for (const row of rows) {
      if (labelColumn !== undefined) {
        const value = toLabel(cell(row, labelColumn), `${file}: ${place(row)}`, labelColumn);
        if (known !== undefined && value !== undefined && value !== known) {
          differs(row, labelColumn, value, known);
        }
        known ??= value;
      }
      if (targetColumns.length > 0 && !targetColumns.every((column) => isBlank(row, column))) {
        const values = Float32Array.from(targetColumns, (column) => number(row, column));
        target ??= values;
        const other = target.findIndex((value, i) => value !== values[i]);
        if (other >= 0) differs(row, targetColumns[other], values[other], target[other]);
      }
    }
    const values = new Float32Array(rows.length * features.length);
    rows.forEach((row, t) =>
      features.forEach((column, f) => values[t * features.length + f] = number(row, column))
    );
    const where = `${file}: ${place(rows[0])}: sequence ${printable(name)}`;
    return { where, id: name, values, steps: rows.length, label: known, target };
  });
  const schema = targetColumns.length > 0 ? { features, targets: targetColumns } : { features };
  return { schema, found };
}

// ---- JSON

/** Numbers of JSON: a list of rows of equal width, or of single numbers. */
function readNumbers(
  key: string,
  given: unknown,
  where: string,
  width: number | undefined,
): { readonly numbers: Float32Array; readonly width: number } {
  const fail = (problem: string): never => {
    throw new InputError(`${where}: ${key}${problem}`);
  };
  if (!Array.isArray(given)) {
    const shown = given === undefined ? "missing" : describe(given);
    return fail(` is ${shown}: it must be a list with a row of numbers a time step`);
  }
  const rows: readonly unknown[] = given;
  if (rows.length === 0) return fail(" is empty: a sequence needs at least 1 time step");
  const [first] = rows;
  const wide = Array.isArray(first) ? first.length : 1;
  if (wide === 0) fail("[0] is empty: a row needs at least 1 number");
  if (width !== undefined && wide !== width) {
    fail(` has ${wide} numbers a row, but ${width} ${width === 1 ? "is" : "are"} needed`);
  }
  const numbers = new Float32Array(rows.length * wide);
  const set = (i: number, value: unknown, place: string): void => {
    const number = typeof value === "string"
      ? `is ${describe(value)}, not a number`
      : toNumber(value);
    if (typeof number === "string") fail(`${place} ${number}`);
    numbers[i] = number as number;
  };
  rows.forEach((row, t) => {
    if (!Array.isArray(first)) return set(t, row, `[${t}]`);
    if (!Array.isArray(row)) return fail(`[${t}] is ${describe(row)}, not a list of numbers`);
    if (row.length !== wide) return fail(`[${t}] has ${row.length} numbers, but [0] has ${wide}`);
    row.forEach((value: unknown, f) => set(t * wide + f, value, `[${t}][${f}]`));
  });
  return { numbers, width: wide };
}

/** What one sequence's object holds, and where it is. */
interface SequenceObject {
  readonly read: (key: string) => unknown;
  readonly where: string;
}

const KEYS = "the keys id, values, and label or target";

/** The objects of lines of JSON. */
async function* objectsOfLines(
  chunks: AsyncIterable<Uint8Array>,
  file: string,
): AsyncGenerator<SequenceObject> {
  for await (const { number, text } of textLines(chunks, file, MAX_LINE_MIB)) {
    if (text.trim() === "") continue;
    const where = `${file}: line ${number}`;
    yield { read: jsonFields(parseJson(text, where), where, KEYS), where };
  }
}

/** The objects of a JSON text: a list of them, or lists of `sequences`, `labels` and so on. */
function* objectsOfText(text: string, file: string): Generator<SequenceObject> {
  const value = parseJson(text, file);
  if (Array.isArray(value)) {
    for (const [i, one] of value.entries()) {
      const where = `${file}: sequence ${i} (from 0)`;
      yield { read: jsonFields(one, where, KEYS), where };
    }
    return;
  }
  const all = jsonFields(value, file, "sequences, and labels or targets");
  const list = (key: string, length?: number): readonly unknown[] | undefined => {
    const given = all(key);
    if (given === undefined && key !== "sequences") return undefined;
    if (!Array.isArray(given)) {
      const shown = given === undefined ? "missing" : describe(given);
      throw new InputError(`${file}: ${key} is ${shown}: it must be a list`);
    }
    if (length !== undefined && given.length !== length) {
      throw new InputError(`${file}: there are ${length} sequences and ${given.length} ${key}`);
    }
    return given;
  };
  const sequences = list("sequences")!;
  const fields: Readonly<Record<string, readonly unknown[] | undefined>> = {
    values: sequences,
    id: list("ids", sequences.length),
    label: list("labels", sequences.length),
    target: list("targets", sequences.length),
  };
  for (let i = 0; i < sequences.length; i++) {
    yield { read: (key) => fields[key]?.[i], where: `${file}: sequence ${i} (from 0)` };
  }
}

async function sequencesOfObjects(
  objects: AsyncIterable<SequenceObject> | Iterable<SequenceObject>,
  { like }: ReadSequencesOptions,
): Promise<{ schema: SequenceSchema; found: readonly Found[] }> {
  const found: Found[] = [];
  let width = like?.features.length;
  let targetWidth = like?.targets?.length;
  let numbers = 0;
  for await (const { read, where } of objects) {
    const values = readNumbers("values", read("values"), where, width);
    width = values.width;
    numbers += values.numbers.length;
    if (numbers > MAX_NUMBERS) {
      throw new InputError(`${where}: more than ${MAX_NUMBERS} numbers up to here: split the file`);
    }
    const id = toLabel(read("id"), where, "id");
    const label = toLabel(read("label"), where, "label");
    const given = read("target") ?? undefined;
    let target: Float32Array | undefined;
    if (given !== undefined) {
      const row = readNumbers("target", [given], where, targetWidth);
      [target, targetWidth] = [row.numbers, row.width];
    }
    found.push({
      where: id === undefined ? where : `${where}: sequence ${printable(id)}`,
      id,
      values: values.numbers,
      steps: values.numbers.length / width,
      label,
      target,
    });
  }
  const schema = {
    features: like?.features ?? numbered("feature", width ?? 0),
    ...(targetWidth === undefined
      ? {}
      : { targets: like?.targets ?? numbered("target", targetWidth) }),
  };
  return { schema, found };
}

/** `feature`, or `feature_0`, `feature_1` and so on. */
function numbered(name: string, count: number): readonly string[] {
  return count === 1 ? [name] : Array.from({ length: count }, (_, i) => `${name}_${i}`);
}

// ---- both

/** Gives classes their indices and checks that every sequence has its answer. */
function finish(
  file: string,
  schema: SequenceSchema,
  found: readonly Found[],
  { answers = "required", like }: ReadSequencesOptions,
): SequenceData {
  if (found.length === 0) throw new InputError(`${file}: holds no sequence`);
  const labels = new Set<string>();
  for (const { where, label, target } of found) {
    if (label !== undefined && target !== undefined) {
      throw new InputError(`${where}: has both a label and a target: give the one to predict`);
    }
    if (label !== undefined) labels.add(label);
  }
  const targets = like === undefined ? schema.targets : like.targets;
  const classes = like !== undefined
    ? like.classes
    : labels.size > 0
    ? [...labels].sort(byNumber([...labels]))
    : undefined;
  if (answers === "required" && classes === undefined && targets === undefined) {
    throw new InputError(
      `${file}: has no labels and no targets: say which column or key has what to predict`,
    );
  }
  const indices = new Map(classes?.map((name, i) => [name, i]));
  const samples = found.map(({ where, id, values, steps, label, target }): SequenceSample => {
    const wrong = classes === undefined ? label : target;
    if (wrong !== undefined) {
      const [has, needs] = classes === undefined ? ["label", "target"] : ["target", "label"];
      throw new InputError(`${where}: has a ${has} where the others have a ${needs}`);
    }
    if (answers === "required" && label === undefined && target === undefined) {
      const answer = classes === undefined ? "target" : "label";
      throw new InputError(`${where}: has no ${answer}`);
    }
    const index = label === undefined ? undefined : indices.get(label);
    if (label !== undefined && index === undefined) {
      throw new InputError(
        `${where}: label ${describe(label)} was not in the training data, whose classes are ${
          printable(classes!.join(", "), 200)
        }`,
      );
    }
    return Object.freeze({
      values,
      steps,
      ...(index === undefined ? {} : { label: index }),
      ...(target === undefined ? {} : { target }),
      ...(id === undefined ? {} : { id }),
    });
  });
  const { features } = schema;
  return {
    samples,
    features,
    width: features.length,
    ...(classes === undefined ? {} : { classes }),
    ...(targets === undefined ? {} : { targets }),
  };
}

/** Whole numbers go by size, other classes by their characters. */
function byNumber(labels: readonly string[]): ((a: string, b: string) => number) | undefined {
  return labels.every((label) => /^-?\d{1,15}$/.test(label))
    ? (a, b) => Number(a) - Number(b)
    : undefined;
}

/**
 * Reads sequences. The ending of the name says how:
 *
 * - `.csv`, `.csv.gz`, `.parquet`: a row a time step, in order. A column names the row's sequence, others
 *   hold its class or its numbers to predict (the same in every row of a sequence, or only in one), all
 *   others are features. Names of columns are taken in lower case.
 * - `.jsonl`, `.jsonl.gz`: an object a line, `{"id": "a", "values": [[1, 2], [3, 4]], "label": "up"}`,
 *   or with `"target": [0.5]`; `values` of one feature may be `[1, 3]`. `-` reads them from the
 *   standard input.
 * - `.json`: a list of such objects, or `{"sequences": [[1, 3], [4, 1]], "labels": [0, 1]}`, also with
 *   `targets` and `ids`.
 *
 * Classes are texts or whole numbers. Their order is that of the numbers, else of the characters.
 *
 * @throws {InputError} If the file is missing, empty, damaged, in another encoding or too large, a
 * column is missing, rows are ragged, something is no finite number, an answer is missing, or a class
 * is none of the training data's: file, line and value are named.
 *
 * @example
 * ```ts
 * import { readSequences } from "@gatewise/lstm";
 *
 * const path = `${await Deno.makeTempDir()}/moves.csv`;
 * await Deno.writeTextFile(path, "sequence,x,label\na,1,up\na,2,up\nb,5,down\n");
 * const { samples, features, classes } = await readSequences(path);
 * console.log(features, classes, samples[0].values); // ["x"] ["down", "up"] [1, 2]
 * ```
 */
export async function readSequences(
  path: string,
  options: ReadSequencesOptions = {},
): Promise<SequenceData> {
  const file = path === "-" ? "standard input" : path;
  const kind = path === "-" ? "jsonl" : ENDINGS.find((end) => path.endsWith(`.${end}`));
  const read = async (): Promise<{ schema: SequenceSchema; found: readonly Found[] }> => {
    switch (kind) {
      case "csv":
      case "csv.gz":
        return sequencesOfRows(file, await rowsOfCsv(path), options);
      case "parquet":
        return sequencesOfRows(file, await rowsOfParquet(path), options);
      case "json":
        return await sequencesOfObjects(objectsOfText(await wholeText(path), file), options);
      case undefined:
        throw new InputError(
          `${file}: unknown kind of file: its name must end in .${ENDINGS.join(", .")}`,
        );
      default: {
        const source = path === "-" ? Deno.stdin.readable : (await Deno.open(path)).readable;
        const text = kind === "jsonl" ? source : gunzip(source, file);
        return await sequencesOfObjects(objectsOfLines(text, file), options);
      }
    }
  };
  try {
    const { schema, found } = await read();
    return finish(file, schema, found, options);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${file}: cannot be read: ${fileProblem(error)}`);
  }
}

// Imported only here, since most users of the library read no CSV.
async function rowsOfCsv(path: string): Promise<SequenceRows> {
  const { readTable } = await import("./table.ts");
  const { columns, rows } = await readTable(path, MAX_ROWS);
  return {
    columns,
    count: rows.length,
    cell: (row, column) => rows[row].values[column],
    where: (row) => `line ${rows[row].line}`,
  };
}

async function rowsOfParquet(path: string): Promise<SequenceRows> {
  const { readParquet } = await import("./parquet.ts");
  const { names, columns, rows } = await readParquet(path);
  const lower = names.map((name) => name.toLowerCase());
  const twice = lower.find((name, i) => lower.indexOf(name) < i);
  if (twice !== undefined) {
    throw new InputError(`${path}: two columns are called ${printable(twice)}`);
  }
  const at = new Map(lower.map((name, i) => [name, columns[i]]));
  return {
    columns: lower,
    count: rows,
    cell: (row, column) => at.get(column)![row],
    where: (row) => `row ${row + 1}`,
  };
}

async function wholeText(path: string): Promise<string> {
  const bytes = await readWholeFile(path, MAX_JSON);
  if (bytes === undefined) {
    throw new InputError(`${path}: is larger than 256 MiB: save it as .jsonl`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InputError(`${path}: is no text in UTF-8: save it as UTF-8`);
  }
}

/** Options of {@link readSequenceSplits}. */
export interface ReadSequenceSplitsOptions extends ReadSequencesOptions {
  /** Key of the split, where one file is to be split. */
  readonly key: Key;
}

/**
 * Reads a data set of sequences: one file, which {@link splitSequences} splits, or the files
 * `<path>_train`, `<path>_validation` and `<path>_test`, whose classes and features are those of the
 * training file.
 *
 * @param path The file, the prefix of the three, or a directory with them.
 * @throws {InputError} As {@link readSequences}, or if a file is missing.
 */
export async function readSequenceSplits(
  path: string,
  { key, ...options }: ReadSequenceSplitsOptions,
): Promise<Readonly<Record<Split, SequenceData>>> {
  if (await isKind(path, "isFile")) return splitSequences(await readSequences(path, options), key);
  if (ENDINGS.some((end) => path.endsWith(`.${end}`))) {
    throw new InputError(`${path}: there is no such file`);
  }
  const files = await findSplits(path, undefined, ENDINGS);
  const train = await readSequences(files.train, options);
  const { features, classes, targets } = train;
  const more = { ...options, like: options.like ?? { features, classes, targets } };
  return {
    train,
    validation: await readSequences(files.validation, more),
    test: await readSequences(files.test, more),
  };
}
