/**
 * Text as sequences of characters: Unicode code points, numbered by a vocabulary.
 *
 * @module
 */
import { describe, printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { readWholeFile } from "../core/whole_file.ts";
import type { Split } from "./read_samples.ts";
import { allOf, fileProblem, gunzip } from "./text_file.ts";

const MAX_BYTES = 256 * 2 ** 20;

/**
 * Reads a text in UTF-8, packed if its name ends in `.gz`. A byte order mark is left out.
 *
 * @throws {InputError} If the file cannot be read, is empty, in another encoding or larger than 256
 * MiB.
 */
export async function readText(path: string): Promise<string> {
  const fail = (problem: string): never => {
    throw new InputError(`${path}: ${problem}`);
  };
  let bytes: Uint8Array | undefined;
  try {
    bytes = path.endsWith(".gz")
      ? await allOf(gunzip((await Deno.open(path)).readable, path), MAX_BYTES)
      : await readWholeFile(path, MAX_BYTES);
  } catch (error) {
    if (error instanceof InputError) throw error;
    return fail(`cannot be read: ${fileProblem(error)}`);
  }
  if (bytes === undefined) return fail("holds more than 256 MiB: give a part of it");
  const decode = (): string => {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      return fail("is no text in UTF-8: save it as UTF-8");
    }
  };
  const text = decode();
  return text === "" ? fail("is empty") : text;
}

/**
 * The characters of a text, each once, in the order of their code points. A character's number is its
 * place in it.
 *
 * There is no place for unknown characters: a model that never saw a character gives it no meaning, and
 * bits per character of texts with and without it could not be compared. {@linkcode encodeText} refuses
 * it and says where it is.
 *
 * @example
 * ```ts
 * import { decodeText, encodeText, textVocabulary } from "@gatewise/lstm";
 *
 * const vocabulary = textVocabulary("banana");
 * console.log(vocabulary); // [ "a", "b", "n" ]
 * const ids = encodeText("nab", vocabulary, "prompt");
 * console.log(ids, decodeText(ids, vocabulary)); // Uint32Array [ 2, 0, 1 ] "nab"
 * ```
 */
export function textVocabulary(text: string): readonly string[] {
  return Array.from(new Set(text), (character) => character.codePointAt(0)!)
    .sort((a, b) => a - b)
    .map((code) => String.fromCodePoint(code));
}

/**
 * The numbers of a text's characters.
 *
 * @param where Put before the message of an error: a file, `--prompt`.
 * @throws {InputError} If a character is not in the vocabulary; line and column are named.
 */
export function encodeText(
  text: string,
  vocabulary: readonly string[],
  where: string,
): Uint32Array<ArrayBuffer> {
  const numbers = new Map(vocabulary.map((character, i) => [character, i]));
  const ids = new Uint32Array(text.length);
  let count = 0;
  for (const character of text) {
    const id = numbers.get(character);
    if (id === undefined) throw new InputError(unknown(text, character, vocabulary, where));
    ids[count++] = id;
  }
  return ids.slice(0, count);
}

function unknown(
  text: string,
  character: string,
  vocabulary: readonly string[],
  where: string,
): string {
  const lines = text.slice(0, text.indexOf(character)).split("\n");
  const code = character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");
  return `${where}: line ${lines.length}, column ${[...lines.at(-1)!].length + 1}: the character ${
    describe(character)
  } (U+${code}) is not among those that the model was trained with: ${
    printable(vocabulary.join(""), 200)
  }`;
}

/** The text of characters' numbers. */
export function decodeText(ids: Iterable<number>, vocabulary: readonly string[]): string {
  return Array.from(ids, (id) => vocabulary[id]).join("");
}

/** Shares of a text. */
export interface TextShares {
  /** Default 0.05. */
  readonly validation?: number;
  /** Default 0.05. */
  readonly test?: number;
}

/**
 * Splits a text into its beginning, for training, and what follows, for validation and test.
 *
 * @param where Put before the message of an error.
 * @throws {InputError} If a part would have fewer than 2 characters, so that there is none to predict.
 */
export function splitText(
  ids: Uint32Array,
  where: string,
  { validation = 0.05, test = 0.05 }: TextShares = {},
): Readonly<Record<Split, Uint32Array>> {
  const n = ids.length;
  const testFrom = n - Math.round(test * n);
  const validationFrom = testFrom - Math.round(validation * n);
  const parts = {
    train: ids.subarray(0, validationFrom),
    validation: ids.subarray(validationFrom, testFrom),
    test: ids.subarray(testFrom),
  };
  for (const [split, { length }] of Object.entries(parts)) {
    if (length < 2) {
      throw new InputError(
        `${where}: ${n} characters are too few: ${length} would be left for ${split}`,
      );
    }
  }
  return parts;
}

/** Consecutive characters, and for each the one that follows it. */
export interface TextChunk {
  /** T characters. */
  readonly input: Uint32Array;
  /** The next character of each; absent where it is to be predicted. */
  readonly target?: Uint32Array;
}

/** How a text is read for truncated back-propagation. */
export interface TextChunkOptions {
  /** Parallel streams B, each a part of the text. */
  readonly streams: number;
  /** Steps T of a chunk; the last of a stream may have fewer. */
  readonly steps: number;
}

/** Steps of a stream. */
function streamLength(characters: number, { streams, steps }: TextChunkOptions): number {
  for (const [name, value] of Object.entries({ streams, steps })) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new RangeError(`Cannot read a text with ${name} ${value}: give a whole number from 1`);
    }
  }
  const length = Math.floor((characters - 1) / streams);
  if (length < 1) {
    throw new RangeError(`Cannot read ${characters} characters as ${streams} streams: too few`);
  }
  return length;
}

/** How many batches {@linkcode textChunks} gives of a text. */
export function textChunkCount(characters: number, options: TextChunkOptions): number {
  return Math.ceil(streamLength(characters, options) / options.steps);
}

/**
 * Reads a text as B streams side by side, T steps at a time (truncated back-propagation through time,
 * Williams and Peng 1990): chunk k of a stream goes on where its chunk k - 1 ended, so that a state can
 * be carried from each batch to the next. Up to B - 1 characters at the end of the text are left out.
 *
 * @param ids The text's characters.
 * @returns Batches of B chunks, in order.
 * @throws {RangeError} If an option is no whole number from 1, or there are fewer than B + 1 characters.
 *
 * @example
 * ```ts
 * import { textChunks } from "@gatewise/lstm";
 *
 * const ids = Uint32Array.of(0, 1, 2, 3, 4, 5, 6);
 * for (const [first, second] of textChunks(ids, { streams: 2, steps: 2 })) {
 *   console.log(first.input, second.input); // [0, 1] [3, 4], then [2] [5]
 * }
 * ```
 */
export function* textChunks(
  ids: Uint32Array,
  options: TextChunkOptions,
): Generator<readonly TextChunk[], void, undefined> {
  const { streams, steps } = options;
  const length = streamLength(ids.length, options);
  for (let from = 0; from < length; from += steps) {
    const to = Math.min(from + steps, length);
    yield Array.from({ length: streams }, (_, b) => ({
      input: ids.subarray(b * length + from, b * length + to),
      target: ids.subarray(b * length + from + 1, b * length + to + 1),
    }));
  }
}
