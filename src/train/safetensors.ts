/**
 * Reading and writing of the safetensors format: eight bytes of header length, a JSON header with
 * the dtype, shape and byte range of each tensor, then the little-endian elements one after another
 * (https://github.com/huggingface/safetensors). A file holds only data; reading one runs nothing.
 *
 * The rules are those of the official Rust library, and what is written is byte for byte what it
 * writes. Three things that it lets pass are refused here: keys of a tensor's entry other than
 * dtype, shape and data_offsets, a `__metadata__` of null, and more than {@link MAX_ENTRIES}
 * tensors or 64 dimensions.
 *
 * Own code because the official library is for Rust and Python, and npm's `safetensors` is a
 * version 0.0.1.
 *
 * @module
 */
import { describe, printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { writeWholeFile } from "../core/whole_file.ts";
import { type HostTensor, isHostTensor, sizeOf, tensor } from "../core/tensor.ts";
import type { TensorData } from "../core/tensor.ts";

/** Element types that files may hold and this library reads. */
export type StoredDType =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U64"
  | "U32"
  | "U16"
  | "U8"
  | "BOOL";

/** What a safetensors file holds. */
export interface Safetensors {
  /** Tensors by name, in the file's order: floats `f32`, signed integers `i32`, others `u32`. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
  /** The file's element type of each tensor, by name. */
  readonly dtypes: ReadonlyMap<string, StoredDType>;
  /** The file's free text entries. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** How tensors are written. */
export interface SafetensorsOptions {
  /** Free text to keep with the tensors. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Names of integer tensors to write as I64, as PyTorch keeps `num_batches_tracked`. */
  readonly i64?: Iterable<string>;
}

/** Tensors by name, as a record or a map. */
export type NamedTensors = Readonly<Record<string, HostTensor>> | ReadonlyMap<string, HostTensor>;

// The limit of the format's own reader.
const MAX_HEADER_BYTES = 100_000_000;
// A header at its limit could hold millions of entries, which take many times its size in memory.
const MAX_ENTRIES = 100_000;
const MAX_RANK = 64;
// No buffer of a GPU is larger.
const MAX_TENSOR_BYTES = 2 ** 32;
const STORED_AS = { f32: "F32", i32: "I32", u32: "U32" } as const;
// In the order of the official writer: widest first, so that everything is aligned.
const WRITING_ORDER: readonly StoredDType[] = ["I64", "F32", "U32", "I32"];
/** Element types of the format that no tensor of this library can hold. */
const NOT_READ: readonly unknown[] = [
  ...["C64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"],
  ...["F6_E2M3", "F6_E3M2", "F4"],
];

interface Reader {
  readonly bytes: number;
  readonly decode: (view: DataView, count: number) => TensorData;
}

const each = <A extends TensorData>(out: A, value: (i: number) => number): A => {
  for (let i = 0; i < out.length; i++) out[i] = value(i);
  return out;
};

/** Throws a `RangeError` where conversion would change a number instead of rounding it. */
function checked(value: number | bigint, fits: boolean): number {
  if (!fits) throw new RangeError(`holds ${value}, which does not fit 32 bits`);
  return Number(value);
}

/** Elements of four bytes as they are, copied out of a larger file, which need not be aligned. */
const bitsOf = (view: DataView): ArrayBufferLike =>
  view.byteLength === view.buffer.byteLength
    ? view.buffer
    : new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice().buffer;

const READERS: Readonly<Record<StoredDType, Reader>> = {
  F64: {
    bytes: 8,
    decode: (view, n) =>
      each(new Float32Array(n), (i) => {
        const value = view.getFloat64(8 * i, true);
        return checked(value, Number.isFinite(Math.fround(value)) || !Number.isFinite(value));
      }),
  },
  F32: { bytes: 4, decode: (view) => new Float32Array(bitsOf(view)) },
  F16: {
    bytes: 2,
    decode: (view, n) => each(new Float32Array(n), (i) => view.getFloat16(2 * i, true)),
  },
  BF16: {
    bytes: 2,
    decode: (view, n) => {
      // The upper half of an f32.
      const bits = each(new Uint32Array(n), (i) => view.getUint16(2 * i, true) << 16);
      return new Float32Array(bits.buffer);
    },
  },
  I64: {
    bytes: 8,
    decode: (view, n) =>
      each(new Int32Array(n), (i) => {
        const value = view.getBigInt64(8 * i, true);
        return checked(value, BigInt.asIntN(32, value) === value);
      }),
  },
  I32: { bytes: 4, decode: (view) => new Int32Array(bitsOf(view)) },
  I16: {
    bytes: 2,
    decode: (view, n) => each(new Int32Array(n), (i) => view.getInt16(2 * i, true)),
  },
  I8: { bytes: 1, decode: (view, n) => each(new Int32Array(n), (i) => view.getInt8(i)) },
  U64: {
    bytes: 8,
    decode: (view, n) =>
      each(new Uint32Array(n), (i) => {
        const value = view.getBigUint64(8 * i, true);
        return checked(value, BigInt.asUintN(32, value) === value);
      }),
  },
  U32: { bytes: 4, decode: (view) => new Uint32Array(bitsOf(view)) },
  U16: {
    bytes: 2,
    decode: (view, n) => each(new Uint32Array(n), (i) => view.getUint16(2 * i, true)),
  },
  U8: { bytes: 1, decode: (view, n) => each(new Uint32Array(n), (i) => view.getUint8(i)) },
  BOOL: {
    bytes: 1,
    decode: (view, n) =>
      each(new Uint32Array(n), (i) => {
        const value = view.getUint8(i);
        if (value > 1) throw new RangeError(`holds ${value} where 0 or 1 stands for a boolean`);
        return value;
      }),
  },
};

type JsonObject = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The parts of a JSON text: texts with their quotes, single punctuation, and bare words. */
function* tokensOf(json: string): Generator<string> {
  const next = /["{}[\],:]|[^\s"{}[\],:]+/g;
  for (let match; (match = next.exec(json)) !== null;) {
    const start = match.index;
    if (match[0] !== '"') {
      yield match[0];
      continue;
    }
    // By hand: as a regular expression, a long text with escapes overflows its stack.
    let end = start;
    for (let slashes = 1; slashes % 2 === 1;) {
      end = json.indexOf('"', end + 1);
      if (end < 0) return;
      for (slashes = 0; json[end - 1 - slashes] === "\\";) slashes++;
    }
    next.lastIndex = end + 1;
    yield json.slice(start, end + 1);
  }
}

/**
 * What is wrong with a header that `JSON.parse` would not tell: keys that appear twice, numbers
 * written like 1.0 or 1e3, and more or deeper content than tensors need, which is told
 * before memory is spent on it. Texts that are no JSON may pass.
 */
function headerFault(json: string): string | undefined {
  // The open objects, with their keys, and lists, with the number of their commas.
  const open: { readonly keys?: Set<string>; commas: number }[] = [];
  let last = "";
  for (const token of tokensOf(json)) {
    const inside = open.at(-1);
    if (token === "{") open.push({ keys: new Set(), commas: 0 });
    else if (token === "[") open.push({ commas: 0 });
    else if (token === "}" || token === "]") open.pop();
    else if (token === "," && inside !== undefined) inside.commas++;
    else if (token === ":" && inside?.keys !== undefined && last[0] === '"') {
      const key = JSON.parse(last) as string;
      if (inside.keys.has(key)) return `names ${describe(key)} twice`;
      inside.keys.add(key);
      if (inside.keys.size > MAX_ENTRIES) return `has more than ${MAX_ENTRIES} entries`;
    } else if (/^[-\d]/.test(token) && isSize(Number(token)) && !/^(0|[1-9]\d*)$/.test(token)) {
      return `writes a whole number as ${printable(token, 20)}`;
    }
    if (open.length > 3) return "is nested deeper than the shape of a tensor";
    if (inside?.keys === undefined && inside !== undefined && inside.commas >= MAX_RANK) {
      return `has a list of more than ${MAX_RANK} numbers`;
    }
    last = token;
  }
  return undefined;
}

const isSize = (value: unknown): value is number =>
  Number.isSafeInteger(value) && value as number >= 0;

/** Whether other readers take a text as it is: no NUL, which ends C's, and no half a character. */
const isName = (text: string): boolean => text.isWellFormed() && !text.includes("\0");

const START = 8;

/** The length of the header, from the first eight bytes of a file of `total` bytes. */
function headerLength(bytes: Uint8Array, total: number, file: string): number {
  const bad = (what: string): never => {
    throw new InputError(
      `${file}: not a safetensors file: ${what}; write it again or copy it anew`,
    );
  };
  if (bytes.length < START) {
    bad(`it has ${bytes.length} bytes, fewer than the 8 of the header's length`);
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) bad(`a header of ${length} bytes is over ${MAX_HEADER_BYTES}`);
  if (length > total - START) {
    bad(`its header takes ${length} bytes but only ${total - START} follow (cut off?)`);
  }
  return Number(length);
}

interface Entry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

interface Header {
  /** In the order of their data. */
  readonly entries: readonly Entry[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** Checks all of a header, against the `dataBytes` that follow it too. */
function readHeader(bytes: Uint8Array, dataBytes: number, file: string): Header {
  const bad = (what: string): never => {
    throw new InputError(`${file}: not a safetensors file: its header ${what}; write it again`);
  };
  let text = "";
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    bad("is no JSON in UTF-8");
  }
  if (!text.startsWith("{")) bad("does not start with {");
  let header: unknown;
  try {
    const fault = headerFault(text);
    if (fault !== undefined) bad(fault);
    header = JSON.parse(text);
  } catch (error) {
    if (error instanceof InputError) throw error;
    bad(`is no JSON in UTF-8 (${printable((error as Error).message, 120)})`);
  }
  const { __metadata__: metadata = {}, ...named } = header as JsonObject;
  if (!isObject(metadata) || Object.values(metadata).some((value) => typeof value !== "string")) {
    bad("must map names to texts in __metadata__");
  }
  const texts = metadata as Readonly<Record<string, string>>;
  if (!Object.entries(texts).flat().every(isName)) {
    bad("has a NUL or half a surrogate pair in __metadata__");
  }
  const entries = Object.entries(named).map(([name, value]) => readEntry(name, value, file))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkCover(entries, dataBytes, file);
  return { entries, metadata: texts };
}

function readEntry(name: string, value: unknown, file: string): Entry {
  const bad = (what: string): never => {
    throw new InputError(`${file}: tensor ${describe(name)}: ${what}`);
  };
  if (!isName(name)) bad("its name has a NUL or half a surrogate pair");
  if (!isObject(value)) return bad("its entry in the header is not an object");
  const { dtype, shape, data_offsets: range, ...others } = value;
  const [other] = Object.keys(others);
  if (other !== undefined) {
    bad(`unknown key ${describe(other)}; allowed are dtype, shape and data_offsets`);
  }
  if (typeof dtype !== "string" || !Object.hasOwn(READERS, dtype)) {
    const problem = NOT_READ.includes(dtype) ? "is not read here: convert it to one" : "is not one";
    return bad(`dtype ${describe(dtype)} ${problem} of ${Object.keys(READERS).join(" ")}`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    return bad(`shape ${describe(shape)} is not a list of sizes`);
  }
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isSize) || range[0] > range[1]) {
    return bad(`data_offsets ${describe(range)} is not a pair [begin, end]`);
  }
  const [begin, end] = range as [number, number];
  // Products of the sizes on the way must be exact as well: [2^40, 2^40, 0] is refused.
  let bytes = READERS[dtype as StoredDType].bytes;
  for (const size of shape) {
    bytes *= size;
    if (!isSize(bytes)) bad(`shape ${describe(shape)} overflows`);
  }
  if (bytes !== end - begin) {
    bad(
      `${dtype}${describe(shape)} takes ${bytes} bytes, but its data_offsets span ${end - begin}`,
    );
  }
  if (bytes > MAX_TENSOR_BYTES) bad(`${bytes} bytes are more than the 4 GiB that a GPU can hold`);
  return { name, dtype: dtype as StoredDType, shape, begin, end };
}

/** Checks that tensors, in order, cover the data without holes, overlaps and rest. */
function checkCover(entries: readonly Entry[], dataBytes: number, file: string): void {
  let expected = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== expected) {
      throw new InputError(
        `${file}: tensor ${describe(name)}: its data begins at ${begin}, but ` +
          `${expected} bytes come before it: holes and overlaps are not allowed`,
      );
    }
    expected = end;
  }
  if (expected !== dataBytes) {
    throw new InputError(
      `${file}: its tensors take ${expected} bytes, but ${dataBytes} follow the header ` +
        (expected > dataBytes ? "(cut off?); copy it anew" : "; remove what was appended"),
    );
  }
}

