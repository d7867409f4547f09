/**
 * Reads data out of Python pickles (protocols 2 to 5) and runs nothing. A pickle is a small program
 * for a stack machine that may call any Python function; this reader knows the instructions that
 * build lists, tuples, dicts, numbers, strings and bytes, and of all functions only the few by which
 * numpy 1 and 2 write arrays and numbers. Everything else is refused.
 *
 * Own code, because the reader on npm, `pickleparser` (0.2.1), cannot do this: it calls constructors by
 * itself, a dict key `__proto__` changes an object's prototype, -1 written as a long reads as 255, and
 * its stack is unguarded.
 *
 * Source: CPython's `Lib/pickletools.py`; numpy's `ndarray.__reduce_ex__` and `dtype.__reduce__`.
 *
 * @module
 */
import { printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";

/** A numpy array as it lies in the pickle: nothing is copied or converted yet. */
export interface NdArray {
  /** Marks the record. */
  readonly kind: "ndarray";
  /** Byte order and type in numpy's letters: `<i8`, `>f4`, `|b1`. */
  readonly dtype: string;
  /** Sizes, outermost first. */
  readonly shape: readonly number[];
  /** `C` for row-major, `F` for column-major. */
  readonly order: "C" | "F";
  /** The elements: a view of the file, `product(shape)` times the type's width long. */
  readonly bytes: Uint8Array;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };
interface Global {
  readonly kind: "global";
  readonly name: string;
}
interface ArrayType {
  readonly kind: "dtype";
  readonly type: string;
  order: string;
}

const ALLOWED: ReadonlyMap<string, string> = new Map([
  ...["numpy.core", "numpy._core"].flatMap((core) => [
    [`${core}.numeric._frombuffer`, "frombuffer"] as const,
    [`${core}.multiarray._reconstruct`, "reconstruct"] as const,
    [`${core}.multiarray.scalar`, "scalar"] as const,
  ]),
  ["numpy.ndarray", "ndarray"],
  ["numpy.dtype", "dtype"],
  ["_codecs.encode", "encode"],
  ["builtins.bytes", "bytes"],
  ["builtins.bytearray", "bytes"],
  ["__builtin__.bytes", "bytes"],
  ["__builtin__.bytearray", "bytes"],
]);

const READ = "only lists, dicts, numbers, strings and numpy arrays are read";

const REFUSED: Readonly<Record<number, string>> = {
  0x50: "load an object by its id (PERSID)",
  0x51: "load an object by its id (BINPERSID)",
  0x69: "make an object (INST)",
  0x6f: "make an object (OBJ)",
  0x81: "make an object (NEWOBJ)",
  0x82: "load a registered extension (EXT1)",
  0x83: "load a registered extension (EXT2)",
  0x84: "load a registered extension (EXT4)",
  0x8f: "make a set (EMPTY_SET)",
  0x90: "fill a set (ADDITEMS)",
  0x91: "make a set (FROZENSET)",
  0x92: "make an object (NEWOBJ_EX)",
  0x97: "read a buffer from outside the file (NEXT_BUFFER)",
  0x98: "read a buffer from outside the file (READONLY_BUFFER)",
  // Of protocols 0 and 1, and of Python 2, whose texts have no known encoding.
  0x46: "read a number as text (FLOAT)",
  0x49: "read a number as text (INT)",
  0x4c: "read a number as text (LONG)",
  0x53: "read a text of Python 2 (STRING)",
  0x54: "read a text of Python 2 (BINSTRING)",
  0x55: "read a text of Python 2 (SHORT_BINSTRING)",
  0x56: "read a text with escapes (UNICODE)",
  0x67: "use a note by its text (GET)",
  0x70: "make a note by its text (PUT)",
};

// Nesting and unfinished lists, far beyond what Python writes: it hands over 1,000 elements at a time.
const MAX_STACK = 2 ** 20;
// An instruction of one byte makes an object of sixty: no more than so many, and, beyond a first
// million, no more than one for two bytes. Samples as small as they can be take three.
const MAX_OBJECTS = 2 ** 25;
const FREE_OBJECTS = 2 ** 20;
const BYTES_AN_OBJECT = 2;
// What an empty Map takes, in such objects, and how many entries one can have.
const OBJECTS_A_MAP = 4;
const MAX_MAP = 2 ** 24 - 1;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function hasKind<T extends { readonly kind: string }>(value: unknown, kind: T["kind"]): value is T {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === kind;
}

/** Whether a value read from a pickle is a numpy array. */
export function isNdArray(value: unknown): value is NdArray {
  return hasKind<NdArray>(value, "ndarray");
}

function arrayType(type: unknown, fail: (problem: string) => never): ArrayType {
  if (typeof type !== "string" || !/^([iu][1248]|f[248]|b1)$/.test(type)) {
    fail(`a numpy array of type ${printable(String(type))} is refused: ${READ}`);
  }
  return { kind: "dtype", type, order: "<" };
}

function makeArray(
  { dtype, shape, order, bytes }: Record<"dtype" | "shape" | "order" | "bytes", unknown>,
  fail: (problem: string) => never,
): NdArray {
  const sizes = Array.isArray(shape) ? shape : [shape];
  const whole = sizes.length <= 64 && sizes.every((n) => Number.isSafeInteger(n) && n >= 0);
  if (!whole || !hasKind<ArrayType>(dtype, "dtype") || !(bytes instanceof Uint8Array)) {
    fail("a damaged numpy array");
  }
  const expected = sizes.reduce((n, m) => n * m, Number(dtype.type.slice(1)));
  if (expected !== bytes.length) {
    const shape = printable(String(sizes));
    fail(`a numpy array of shape (${shape}) and type ${dtype.type} has ${bytes.length} bytes`);
  }
  return {
    kind: "ndarray",
    dtype: `${dtype.order}${dtype.type}`,
    shape: sizes,
    order: order === "F" || order === true ? "F" : "C",
    bytes,
  };
}

/**
 * The elements of a numpy array in stored order, as numbers.
 *
 * @param where Put before the message of an error: `train.pk: sample 3: X`.
 * @throws {InputError} If a 64-bit whole number is past 2^53, where numbers stop being exact.
 */
export function arrayNumbers(array: NdArray, where: string): Float64Array {
  const { bytes, dtype } = array;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = dtype[0] !== ">";
  const type = dtype.slice(1);
  const width = Number(type[1]);
  const wide = (at: number, signed: boolean): number => {
    const low = view.getUint32(little ? at : at + 4, little);
    const highAt = little ? at + 4 : at;
    const high = signed ? view.getInt32(highAt, little) : view.getUint32(highAt, little);
    const value = high * 2 ** 32 + low;
    if (!Number.isSafeInteger(value)) throw new InputError(`${where}: a whole number past 2^53`);
    return value;
  };
  const readers: Record<string, (at: number) => number> = {
    i1: (at) => view.getInt8(at),
    i2: (at) => view.getInt16(at, little),
    i4: (at) => view.getInt32(at, little),
    i8: (at) => wide(at, true),
    u1: (at) => view.getUint8(at),
    u2: (at) => view.getUint16(at, little),
    u4: (at) => view.getUint32(at, little),
    u8: (at) => wide(at, false),
    f2: (at) => view.getFloat16(at, little),
    f4: (at) => view.getFloat32(at, little),
    f8: (at) => view.getFloat64(at, little),
    b1: (at) => view.getUint8(at) === 0 ? 0 : 1,
  };
  const read = readers[type];
  const values = new Float64Array(bytes.length / width);
  for (let i = 0; i < values.length; i++) values[i] = read(i * width);
  return values;
}

/**
 * Reads one pickle. Lists and tuples become arrays, dicts become `Map`s, `None` becomes `null`,
 * bytes become `Uint8Array`s, numpy numbers become numbers and numpy arrays become
 * {@link NdArray}s. An object that the pickle holds twice is the same object twice. Arrays and bytes
 * are views of `bytes`, so what is allocated stays in proportion to the file.
 *
 * @param bytes The whole file.
 * @param file Named in messages.
 * @throws {InputError} If the bytes are no pickle of protocol 2 to 5, are cut short or damaged, or
 * want anything but data.
 */
export function readPickle(bytes: Uint8Array, file: string): unknown {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: unknown[] = [];
  const marks: number[] = [];
  const memo = new Map<number, unknown>();
  const mostObjects = Math.min(MAX_OBJECTS, FREE_OBJECTS + bytes.length / BYTES_AN_OBJECT);
  let objects = 0;
  let at = 0;
  let encoded = 0;
  /** Where the open frame ends; 0 outside of frames. */
  let frameEnd = 0;

  const fail = (problem: string): never => {
    throw new InputError(`${file}: ${problem}`);
  };
  const damaged = (): never => fail(`the pickle is damaged before byte ${at}`);
  const take = (count: number): number => {
    if (count > bytes.length - at) fail(`the pickle is cut short at byte ${bytes.length}`);
    at += count;
    if (frameEnd > 0 && at > frameEnd) {
      fail(`the pickle is damaged: the frame that ends at byte ${frameEnd} is too short`);
    }
    return at - count;
  };
  const u8 = (): number => view.getUint8(take(1));
  const u32 = (): number => view.getUint32(take(4), true);
  const u64 = (): number => u32() + u32() * 2 ** 32;
  const raw = (length: number): Uint8Array => {
    const start = take(length);
    return bytes.subarray(start, start + length);
  };
  /** Counts what takes memory of its own: lists, tuples, dicts and their entries, views, notes. */
  const count = (more = 1): void => {
    objects += more;
    if (objects > mostObjects) {
      fail(`the pickle holds more than ${Math.floor(mostObjects)} objects; save it as .jsonl.gz`);
    }
  };
  const binary = (length: number): Uint8Array => {
    count();
    return raw(length);
  };
  const text = (length: number): string => {
    try {
      return utf8.decode(raw(length));
    } catch (error) {
      if (error instanceof InputError) throw error;
      return fail(`the pickle holds a text before byte ${at} that is no UTF-8`);
    }
  };
  const note = (index: number): void => {
    count();
    if (memo.size >= MAX_MAP) fail(`the pickle notes more than ${MAX_MAP} objects`);
    memo.set(index, top());
  };
  const line = (): string => {
    const end = bytes.indexOf(0x0a, at);
    const found = text((end < 0 ? bytes.length + 1 : end) - at);
    at++;
    return found;
  };
  const long = (count: number): number => {
    const digits = raw(count);
    if (count > 8) fail("a whole number past 2^53");
    let value = 0n;
    for (let i = count - 1; i >= 0; i--) value = value << 8n | BigInt(digits[i]);
    const signed = Number(BigInt.asIntN(8 * count, value));
    if (!Number.isSafeInteger(signed)) fail("a whole number past 2^53");
    return signed;
  };
  const pop = (): unknown => {
    if (stack.length <= (marks.at(-1) ?? 0)) damaged();
    return stack.pop();
  };
  const popMany = (count: number): unknown[] => {
    if (stack.length - count < (marks.at(-1) ?? 0)) damaged();
    return stack.splice(stack.length - count);
  };
  const popToMark = (): unknown[] => stack.splice(marks.pop() ?? damaged());
  const top = (): unknown => stack.length > (marks.at(-1) ?? 0) ? stack.at(-1) : damaged();
  const append = (values: readonly unknown[]): void => {
    const list = top();
    if (!Array.isArray(list)) damaged();
    else for (const value of values) list.push(value);
  };
  const setItems = (values: readonly unknown[]): void => {
    const dict = top();
    if (!(dict instanceof Map) || values.length % 2 !== 0) return damaged();
    count(values.length / 2);
    if (dict.size + values.length / 2 > MAX_MAP) fail(`a dict has more than ${MAX_MAP} keys`);
    for (let i = 0; i < values.length; i += 2) dict.set(values[i], values[i + 1]);
  };
  const recall = (index: number): void => {
    if (!memo.has(index)) damaged();
    stack.push(memo.get(index));
  };
  const global = (module: unknown, name: unknown): void => {
    if (typeof module !== "string" || typeof name !== "string") return damaged();
    const allowed = module.length + name.length < 80 ? ALLOWED.get(`${module}.${name}`) : undefined;
    if (allowed === undefined) {
      const asked = `${printable(module)}.${printable(name)}`;
      return fail(`the pickle wants to run ${asked}, which is refused: ${READ}`);
    }
    stack.push({ kind: "global", name: allowed } satisfies Global);
  };
  const encode = (value: string): Uint8Array => {
    // The same text may be asked for again and again: bound the sum, not each.
    encoded += value.length;
    if (encoded > bytes.length) damaged();
    const result = new Uint8Array(value.length);
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code > 255) damaged();
      result[i] = code;
    }
    return result;
  };
  const call = (callee: unknown, args: unknown): unknown => {
    if (!hasKind<Global>(callee, "global") || !Array.isArray(args)) return damaged();
    const [a, b, c, d] = args;
    switch (callee.name) {
      case "frombuffer":
        return makeArray({ bytes: a, dtype: b, shape: c, order: d }, fail);
      case "reconstruct":
        return makeArray({
          bytes: new Uint8Array(),
          dtype: arrayType("u1", fail),
          shape: [0],
          order: "C",
        }, fail);
      case "scalar": {
        const array = makeArray({ bytes: b, dtype: a, shape: [], order: "C" }, fail);
        const [number] = arrayNumbers(array, file);
        return array.dtype.endsWith("b1") ? number === 1 : number;
      }
      case "dtype":
        return arrayType(a, fail);
      case "encode":
        return typeof a === "string" && (b === "latin1" || b === "latin-1") ? encode(a) : damaged();
      case "bytes":
        if (args.length === 0) return new Uint8Array();
        return a instanceof Uint8Array && args.length === 1 ? a : damaged();
      default:
        return fail(`the pickle wants to run numpy.${callee.name}, which is refused: ${READ}`);
    }
  };
  const build = (target: unknown, state: unknown): void => {
    if (!Array.isArray(state)) return fail(`the pickle sets an object's state: ${READ}`);
    if (isNdArray(target)) {
      const [, shape, dtype, order, data] = state;
      Object.assign(
        target as Writable<NdArray>,
        makeArray({ shape, dtype, order, bytes: data }, fail),
      );
    } else if (hasKind<ArrayType>(target, "dtype")) {
      const [, order, subtype, names] = state;
      if (!["<", ">", "|", "="].includes(order) || subtype !== null || names !== null) damaged();
      target.order = order;
    } else damaged();
  };

  if (bytes.length > 0 && bytes[0] !== 0x80) {
    fail("no Python pickle of protocol 2 to 5 (its first byte is not 0x80)");
  }
  while (true) {
    if (at === frameEnd) frameEnd = 0;
    if (stack.length > MAX_STACK || marks.length > MAX_STACK) {
      fail(`the pickle nests or gathers more than ${MAX_STACK} values`);
    }
    const start = at;
    const code = u8();
    switch (code) {
      case 0x80: { // PROTO
        const protocol = u8();
        if (protocol < 2 || protocol > 5) fail(`pickle protocol ${protocol}: 2 to 5 are read`);
        break;
      }
      case 0x95: { // FRAME
        const length = u64();
        if (frameEnd > 0) damaged();
        take(length);
        at -= length;
        frameEnd = at + length;
        break;
      }
      case 0x2e: // STOP
        return pop();
      case 0x28: // MARK
        marks.push(stack.length);
        break;
      case 0x30: // POP
        pop();
        break;
      case 0x31: // POP_MARK
        popToMark();
        break;
      case 0x32: // DUP
        stack.push(top());
        break;
      case 0x4e: // NONE
        stack.push(null);
        break;
      case 0x88: // NEWTRUE
        stack.push(true);
        break;
      case 0x89: // NEWFALSE
        stack.push(false);
        break;
      case 0x4a: // BININT
        stack.push(view.getInt32(take(4), true));
        break;
      case 0x4b: // BININT1
        stack.push(u8());
        break;
      case 0x4d: // BININT2
        stack.push(view.getUint16(take(2), true));
        break;
      case 0x8a: // LONG1
        stack.push(long(u8()));
        break;
      case 0x8b: // LONG4
        stack.push(long(u32()));
        break;
      case 0x47: // BINFLOAT
        stack.push(view.getFloat64(take(8), false));
        break;
      case 0x8c: // SHORT_BINUNICODE
        stack.push(text(u8()));
        break;
      case 0x58: // BINUNICODE
        stack.push(text(u32()));
        break;
      case 0x8d: // BINUNICODE8
        stack.push(text(u64()));
        break;
      case 0x43: // SHORT_BINBYTES
        stack.push(binary(u8()));
        break;
      case 0x42: // BINBYTES
        stack.push(binary(u32()));
        break;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        stack.push(binary(u64()));
        break;
      case 0x29: // EMPTY_TUPLE
      case 0x5d: // EMPTY_LIST
        count();
        stack.push([]);
        break;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        count();
        stack.push(popMany(code - 0x84));
        break;
      case 0x74: // TUPLE
      case 0x6c: // LIST
        count();
        stack.push(popToMark());
        break;
      case 0x61: // APPEND
        append([pop()]);
        break;
      case 0x65: // APPENDS
        append(popToMark());
        break;
      case 0x7d: // EMPTY_DICT
        count(OBJECTS_A_MAP);
        stack.push(new Map());
        break;
      case 0x64: { // DICT
        const items = popToMark();
        count(OBJECTS_A_MAP);
        stack.push(new Map());
        setItems(items);
        break;
      }
      case 0x73: // SETITEM
        setItems(popMany(2));
        break;
      case 0x75: // SETITEMS
        setItems(popToMark());
        break;
      case 0x71: // BINPUT
        note(u8());
        break;
      case 0x72: // LONG_BINPUT
        note(u32());
        break;
      case 0x94: // MEMOIZE
        note(memo.size);
        break;
      case 0x68: // BINGET
        recall(u8());
        break;
      case 0x6a: // LONG_BINGET
        recall(u32());
        break;
      case 0x63: // GLOBAL
        global(line(), line());
        break;
      case 0x93: { // STACK_GLOBAL
        const [module, name] = popMany(2);
        global(module, name);
        break;
      }
      case 0x52: { // REDUCE
        const [callee, args] = popMany(2);
        count();
        stack.push(call(callee, args));
        break;
      }
      case 0x62: { // BUILD
        const state = pop();
        build(top(), state);
        break;
      }
      default:
        if (code in REFUSED) {
          fail(`the pickle wants to ${REFUSED[code]}, which is refused: ${READ}`);
        }
        fail(`byte ${start} of the pickle is no known instruction: ${READ}`);
    }
  }
}
