import { DuckDBInstance, type DuckDBValue } from "@duckdb/node-api";
import { InputError } from "../core/errors.ts";
import { printable } from "../core/describe.ts";

/** How a database may use the machine. */
export interface DatabaseOptions {
  /** Memory in GiB, beyond which it works on disk. */
  readonly memory: number;
  /** Folder for its files, which may grow to a few times the input. */
  readonly folder: string;
}

/** A column of up to 2,048 rows. */
export type Column = readonly DuckDBValue[];

/** An embedded database (DuckDB) for data larger than memory. */
export interface Database extends Disposable {
  /** Carries out statements. */
  readonly run: (sql: string) => Promise<void>;
  /** All rows of a small result. */
  readonly all: (sql: string) => Promise<readonly (readonly DuckDBValue[])[]>;
  /** The rows of a large result, by columns, a piece at a time. */
  readonly stream: (sql: string) => AsyncIterable<readonly Column[]>;
}

/**
 * Opens an empty database in `folder`, which should be removed after it.
 *
 * @throws {InputError} From its functions, if a file cannot be read or the disk is full.
 */
export async function openDatabase({ memory, folder }: DatabaseOptions): Promise<Database> {
  const instance = await DuckDBInstance.create(`${folder}/prepare.duckdb`, {
    memory_limit: `${Math.round(memory * 1024)}MiB`,
    temp_directory: `${folder}/spill`,
    // Nothing is loaded from the network, whatever a file asks for.
    autoinstall_known_extensions: "false",
  });
  const connection = await instance.connect();
  await connection.run("SET TimeZone = 'UTC'");
  const guard = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw asInputError(error);
    }
  };
  return {
    run: (sql) => guard(async () => void await connection.run(sql)),
    all: (sql) => guard(async () => (await connection.runAndReadAll(sql)).getRows()),
    async *stream(sql): AsyncGenerator<readonly Column[]> {
      const result = await guard(() => connection.stream(sql));
      for (;;) {
        const chunk = await guard(() => result.fetchChunk());
        if (chunk === null || chunk.rowCount === 0) return;
        yield chunk.getColumns();
      }
    },
    [Symbol.dispose](): void {
      connection.closeSync();
      instance.closeSync();
    },
  };
}

/** A text as SQL. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A name of a column as SQL. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** DuckDB says over many lines which line of which file does not fit. */
function asInputError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const text = error.message;
  const line = /CSV Error on Line: (\d+)/.exec(text)?.[1];
  const file = /^ *file = (.+)$/m.exec(text)?.[1];
  const fields = /Expected Number of Columns: (\d+) Found: (\d+)/.exec(text);
  if (line !== undefined && file !== undefined) {
    const what = fields === null
      ? printable(text.split("\n").find((part) => !/^CSV|^Original|Error on Line/.test(part)) ?? "")
      : `${fields[2]} ${fields[2] === "1" ? "field" : "fields"} where ${fields[1]} belong`;
    return new InputError(
      `${file}: line ${line}: ${what}: the file may be cut short or damaged; repair or remove the line`,
      { cause: error },
    );
  }
  const parquet = /No magic bytes found at end of file '(.+)'|file '(.+)' too small/.exec(text);
  if (parquet !== null) {
    return new InputError(
      `${parquet[1] ?? parquet[2]}: is no Parquet file, or was cut short; get it again`,
      { cause: error },
    );
  }
  const first = printable(text.split("\n")[0], 300);
  // Faults of DuckDB itself, which damaged files provoke.
  const own = /^(INTERNAL|FATAL) Error/.test(first);
  return new InputError(
    own ? `DuckDB failed (${first}): the file may be damaged: repair it or leave it out` : first,
    { cause: error },
  );
}