function readTensor(
  { name, dtype, shape }: Entry,
  view: DataView,
  file: string,
): HostTensor {
  try {
    return tensor(READERS[dtype].decode(view, sizeOf(shape)), shape);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new InputError(`${file}: tensor ${describe(name)} (${dtype}): ${error.message}`);
  }
}

function result(header: Header, tensors: ReadonlyMap<string, HostTensor>): Safetensors {
  const dtypes = new Map(header.entries.map(({ name, dtype }) => [name, dtype]));
  return { tensors, dtypes, metadata: header.metadata };
}

/**
 * The tensors in the bytes of a safetensors file. Floats become `f32`, signed integers `i32`,
 * unsigned ones and BOOL `u32`. All that the format demands is checked.
 *
 * @param bytes The whole file.
 * @param file What error messages call it.
 * @throws {InputError} If the bytes break the format, or a number does not fit its 32-bit type.
 */
export function decodeSafetensors(bytes: Uint8Array, file = "safetensors data"): Safetensors {
  const start = START + headerLength(bytes, bytes.length, file);
  const header = readHeader(bytes.subarray(START, start), bytes.length - start, file);
  return result(
    header,
    new Map(header.entries.map((entry) => {
      const at = bytes.byteOffset + start + entry.begin;
      const view = new DataView(bytes.buffer, at, entry.end - entry.begin);
      return [entry.name, readTensor(entry, view, file)];
    })),
  );
}

