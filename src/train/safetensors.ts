/**
 * Reading and writing of the safetensors format: eight bytes of header length, a JSON header with
 * the dtype, shape and byte range of each tensor, then the little-endian elements one after another
 * (https://github.com/huggingface/safetensors). A file holds only data; reading one runs nothing.
 *
 * Own code because the official library is for Rust and Python, and npm's `safetensors` is a
 * version 0.0.1.
 *
 * @module
 */
import { InputError } from "../core/errors.ts";
import { writeWholeFile } from "../core/whole_file.ts";
import { formatShape, type HostTensor, isHostTensor, sizeOf, tensor } from "../core/tensor.ts";
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
const STORED_AS = { f32: "F32", i32: "I32", u32: "U32" } as const;

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

/** Copies elements of four bytes as they are: the file need not be aligned. */
const bitsOf = (view: DataView): ArrayBuffer =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice().buffer;

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

/** Key that appears twice in one object of a valid JSON text; `JSON.parse` keeps only the last. */
function duplicateKey(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  for (const [token, colon] of json.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (colon !== undefined) {
      const key = JSON.parse(token.slice(0, -colon.length)) as string;
      const keys = open.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

const isSize = (value: unknown): value is number =>
  Number.isSafeInteger(value) && value as number >= 0;

function readHeader(bytes: Uint8Array, file: string): { header: JsonObject; start: number } {
  const bad = (what: string): never => {
    throw new InputError(
      `${file}: not a safetensors file: ${what}; write it again or copy it anew`,
    );
  };
  if (bytes.length < 8) {
    bad(`it has ${bytes.length} bytes, fewer than the 8 of the header's length`);
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) bad(`a header of ${length} bytes is over ${MAX_HEADER_BYTES}`);
  const start = 8 + Number(length);
  if (start > bytes.length) {
    bad(`its header takes ${length} bytes but only ${bytes.length - 8} follow (cut off?)`);
  }
  let header: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
      .decode(bytes.subarray(8, start));
    if (!text.startsWith("{")) bad("its header does not start with {");
    header = JSON.parse(text);
    const key = duplicateKey(text);
    if (key !== undefined) bad(`its header names ${JSON.stringify(key)} twice`);
  } catch (error) {
    if (error instanceof InputError) throw error;
    bad(`its header is no JSON in UTF-8 (${(error as Error).message})`);
  }
  return { header: header as JsonObject, start };
}

interface Entry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function readEntry(name: string, value: unknown, file: string): Entry {
  const bad = (what: string): never => {
    throw new InputError(`${file}: tensor ${JSON.stringify(name)}: ${what}`);
  };
  if (!isObject(value)) return bad("its entry in the header is not an object");
  const { dtype, shape, data_offsets: range, ...others } = value;
  const [other] = Object.keys(others);
  if (other !== undefined) {
    bad(`unknown key ${JSON.stringify(other)}; allowed are dtype, shape and data_offsets`);
  }
  if (typeof dtype !== "string" || !Object.hasOwn(READERS, dtype)) {
    return bad(`dtype ${JSON.stringify(dtype)} is not one of ${Object.keys(READERS).join(" ")}`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    return bad(`shape ${JSON.stringify(shape)} is not a list of sizes`);
  }
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isSize) || range[0] > range[1]) {
    return bad(`data_offsets ${JSON.stringify(range)} is not a pair [begin, end]`);
  }
  const [begin, end] = range as [number, number];
  const bytes = sizeOf(shape) * READERS[dtype as StoredDType].bytes;
  if (bytes !== end - begin) {
    bad(
      `${dtype}${formatShape(shape)} takes ${bytes} bytes, but its data_offsets span ${
        end - begin
      }`,
    );
  }
  return { name, dtype: dtype as StoredDType, shape, begin, end };
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
  const { header, start } = readHeader(bytes, file);
  const { __metadata__: metadata = {}, ...named } = header;
  if (!isObject(metadata) || Object.values(metadata).some((value) => typeof value !== "string")) {
    throw new InputError(`${file}: __metadata__ in the header must map names to texts`);
  }
  const entries = Object.entries(named).map(([name, value]) => readEntry(name, value, file))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  let expected = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== expected) {
      throw new InputError(
        `${file}: tensor ${JSON.stringify(name)}: its data begins at ${begin}, but ` +
          `${expected} bytes come before it: holes and overlaps are not allowed`,
      );
    }
    expected = end;
  }
  if (expected !== bytes.length - start) {
    throw new InputError(
      `${file}: its tensors take ${expected} bytes, but ${
        bytes.length - start
      } follow the header ` +
        (expected > bytes.length - start
          ? "(cut off?); copy it anew"
          : "; remove what was appended"),
    );
  }
  const tensors = new Map<string, HostTensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + start + begin, end - begin);
    try {
      tensors.set(name, tensor(READERS[dtype].decode(view, sizeOf(shape)), shape));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new InputError(`${file}: tensor ${JSON.stringify(name)} (${dtype}): ${error.message}`);
    }
  }
  return {
    tensors,
    dtypes: new Map(entries.map(({ name, dtype }) => [name, dtype])),
    metadata: metadata as Record<string, string>,
  };
}

/**
 * The tensors in a safetensors file; see {@linkcode decodeSafetensors}.
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
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    throw new InputError(`${path}: cannot read weights: ${reason(error)}`, { cause: error });
  }
  return decodeSafetensors(bytes, path);
}

function reason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file or directory";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  if (error instanceof Deno.errors.NotCapable) return "Deno was not given the permission";
  return error instanceof Error ? error.message : String(error);
}

const compare = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0;

/**
 * The bytes of a safetensors file. The same tensors give the same bytes, whatever order they come
 * in: I64 first, so that everything is aligned, then by name.
 *
 * @param tensors `f32`, `i32` and `u32` tensors by name, written as F32, I32 and U32.
 * @param options Metadata, and what to write as I64.
 * @throws {TypeError} If a value is not a host tensor, a name is `__metadata__`, or `i64` names
 * something other than a given integer tensor.
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
  const names = [...given.keys()].sort((a, b) =>
    Number(wide.has(b)) - Number(wide.has(a)) || compare(a, b)
  );
  const metadata = Object.entries(options.metadata ?? {}).sort(([a], [b]) => compare(a, b));
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
 * @throws {TypeError} If a value is not a host tensor, a name is `__metadata__`, or `i64` names
 * something other than a given integer tensor.
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
