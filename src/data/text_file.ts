/**
 * Text files read piece by piece, plain or packed, within limits.
 *
 * @module
 */
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { InputError } from "../core/errors.ts";

/** What a text may be once unpacked. */
const MAX_TEXT = 4 * 2 ** 30;
/** Texts that unpack to more than so many times their size, and are no longer small, are bombs. */
const MAX_RATIO = 100;
const SMALL_TEXT = 16 * 2 ** 20;

/** Why a file cannot be read or written, in a few words. */
export function fileProblem(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  if (error instanceof Deno.errors.NotCapable) return `Deno may not: ${error.message}`;
  return (error as Error).message.split("\n")[0];
}

/** A line of a text and its number, from 1. */
export interface Line {
  /** From 1. */
  readonly number: number;
  /** Without the line break. */
  readonly text: string;
}

/**
 * The lines of a text in UTF-8.
 *
 * @param file Named in errors.
 * @param mostMiB How long a line may be, in MiB of characters.
 * @throws {InputError} If it is in another encoding, or a line or all of it is too long.
 */
export async function* textLines(
  chunks: AsyncIterable<Uint8Array>,
  file: string,
  mostMiB: number,
): AsyncGenerator<Line> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let number = 1;
  let rest = "";
  let total = 0;
  const decode = (chunk?: Uint8Array): string => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined });
    } catch {
      throw new InputError(`${file}: line ${number} or one soon after it is no UTF-8 text`);
    }
  };
  for await (const chunk of chunks) {
    total += chunk.length;
    if (total > MAX_TEXT) throw new InputError(`${file}: more than 4 GiB of text: split it`);
    const lines = (rest + decode(chunk)).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > mostMiB * 2 ** 20) {
      throw new InputError(`${file}: line ${number + lines.length} is longer than ${mostMiB} MiB`);
    }
    for (const text of lines) yield { number: number++, text };
  }
  rest += decode();
  if (rest !== "") yield { number, text: rest };
}

/**
 * Unpacks gzip piece by piece.
 *
 * @param file Named in errors.
 * @throws {InputError} If it unpacks to very many times its size.
 */
// Not DecompressionStream: files may be several gzip members one after the other.
export async function* gunzip(
  source: AsyncIterable<Uint8Array>,
  file: string,
): AsyncGenerator<Uint8Array> {
  const input = Readable.from(source);
  const output = input.pipe(createGunzip());
  input.on("error", (error) => output.destroy(error));
  let total = 0;
  try {
    for await (const chunk of output) {
      total += (chunk as Uint8Array).length;
      if (total > SMALL_TEXT && total > MAX_RATIO * output.bytesWritten) {
        throw new InputError(
          `${file}: unpacks to more than ${MAX_RATIO} times its size: give it unpacked`,
        );
      }
      yield chunk as Uint8Array;
    }
  } finally {
    input.destroy();
  }
}

/** The pieces one after the other, or undefined if they have more than `limit` bytes. */
export async function allOf(
  pieces: AsyncIterable<Uint8Array>,
  limit: number,
): Promise<Uint8Array | undefined> {
  const all: Uint8Array[] = [];
  let size = 0;
  for await (const piece of pieces) {
    all.push(piece);
    if ((size += piece.length) > limit) return undefined;
  }
  const bytes = new Uint8Array(size);
  size = 0;
  for (const piece of all) bytes.set(piece, (size += piece.length) - piece.length);
  return bytes;
}

/** Whether there is a file, or a directory, of that path. */
export async function isKind(path: string, kind: "isFile" | "isDirectory"): Promise<boolean> {
  try {
    return (await Deno.stat(path))[kind];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw new InputError(`${path}: cannot be read: ${fileProblem(error)}`);
  }
}
