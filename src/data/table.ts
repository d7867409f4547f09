/**
 * Small tables from CSV files.
 *
 * @module
 */
import { CsvError, parse } from "csv-parse/sync";
import { printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { suggestion } from "../core/suggestion.ts";
import { readWholeFile } from "../core/whole_file.ts";
import { allOf, gunzip } from "./text_file.ts";

/** A table with named columns. */
export interface Table {
  /** The file. */
  readonly path: string;
  /** Names of the columns, in their order. */
  readonly columns: readonly string[];
  /** The rows, each with its line in the file. */
  readonly rows: readonly {
    readonly line: number;
    readonly values: Readonly<Record<string, string>>;
  }[];
}

const MAX_BYTES = 256 * 2 ** 20;
// A row takes 350 bytes of memory at least, whatever the file spends on it.
const MAX_ROWS = 2 ** 18;
const MAX_COLUMNS = 2 ** 12;
const MAX_ROW_BYTES = 2 ** 17;

/**
 * Reads CSV in UTF-8, packed if its name ends in `.gz`, with commas, semicolons or tabs, whose first
 * line names the columns.
 *
 * @param mostRows Refused if there are more.
 * @throws {InputError} If the file cannot be read, is empty, too large, in another encoding or
 * damaged, or a line has more or fewer fields than the first; the message names file and line.
 */
export async function readTable(path: string, mostRows: number = MAX_ROWS): Promise<Table> {
  const fail = (problem: string, cause?: unknown): never => {
    throw new InputError(`${path}: ${problem}`, { cause });
  };
  let bytes: Uint8Array | undefined;
  try {
    bytes = path.endsWith(".gz")
      ? await allOf(gunzip((await Deno.open(path)).readable, path), MAX_BYTES)
      : await readWholeFile(path, MAX_BYTES);
  } catch (error) {
    if (error instanceof InputError) throw error;
    return fail(`cannot be read: ${(error as Error).message.split("\n")[0]}`, error);
  }
  if (bytes === undefined) return fail("is larger than 256 MiB");
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    return fail("is no text in UTF-8: save it as UTF-8", error);
  }
  if (text.trim() === "") return fail("is empty: its first line names the columns");
  const columns: string[] = [];
  try {
    const rows = parse(text, {
      info: true,
      delimiter: [",", ";", "\t"],
      trim: true,
      skip_empty_lines: true,
      to: mostRows + 1,
      max_record_size: MAX_ROW_BYTES,
      columns: (names: string[]) => {
        if (names.length > MAX_COLUMNS) fail(`line 1: has more than ${MAX_COLUMNS} columns`);
        columns.push(...names.map((name) => name.toLowerCase()));
        const twice = columns.find((name, i) => columns.indexOf(name) < i);
        if (twice !== undefined) fail(`line 1: two columns are called ${printable(twice)}`);
        return columns;
      },
    }) as unknown as readonly { record: Record<string, string>; info: { lines: number } }[];
    if (rows.length > mostRows) fail(`holds more than ${mostRows} rows: split it`);
    return {
      path,
      columns,
      rows: rows.map(({ record, info }) => ({ line: info.lines, values: record })),
    };
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const { code, lines } = error as CsvError & { readonly lines?: number };
    const where = `line ${lines ?? "?"}`;
    if (code === "CSV_RECORD_INCONSISTENT_COLUMNS") {
      return fail(`${where}: does not have the ${columns.length} fields that line 1 names`, error);
    }
    if (code === "CSV_QUOTE_NOT_CLOSED") {
      return fail(`a quote is opened and not closed by ${where} (cut off?)`, error);
    }
    if (code === "CSV_MAX_RECORD_SIZE") return fail(`${where}: is longer than 128 KiB`, error);
    return fail(`${where}: ${printable(error.message, 120)}`, error);
  }
}

/**
 * Checks that a table has a column.
 *
 * @throws {InputError} If not; the message names those that it has.
 */
export function columnIn({ path, columns }: Table, name: string): void {
  if (columns.includes(name)) return;
  throw new InputError(
    `${path}: line 1: has no column ${name}${suggestion(name, columns)}; it has ${
      printable(columns.join(", "), 200)
    }`,
  );
}
