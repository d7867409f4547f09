/**
 * Columns of Parquet files, read by hyparquet, which is plain JavaScript: DuckDB, which `prepare` uses,
 * needs Deno's permission for foreign functions, and the commands that read sequences need none.
 *
 * @module
 */
import {
  type ColumnMetaData,
  type Compressors,
  type DecodedArray,
  type FileMetaData,
  parquetMetadata,
  parquetScan,
  parquetSchema,
  snappyUncompress,
} from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { readWholeFile } from "../core/whole_file.ts";

/** A flat table. */
export interface ParquetTable {
  /** Names of the columns, in their order. */
  readonly names: readonly string[];
  /** Values of each column. */
  readonly columns: readonly ArrayLike<unknown>[];
  /** How many rows. */
  readonly rows: number;
}

const MAX_BYTES = 2 ** 30;
/** Values of all columns. Tables of more than a few, and of very many for their bytes, are bombs. */
const MAX_VALUES = 2 ** 26;
const FEW_VALUES = 2 ** 22;
const MAX_PER_BYTE = 100;
/** What a page may unpack to. */
const MAX_PAGE = 2 ** 28;
/** Those of which the size of what they hold is known before it is read. */
const ENCODINGS: readonly string[] = [
  ...["PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BYTE_STREAM_SPLIT"],
  ...["DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY"],
];

const damaged = (what: string): never => {
  throw new Error(`${what} (damaged?)`);
};

type Unpack = (input: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
const unpacker = (unpack: Unpack) => (input: Uint8Array, size: number): Uint8Array =>
  unpack(input, { maxOutputLength: Math.max(1, size) });

const compressors: Compressors = {
  GZIP: unpacker(gunzipSync),
  BROTLI: unpacker(brotliDecompressSync),
  ZSTD: unpacker(zstdDecompressSync),
  SNAPPY(input, size) {
    // Three bytes copy 64 at most: the size is believed only where it can be.
    if (size > 64 + 32 * input.length) damaged("a page cannot have the size that it names");
    const output = new Uint8Array(size);
    snappyUncompress(input, output);
    return output;
  },
};

function unpacked(bytes: Uint8Array, size: number, codec: string): Uint8Array {
  if (codec === "UNCOMPRESSED") return bytes;
  const unpack = compressors[codec as keyof Compressors];
  if (unpack === undefined) {
    throw new Error(`is packed with ${printable(codec, 20)}: save it with snappy, gzip or zstd`);
  }
  if (!(size >= 0 && size <= MAX_PAGE)) damaged("a page names an impossible size");
  return unpack(bytes, size);
}

/**
 * Checks that runs of equal and of packed values hold no more than they should.
 *
 * @returns Where they end.
 */
function checkRuns(
  bytes: Uint8Array,
  from: number,
  end: number,
  width: number,
  count: number,
): void {
  let at = from;
  for (let seen = 0; seen < count && at < end;) {
    let header = 0;
    for (let shift = 0, more = true; more; shift += 7, at++) {
      if (at >= end || shift > 28) damaged("a run of values ends early");
      header += (bytes[at] & 127) * 2 ** shift;
      more = bytes[at] > 127;
    }
    const packed = header % 2 === 1, n = Math.floor(header / 2);
    const values = packed ? 8 * n : n;
    // Packed values come in eights.
    if (values > count - seen + (packed ? 512 : 0)) damaged("a run has more values than its page");
    at += packed ? n * width : Math.ceil(width / 8);
    seen += values;
  }
}

/** Checks the pages of a column, whose counts hyparquet believes, before it reads them. */
function checkColumn(
  chunk: Uint8Array,
  meta: ColumnMetaData,
  rows: number,
  optional: boolean,
): void {
  const reader = {
    view: new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength),
    offset: 0,
  };
  for (let seen = 0; seen < rows && reader.offset < chunk.length - 1;) {
    const header = parquetHeader(reader);
    const { data_page_header: v1, data_page_header_v2: v2, dictionary_page_header: dictionary } =
      header;
    const size = Number(header.uncompressed_page_size);
    const end = reader.offset + header.compressed_page_size;
    if (!(end > reader.offset - 1 && end <= chunk.length)) damaged("a page ends past its column");
    const bytes = chunk.subarray(reader.offset, end);
    reader.offset = end;
    if (header.type === "DICTIONARY_PAGE") {
      if (!(dictionary !== undefined && dictionary.num_values <= size)) {
        damaged("a dictionary has more values than bytes");
      }
      continue;
    }
    const page = header.type === "DATA_PAGE_V2" ? v2 : v1;
    if (page === undefined || !(page.num_values >= 0 && page.num_values <= rows - seen)) {
      return damaged("a page has more rows than its column");
    }
    if (!ENCODINGS.includes(page.encoding)) {
      throw new Error(`is encoded as ${printable(String(page.encoding), 20)}: save it anew`);
    }
    const count = page.num_values;
    seen += count;
    let values: Uint8Array, from = 0;
    if (page === v2) {
      const levels = v2.definition_levels_byte_length + v2.repetition_levels_byte_length;
      if (!(levels >= 0 && levels <= bytes.length)) damaged("a page ends inside its levels");
      if (optional) checkRuns(bytes, 0, levels, 1, count);
      const rest = bytes.subarray(levels);
      values = v2.is_compressed === false || size === levels
        ? rest
        : unpacked(rest, size - levels, meta.codec);
    } else {
      values = unpacked(bytes, size, meta.codec);
      if (optional) {
        if (values.length < 4) damaged("a page ends inside its levels");
        const length = new DataView(values.buffer, values.byteOffset).getUint32(0, true);
        from = 4 + length;
        if (from > values.length) damaged("a page ends inside its levels");
        checkRuns(values, 4, from, 1, count);
      }
    }
    if (page.encoding.endsWith("_DICTIONARY")) {
      checkRuns(values, from + 1, values.length, values[from] ?? 0, count);
    } else if (page.encoding === "RLE") {
      checkRuns(values, page === v2 ? from : from + 4, values.length, 1, count);
    }
  }
}

