import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { gzipSync } from "node:zlib";
import { InputError } from "../src/core/errors.ts";
import {
  decodeText,
  encodeText,
  readText,
  splitText,
  textChunkCount,
  textChunks,
  textVocabulary,
} from "../src/data/text.ts";

const folder = Deno.makeTempDirSync({ prefix: "gatewise_text_" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

Deno.test("text: characters are code points in order, and come back", () => {
  const text = "zß𝄞a\n\r\nß👩‍🚀é";
  const vocabulary = textVocabulary(text);
  assertEquals(vocabulary, ["\n", "\r", "a", "z", "ß", "é", "\u200d", "𝄞", "👩", "🚀"]);
  const ids = encodeText(text, vocabulary, "prompt");
  assertEquals([...ids], [3, 4, 7, 2, 0, 1, 0, 4, 8, 6, 9, 5]);
  assertEquals(decodeText(ids, vocabulary), text);
});

Deno.test("text: an unknown character is named with its place", () => {
  const error = assertThrows(
    () => encodeText("ab\n𝄞b\u2028", ["\n", "a", "b", "𝄞"], "--prompt"),
    InputError,
  );
  assert(error.message.startsWith("--prompt: line 2, column 3: the character"), error.message);
  assert(error.message.includes("U+2028") && !/[\n\u2028]/.test(error.message), error.message);
  assertThrows(() => encodeText("a\ud800", ["a"], "x"), InputError, "U+D800");
});

Deno.test("text: files, plain and packed; what is none is refused in a line", async () => {
  const write = (name: string, content: Uint8Array | string): string => {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    Deno.writeFileSync(`${folder}/${name}`, bytes);
    return `${folder}/${name}`;
  };
  assertEquals(await readText(write("a.txt", "\ufeffhä\r\n")), "hä\r\n");
  assertEquals(await readText(write("a.txt.gz", gzipSync("hä\r\n"))), "hä\r\n");
  const cases: [string, string][] = [
    [write("empty.txt", ""), "is empty"],
    [write("latin.txt", Uint8Array.of(0x68, 0xe4, 0x0a)), "is no text in UTF-8"],
    [write("wide.txt", Uint8Array.of(0xff, 0xfe, 0x68, 0)), "is no text in UTF-8"],
    [write("cut.txt.gz", gzipSync("hello").subarray(0, 20)), "cannot be read"],
    [`${folder}/none.txt`, "there is no such file"],
  ];
  for (const [path, part] of cases) {
    const { message } = await assertRejects(() => readText(path), InputError, part);
    assert(message.startsWith(path) && !message.includes("\n"), message);
  }
  const bomb = write("bomb.txt.gz", gzipSync(new Uint8Array(64 * 2 ** 20).fill(97)));
  await assertRejects(() => readText(bomb), InputError, "unpacks to more than 100 times");
});

Deno.test("text: parts follow each other and leave nothing out", () => {
  const ids = Uint32Array.from({ length: 100 }, (_, i) => i);
  const { train, validation, test } = splitText(ids, "a.txt");
  assertEquals([...train, ...validation, ...test], [...ids]);
  assertEquals([train.length, validation.length, test.length], [90, 5, 5]);
  assertThrows(() => splitText(ids.subarray(0, 20), "a.txt"), InputError, "a.txt: 20 characters");
  assertEquals(splitText(ids, "a", { validation: 0.2, test: 0.3 }).test.length, 30);
});

Deno.test("text: every stream is read on, each character with the one that follows", () => {
  for (const [n, streams, steps] of [[23, 3, 4], [8, 7, 1], [100, 1, 64], [41, 4, 10], [2, 1, 5]]) {
    const ids = Uint32Array.from({ length: n }, (_, i) => i);
    const batches = [...textChunks(ids, { streams, steps })];
    assertEquals(batches.length, textChunkCount(n, { streams, steps }));
    const read: number[] = [];
    for (let b = 0; b < streams; b++) {
      const chunks = batches.map((batch) => batch[b]);
      const inputs = chunks.flatMap(({ input }) => [...input]);
      assertEquals(chunks.flatMap(({ target }) => [...target!]), inputs.map((id) => id + 1));
      assertEquals(inputs, inputs.map((_, i) => inputs[0] + i));
      for (const { input } of chunks.slice(0, -1)) assertEquals(input.length, steps);
      read.push(...inputs);
    }
    const left = n - 1 - read.length;
    assert(left >= 0 && left < streams);
    assertEquals(read, [...ids.subarray(0, n - 1 - left)]);
  }
  const ids = new Uint32Array(5);
  assertThrows(() => textChunkCount(5, { streams: 5, steps: 1 }), RangeError, "too few");
  assertThrows(() => textChunks(ids, { streams: 1, steps: 0 }).next(), RangeError, "steps 0");
  assertThrows(() => textChunks(ids, { streams: 1.5, steps: 1 }).next(), RangeError, "streams 1.5");
});