/**
 * The tensors in a safetensors file; see {@linkcode decodeSafetensors}. The header is checked against
 * the file's size before memory is taken for a tensor.
 *
 * @param path The file.
 * @throws {InputError} If the file cannot be read, breaks the format, or holds a number that does
 * not fit its 32-bit type.
 *
 * @example
 * ```ts
 * import { readSafetensors, tensor, writeSafetensors } from "@gatewise/lstm";
 *
 * const path = await Deno.makeTempFile({ suffix: ".safetensors" });
 * await writeSafetensors(path, { "fc.bias": tensor([0.5, -1]) });
 * const { tensors } = await readSafetensors(path);
 * console.log(tensors.get("fc.bias")?.data); // Float32Array(2) [ 0.5, -1 ]
 * ```
 */
export async function readSafetensors(path: string): Promise<Safetensors> {
  try {
    using file = await Deno.open(path);
    const { size, isFile } = await file.stat();
    if (!isFile) throw new InputError(`${path}: cannot read weights: it is no regular file`);
    const take = async (count: number): Promise<Uint8Array<ArrayBuffer>> => {
      const bytes = new Uint8Array(count);
      for (let at = 0; at < count;) {
        const read = await file.read(bytes.subarray(at));
        if (read === null) throw new InputError(`${path}: grew shorter while it was read`);
        at += read;
      }
      return bytes;
    };
    const length = headerLength(await take(Math.min(START, size)), size, path);
    const header = readHeader(await take(length), size - START - length, path);
    const tensors = new Map<string, HostTensor>();
    for (const entry of header.entries) {
      const { buffer } = await take(entry.end - entry.begin);
      tensors.set(entry.name, readTensor(entry, new DataView(buffer), path));
    }
    return result(header, tensors);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${path}: cannot read weights: ${reason(error)}`, { cause: error });
  }
}

function reason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file or directory";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  if (error instanceof Deno.errors.NotCapable) return "Deno was not given the permission";
  return error instanceof Error ? error.message : String(error);
}

/** The order of texts by code points, which is that of their bytes in UTF-8. */
function compare(a: string, b: string): number {
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  // Half a pair in both may stand before the halves that differ.
  if (i > 0 && /[\ud800-\udbff]/.test(a[i - 1])) i--;
  return (a.codePointAt(i) ?? -1) - (b.codePointAt(i) ?? -1);
}

/**
 * The bytes of a safetensors file. The same tensors give the same bytes, whatever order they come
 * in: by type, I64 first, so that everything is aligned, then by name. They are those of the official
 * library, which however writes several entries of metadata in any order.
 *
 * @param tensors `f32`, `i32` and `u32` tensors by name, written as F32, I32 and U32.
 * @param options Metadata, and what to write as I64.
 * @throws {TypeError} If a value is not a host tensor, a name is `__metadata__`, a name or text has a
 * NUL or half a surrogate pair, or `i64` names something other than a given integer tensor.
 * @throws {RangeError} If the header would take more than 100 MB.
 */
export function encodeSafetensors(
  tensors: NamedTensors,
  options: SafetensorsOptions = {},
): Uint8Array<ArrayBuffer> {
  const given = new Map<string, HostTensor>(
    tensors instanceof Map ? tensors : Object.entries(tensors),
  );
  const wide = new Set(options.i64);
  for (const [name, value] of given) {
    if (name === "__metadata__") throw new TypeError("Cannot name a tensor __metadata__");
    if (!isName(name)) {
      throw new TypeError(`Cannot name a tensor ${describe(name)}: NUL or half a surrogate pair`);
    }
    if (!isHostTensor(value)) throw new TypeError(`Cannot write ${name}: it is not a host tensor`);
  }
  for (const name of wide) {
    const dtype = given.get(name)?.dtype;
    if (dtype !== "i32" && dtype !== "u32") {
      throw new TypeError(
        `Cannot write ${name} as I64: ${dtype ? `it is ${dtype}` : "it is not given"}`,
      );
    }
  }
  const storedAs = (name: string): StoredDType =>
    wide.has(name) ? "I64" : STORED_AS[given.get(name)!.dtype];
  const rank = (name: string): number => WRITING_ORDER.indexOf(storedAs(name));
  const names = [...given.keys()].sort((a, b) => rank(a) - rank(b) || compare(a, b));
  const metadata = Object.entries(options.metadata ?? {}).sort(([a], [b]) => compare(a, b));
  for (const text of metadata.flat()) {
    if (typeof text !== "string" || !isName(text)) {
      throw new TypeError(`Cannot write metadata ${describe(text)}: NUL or half a surrogate pair`);
    }
  }
  // Joined by hand: an object would move names that look like numbers to the front.
  const pair = (name: string, value: string): string => `${JSON.stringify(name)}:${value}`;
  const fields = metadata.length === 0 ? [] : [
    pair("__metadata__", `{${metadata.map(([k, v]) => pair(k, JSON.stringify(v))).join()}}`),
  ];
  let size = 0;
  for (const name of names) {
    const { dtype, shape, data } = given.get(name)!;
    const stored = wide.has(name) ? "I64" : STORED_AS[dtype];
    const end = size + data.length * READERS[stored].bytes;
    fields.push(pair(name, JSON.stringify({ dtype: stored, shape, data_offsets: [size, end] })));
    size = end;
  }
  const text = new TextEncoder().encode(`{${fields.join()}}`);
  const headerBytes = Math.ceil(text.length / 8) * 8;
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new RangeError(
      `Cannot write a header of ${headerBytes} bytes: at most ${MAX_HEADER_BYTES}`,
    );
  }
  const bytes = new Uint8Array(8 + headerBytes + size);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(headerBytes), true);
  bytes.fill(0x20, 8 + text.length, 8 + headerBytes);
  bytes.set(text, 8);
  let at = 8 + headerBytes;
  for (const name of names) {
    const { data } = given.get(name)!;
    if (wide.has(name)) {
      data.forEach((value, i) => view.setBigInt64(at + 8 * i, BigInt(value), true));
      at += 8 * data.length;
    } else {
      bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
      at += data.byteLength;
    }
  }
  return bytes;
}

/**
 * Writes a safetensors file; see {@linkcode encodeSafetensors}. The file appears whole or not at
 * all.
 *
 * @param path The file; one of that name is replaced.
 * @param tensors `f32`, `i32` and `u32` tensors by name.
 * @param options Metadata, and what to write as I64.
 * @throws {InputError} If the file cannot be written.
 * @throws {TypeError} If a value is not a host tensor, a name is `__metadata__`, a name or text has a
 * NUL or half a surrogate pair, or `i64` names something other than a given integer tensor.
 * @throws {RangeError} If the header would take more than 100 MB.
 */
export async function writeSafetensors(
  path: string,
  tensors: NamedTensors,
  options: SafetensorsOptions = {},
): Promise<void> {
  const bytes = encodeSafetensors(tensors, options);
  try {
    await writeWholeFile(path, bytes);
  } catch (error) {
    throw new InputError(`${path}: cannot write weights: ${reason(error)}`, { cause: error });
  }
}
