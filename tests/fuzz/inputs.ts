/**
 * Inputs near to valid ones: bytes that were changed, and texts and files put together from parts.
 *
 * @module
 */
import fc from "fast-check";

/** Texts of every kind: plain, of any characters, and odd ones. */
export const text: fc.Arbitrary<string> = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary", maxLength: 8 }),
  fc.constantFrom("", "__proto__", "constructor", "a\nb", "\u2028", "\u001b[2J", "\0", "\ud800"),
);

/** Numbers of every kind: small, at the ends of types, and none at all. */
export const number: fc.Arbitrary<number> = fc.oneof(
  fc.nat(20),
  fc.integer(),
  fc.double(),
  fc.constantFrom(0, -0, -1, 0.5, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 53, 2 ** 63, 1e308, NaN),
);

/** Anything that JSON can hold. */
export const json: fc.Arbitrary<fc.JsonValue> = fc.jsonValue({ maxDepth: 3 });

interface Edit {
  readonly kind: "flip" | "set" | "cut" | "insert" | "remove" | "copy" | "number";
  readonly at: number;
  readonly from: number;
  readonly count: number;
  readonly value: number;
  readonly bytes: Uint8Array;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom("flip", "set", "cut", "insert", "remove", "copy", "number"),
  at: fc.nat(0xffff),
  from: fc.nat(0xffff),
  count: fc.integer({ min: 1, max: 16 }),
  value: fc.oneof(fc.nat(255), fc.constantFrom(2 ** 31 - 1, 2 ** 32 - 1, 2 ** 40, 2 ** 53)),
  bytes: fc.uint8Array({ maxLength: 8 }),
});

function edited(bytes: Uint8Array, { kind, at: place, from, count, value, bytes: more }: Edit) {
  const at = place % (bytes.length + 1);
  const splice = (remove: number, insert: Uint8Array): Uint8Array =>
    Uint8Array.from([...bytes.subarray(0, at), ...insert, ...bytes.subarray(at + remove)]);
  switch (kind) {
    case "flip":
      return bytes.map((byte, i) => i === at ? byte ^ 1 << (value & 7) : byte);
    case "set":
      return bytes.map((byte, i) => i === at ? value & 255 : byte);
    case "cut":
      return bytes.slice(0, at);
    case "insert":
      return splice(0, more);
    case "remove":
      return splice(count, new Uint8Array());
    case "copy":
      return splice(0, bytes.subarray(from % (bytes.length + 1), from + count));
    case "number": { // A length or size, in one to eight bytes.
      const width = [1, 2, 4, 8][count & 3];
      const field = new Uint8Array(8);
      new DataView(field.buffer).setBigUint64(0, BigInt(value), true);
      return splice(width, field.subarray(0, width));
    }
  }
}

/** One of some valid files, changed a few times. */
export function mutated(files: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  return fc.tuple(fc.constantFrom(...files), fc.array(edit, { minLength: 1, maxLength: 3 }))
    .map(([file, edits]) => edits.reduce<Uint8Array>(edited, file));
}

/** One of some pieces over and over, up to 2^`doublings` characters of it: often few, at times many. */
export function repeated(pieces: readonly string[], doublings: number): fc.Arbitrary<string> {
  return fc.tuple(fc.constantFrom(...pieces), fc.double({ min: 0, max: doublings, noNaN: true }))
    .map(([piece, power]) => piece.repeat(Math.ceil(2 ** power / piece.length)));
}

/** Arbitrary bytes. */
export const bytes: fc.Arbitrary<Uint8Array> = fc.uint8Array({ maxLength: 200 });

/** Bytes of a text. */
export function encoded(source: fc.Arbitrary<string>): fc.Arbitrary<Uint8Array> {
  return source.map((value) => new TextEncoder().encode(value));
}
