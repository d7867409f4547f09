import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { arrayNumbers, isNdArray, readPickle } from "../src/data/pickle.ts";

const folder = new URL("../fixtures/pickles/", import.meta.url);
const names = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
const bytesOf = (name: string): Uint8Array => Deno.readFileSync(new URL(name, folder));
const expected = JSON.parse(Deno.readTextFileSync(new URL("expected.json", folder)));

/** What Python's own `json` would write of the value. */
function plain(value: unknown): unknown {
  if (isNdArray(value)) {
    const numbers = [...arrayNumbers(value, "array")];
    const values = value.dtype.endsWith("b1") ? numbers.map((n) => n === 1) : numbers;
    if (value.shape.length < 2) return values;
    const [rows, columns] = value.shape;
    return Array.from({ length: rows }, (_, i) => values.slice(i * columns, (i + 1) * columns));
  }
  if (value instanceof Map) return Object.fromEntries([...value].map(([k, v]) => [k, plain(v)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

/** Opcodes by hand: `M` is a mark, strings are bytes as they are. */
function bytes(...parts: (string | number)[]): Uint8Array {
  return Uint8Array.from(
    parts.flatMap((p) => typeof p === "number" ? [p] : [...p].map((c) => c.charCodeAt(0))),
  );
}

function message(name: string, content: Uint8Array = bytesOf(name)): string {
  return assertThrows(() => readPickle(content, name), InputError).message;
}

for (const kind of ["samples", "values"]) {
  for (const name of names.filter((n) => n.startsWith(kind))) {
    Deno.test(`pickle: ${name} holds what Python put in`, () => {
      assertEquals(plain(readPickle(bytesOf(name), name)), expected[kind]);
    });
  }
}

Deno.test("pickle: numpy's number types keep their width and byte order", () => {
  const read = readPickle(bytesOf("values_protocol5_numpy2.pk"), "values");
  const arrays = (read as Map<string, unknown[]>).get("arrays")!;
  assertEquals(
    arrays.filter(isNdArray).slice(0, 7).map((array) => array.dtype.slice(-2)),
    ["i1", "i2", "i2", "i4", "i4", "i8", "i8"],
  );
  assertEquals((arrays[6] as { dtype: string }).dtype, ">i8");
});

const wanted: Readonly<Record<string, RegExp>> = {
  os_system: /wants to run posix\.system,/,
  builtins_eval: /wants to run (builtins|__builtin__)\.eval,/,
  // Protocol 2 translates to Python 2's names.
  subprocess_Popen: /wants to run (subprocess|commands)\.Popen,/,
  nested: /wants to run (builtins|__builtin__)\.exec,/,
  bytes_of_length: /damaged/,
  ndarray_of_shape: /wants to run numpy\.ndarray,/,
  set: /make a set|wants to run __builtin__\.set,/,
  extension: /extension/,
  objects: /type O8/,
  object_array: /type O8/,
  dates: /type M8/,
  records: /type V12/,
  by_id: /load an object by its id/,
  object: /wants to run __main__\.Thing,/,
};

for (const [what, pattern] of Object.entries(wanted)) {
  for (const protocol of [2, 5]) {
    const name = `refused_${what}_${protocol}.pk`;
    Deno.test(`pickle: ${name} is refused in one line and nothing runs`, () => {
      const text = message(name);
      if (!pattern.test(text)) throw new Error(text);
      assertStringIncludes(text, name);
      assertEquals(text.split("\n").length, 1);
      assertThrows(() => Deno.statSync("owned"), Deno.errors.NotFound);
    });
  }
}

Deno.test("pickle: every refusal fixture is named above", () => {
  const fixtures = names.filter((n) => n.startsWith("refused_"))
    .map((n) => n.slice("refused_".length, -"_2.pk".length));
  assertEquals([...new Set(fixtures)].sort(), Object.keys(wanted).sort());
});

for (const name of names.filter((n) => /^(samples|values|refused_nested).*\.pk$/.test(n))) {
  Deno.test(`pickle: ${name} cut after any byte is an InputError`, () => {
    const whole = bytesOf(name);
    for (let length = 0; length < whole.length; length++) {
      const text = message(name, whole.subarray(0, length));
      // Refused code is named as soon as it is seen.
      if (!name.startsWith("refused")) assertStringIncludes(text, `cut short at byte ${length}`);
    }
  });
}

Deno.test("pickle: a file with any one byte changed is read or an InputError", () => {
  for (const name of ["samples_protocol2_numpy1.pk", "samples_protocol5_numpy2.pk"]) {
    const whole = bytesOf(name);
    for (let at = 0; at < whole.length; at++) {
      for (const value of [0, 0x28, 0x52, 0x62, 0x7f, 0xff, whole[at] ^ 1, whole[at] ^ 128]) {
        const changed = whole.slice();
        changed[at] = value;
        try {
          readPickle(changed, name);
        } catch (error) {
          if (!(error instanceof InputError)) throw error;
        }
      }
    }
  }
});

Deno.test("pickle: random instructions are read or an InputError", () => {
  const opcodes = [...bytes("().0125NJKMGXCB]}aeudstlqrhjcRb"), 0x80, 0x85, 0x86, 0x87, 0x88, 0x8a];
  opcodes.push(0x8b, 0x8c, 0x8d, 0x8e, 0x93, 0x94, 0x95, 0x96, 0, 1, 2, 3, 5, 200);
  let state = 1;
  const random = (n: number) => (state = Math.imul(state, 1103515245) + 12345 >>> 0) % 65521 % n;
  for (let i = 0; i < 20000; i++) {
    const body = Array.from({ length: 30 }, () => opcodes[random(opcodes.length)]);
    try {
      readPickle(bytes(0x80, 5, ...body), "random.pk");
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
    }
  }
});

Deno.test("pickle: lengths beyond the file are cut short, whatever they ask for", () => {
  const huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
  for (const opcode of [0x8d, 0x8e, 0x96, 0x95]) {
    assertStringIncludes(message("x", bytes(0x80, 5, opcode, ...huge)), "cut short at byte 11");
  }
  for (const opcode of ["X", "B", 0x8b]) {
    const text = message("x", bytes(0x80, 3, opcode, ...huge.slice(4)));
    assertStringIncludes(text, "cut short at byte 7");
  }
});

Deno.test("pickle: other instructions that make objects are refused", () => {
  for (const opcode of [0x81, 0x92, "o", "i", 0x82, 0x83, 0x84, 0x8f, 0x91, "P", "Q", 0x97]) {
    assertStringIncludes(message("x", bytes(0x80, 4, opcode, ".")), "refused");
  }
});

Deno.test("pickle: a name longer than any allowed one is shown short and on one line", () => {
  const text = message(
    "x",
    bytes(0x80, 2, "c", "os\r\x1b[2J" + "a".repeat(500), "\nsystem\n", "."),
  );
  assertEquals(/[^\x20-\x7e]/.test(text), false);
  assertEquals(text.length < 250, true);
});

Deno.test("pickle: text made into bytes again and again may not outgrow the file", () => {
  const string = "x".repeat(100_000);
  const encode = "h\x02h\x00h\x01\x86R0";
  const content = bytes(
    0x80,
    2,
    "X\xa0\x86\x01\x00",
    string,
    "q\x00X\x06\x00\x00\x00latin1q\x01c_codecs\nencode\nq\x02",
    encode.repeat(1000),
    ".",
  );
  assertStringIncludes(message("x", content), "damaged");
});

Deno.test("pickle: a dict key __proto__ is a key like any other", () => {
  const dict = readPickle(bytes(0x80, 2, "}X\x09\x00\x00\x00__proto__]s."), "x");
  assertEquals(dict, new Map([["__proto__", []]]));
  assertEquals("length" in {}, false);
});

Deno.test("pickle: whole numbers past 2^53 are refused", () => {
  for (const protocol of [2, 5]) {
    assertStringIncludes(message(`large_long_${protocol}.pk`), "past 2^53");
    for (const size of ["small", "large"]) {
      const name = `int64_${size}_${protocol}.pk`;
      const [sample] = readPickle(bytesOf(name), name) as Map<string, unknown>[];
      const diff = sample.get("diff");
      if (!isNdArray(diff)) throw new Error("no array");
      assertThrows(() => arrayNumbers(diff, name), InputError, "past 2^53");
    }
  }
});

Deno.test("pickle: files of another kind say so", () => {
  assertStringIncludes(message("x", bytes("hello")), "no Python pickle of protocol 2 to 5");
  assertStringIncludes(message("x", bytes("(lp0\n.")), "no Python pickle of protocol 2 to 5");
  assertStringIncludes(message("x", bytes(0x80, 9, "].")), "pickle protocol 9");
});

Deno.test("pickle: instructions of other protocols, and those that fill sets, are named", () => {
  const named: [number | string, string][] = [
    ["I", "INT"],
    ["F", "FLOAT"],
    ["L", "LONG"],
    ["S", "STRING"],
    ["T", "BINSTRING"],
    ["U", "SHORT_BINSTRING"],
    ["V", "UNICODE"],
    ["g", "GET"],
    ["p", "PUT"],
    [0x90, "ADDITEMS"],
    [0x98, "READONLY_BUFFER"],
  ];
  for (const [opcode, name] of named) {
    assertStringIncludes(
      message("x", bytes(0x80, 2, opcode, "1\n.")),
      `(${name}), which is refused`,
    );
  }
  assertStringIncludes(message("x", bytes(0x80, 2, 0xff)), "byte 2 of the pickle is no known");
});

Deno.test("pickle: frames must hold whole instructions", () => {
  const frame = (length: number): number[] => [0x95, length, 0, 0, 0, 0, 0, 0, 0];
  // A list of one number: ] K 5 a .
  assertEquals(readPickle(bytes(0x80, 4, ...frame(5), "]K\x05a."), "x"), [5]);
  assertEquals(readPickle(bytes(0x80, 4, ...frame(1), "]", ...frame(4), "K\x05a."), "x"), [5]);
  // Python writes large bytes between frames.
  assertEquals(readPickle(bytes(0x80, 4, ...frame(1), "]K\x05a."), "x"), [5]);
  const short = message("x", bytes(0x80, 4, ...frame(2), "]K\x05a."));
  assertStringIncludes(short, "the frame that ends at byte 13 is too short");
  assertStringIncludes(message("x", bytes(0x80, 4, ...frame(6), "]K\x05a.")), "cut short");
  assertStringIncludes(
    message("x", bytes(0x80, 4, ...frame(14), ...frame(5), "]K\x05a.")),
    "damaged",
  );
});

Deno.test("pickle: texts that are no UTF-8 say so", () => {
  // Half a surrogate pair, which Python's pickles may hold.
  assertStringIncludes(message("x", bytes(0x80, 4, 0x8c, 3, "\xed\xa0\x80.")), "no UTF-8");
});

Deno.test("pickle: many objects of few bytes are refused before they fill the memory", () => {
  const size = 3 * 2 ** 20;
  const repeated = (first: string, piece: string): Uint8Array => {
    const content = new Uint8Array(size).map((_, i) => piece.charCodeAt(i % piece.length));
    content.set(bytes(0x80, 4, first));
    return content;
  };
  // Dicts that are dropped at once; notes of one list; a stack and marks that only grow.
  assertStringIncludes(message("x", repeated("", "}0")), "more than 2621440 objects");
  assertStringIncludes(message("x", repeated("]", "\x94")), "more than 2621440 objects");
  assertStringIncludes(message("x", repeated("", "N")), "nests or gathers");
  assertStringIncludes(message("x", repeated("", "(")), "nests or gathers");
});

Deno.test("pickle: deep nesting and lists that hold themselves are read without recursion", () => {
  const depth = 100_000;
  const deep = readPickle(bytes(0x80, 2, "]".repeat(depth), "a".repeat(depth - 1), "."), "x");
  assertEquals(Array.isArray(deep), true);
  const loop = readPickle(bytes(0x80, 2, "]q\0h\0a."), "x") as unknown[];
  assertEquals(loop[0] === loop, true);
});

Deno.test("pickle: an array's false shape is named short", () => {
  const sizes = "K\xff".repeat(60);
  const dtype = "cnumpy\ndtype\nX\x02\0\0\0i8\x85R";
  const content = bytes(0x80, 4, "cnumpy.core.numeric\n_frombuffer\n(C\x00", dtype, `(${sizes}t`);
  const text = message("x", Uint8Array.from([...content, ...bytes("X\x01\0\0\0CtR.")]));
  assertStringIncludes(text, "has 0 bytes");
  assertEquals(text.length < 200, true);
});