/** Names of the columns and whether values may be missing. */
function columnsOf(metadata: FileMetaData): readonly { name: string; optional: boolean }[] {
  return parquetSchema(metadata).children.map(({ element, children }) => {
    if (children.length > 0 || element.repetition_type === "REPEATED") {
      throw new Error(`column ${printable(element.name)} holds lists or records: leave it out`);
    }
    return { name: element.name, optional: element.repetition_type === "OPTIONAL" };
  });
}

async function readTable(bytes: Uint8Array<ArrayBuffer>): Promise<ParquetTable> {
  const metadata = parquetMetadata(bytes, { geoparquet: false });
  const columns = columnsOf(metadata);
  const rows = metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0);
  const values = rows * columns.length;
  if (!(rows >= 0) || values > MAX_VALUES) throw new Error(`holds more than ${MAX_VALUES} values`);
  if (values > FEW_VALUES && values > MAX_PER_BYTE * bytes.length) {
    throw new Error(`unpacks to more than ${MAX_PER_BYTE} values a byte: save it as CSV`);
  }
  for (const { columns: chunks, num_rows } of metadata.row_groups) {
    if (!(num_rows >= 0n) || chunks.length !== columns.length) damaged("a row group is incomplete");
    chunks.forEach(({ meta_data: meta }, i) => {
      if (meta === undefined || meta.path_in_schema.join(".") !== columns[i].name) {
        return damaged("columns are in another order than their names");
      }
      const start = Number(meta.dictionary_page_offset || meta.data_page_offset);
      const end = start + Number(meta.total_compressed_size);
      if (!(start >= 0 && end >= start && end <= bytes.length)) damaged("a column is cut off");
      checkColumn(bytes.subarray(start, end), meta, Number(num_rows), columns[i].optional);
    });
  }
  const file = {
    byteLength: bytes.length,
    slice: (start: number, end?: number) => bytes.slice(start, end).buffer,
  };
  const scan = await parquetScan({
    file,
    metadata,
    compressors,
    geoparquet: false,
    useOffsetIndex: false,
  });
  const read: DecodedArray[] = [];
  for (const { name: column } of columns) {
    const parts: DecodedArray[] = [];
    for (const range of scan.ranges) {
      const part = await scan.readColumn({ column, ...range });
      if (part.length !== range.rowEnd - range.rowStart) damaged(`${column} lacks rows`);
      parts.push(part);
    }
    read.push(parts.length === 1 ? parts[0] : parts.flatMap((part) => Array.from<unknown>(part)));
  }
  return { names: columns.map(({ name }) => name), columns: read, rows };
}

/**
 * Reads a Parquet file of flat columns, packed with snappy, gzip, brotli or zstd, or not.
 *
 * @throws {InputError} If the file cannot be read, is none, damaged, nested, or too large.
 */
export async function readParquet(path: string): Promise<ParquetTable> {
  const bytes = await readWholeFile(path, MAX_BYTES);
  if (bytes === undefined) throw new InputError(`${path}: is larger than 1 GiB: split it`);
  if (bytes.length === 0) throw new InputError(`${path}: is empty`);
  try {
    return await readTable(bytes);
  } catch (error) {
    const what = printable((error as Error).message, 200);
    throw new InputError(`${path}: cannot be read as Parquet: ${what}`, { cause: error });
  }
}
