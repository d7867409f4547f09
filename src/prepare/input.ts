/**
 * Finding, recognising and checking the files of raw data.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { basename, join, relative } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { InputError } from "../core/errors.ts";

/** Kinds of raw data. */
export const FORMATS = [
  "geolife",
  "foursquare",
  "gowalla",
  "csv",
  "parquet",
  "staypoints",
] as const;

/** A kind of raw data. */
export type Format = typeof FORMATS[number];

/** Files of raw data of one kind. */
export interface Input {
  /** What was given on the command line. */
  readonly path: string;
  /** What they hold. */
  readonly format: Format;
  /** Their paths, sorted. */
  readonly files: readonly string[];
}

/** A file as it stands in a manifest. */
export interface FileDigest {
  /** Its name, with folders below the one that was given. */
  readonly file: string;
  /** Its size. */
  readonly bytes: number;
  /** SHA-256 of its content, in hexadecimal. */
  readonly sha256: string;
}

const TEXTS = /\.(csv|tsv|txt)(\.gz)?$/i;

/**
 * The files of raw data at a path, and what they hold.
 *
 * @param format What they hold, or `auto`: seen from names and the first line.
 * @throws {InputError} If there is nothing there, or nothing that fits.
 */
export async function findInput(path: string, format: Format | "auto"): Promise<Input> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(path);
  } catch (error) {
    throw new InputError(`${path}: cannot be read: ${(error as Error).message.split(":")[0]}`);
  }
  if (info.isFile) return { path, format: await formatOf(path, format), files: [path] };
  const all = await filesBelow(path);
  const tracks = all.filter((file) => /\/Trajectory\/[^/]+\.plt$/i.test(file));
  if (format === "geolife" || (format === "auto" && tracks.length > 0)) {
    if (tracks.length === 0) {
      throw new InputError(`${path}: holds no USER/Trajectory/*.plt: give GeoLife's folder`);
    }
    return { path, format: "geolife", files: tracks };
  }
  const parquet = all.filter((file) => file.endsWith(".parquet"));
  const texts = all.filter((file) => TEXTS.test(file));
  const files = format === "parquet" || (format === "auto" && parquet.length > 0) ? parquet : texts;
  if (files.length === 0) {
    throw new InputError(
      `${path}: holds no ${format === "auto" ? "raw data" : `${format} files`}: looked for ` +
        ".parquet, .csv, .tsv and .txt, also with .gz, and for GeoLife's USER/Trajectory/*.plt",
    );
  }
  const found = await formatOf(files[0], format);
  if (found === "staypoints" && files.length > 1) {
    throw new InputError(`${path}: give the one staypoints file itself, not its folder`);
  }
  return { path, format: found, files };
}

async function filesBelow(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    if (isDirectory) files.push(...await filesBelow(path));
    else files.push(path);
  }
  return files.sort();
}

async function formatOf(file: string, format: Format | "auto"): Promise<Format> {
  if (format !== "auto") return format;
  if (file.endsWith(".parquet")) return "parquet";
  const line = await firstLine(file);
  const tabs = line.split("\t");
  if (tabs.length === 8 && /^\w{3} \w{3} \d+ [\d:]+ [+-]\d{4} \d{4}$/.test(tabs[7])) {
    return "foursquare";
  }
  if (tabs.length === 5 && /^\d{4}-\d\d-\d\dT[\d:]+Z$/.test(tabs[1])) return "gowalla";
  const { names } = splitHeader(line);
  return names.includes("location_id") && names.includes("start_day") ? "staypoints" : "csv";
}

/** The names in a header line, and what stands between them. */
export function splitHeader(line: string): { names: readonly string[]; delimiter: string } {
  const parts = (delimiter: string): number => line.split(delimiter).length;
  const delimiter = [",", "\t", ";", "|"].reduce((a, b) => parts(b) > parts(a) ? b : a);
  const names = line.replace(/^\uFEFF/, "").split(delimiter)
    .map((name) => name.trim().replace(/^"(.*)"$/, "$1").replaceAll('""', '"'));
  return { names, delimiter };
}

/** The first line of a text file, plain or `.gz`, as far as 64 KiB. */
export async function firstLine(file: string): Promise<string> {
  const source = (await Deno.open(file)).readable;
  const bytes = file.endsWith(".gz") ? source.pipeThrough(new DecompressionStream("gzip")) : source;
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const chunk of bytes) {
      text += decoder.decode(chunk, { stream: true });
      if (text.includes("\n") || text.length > 65_536) break;
    }
  } catch (error) {
    throw new InputError(`${file}: cannot be unpacked: ${(error as Error).message}`);
  }
  return text.split("\n")[0].replace(/\r$/, "");
}

/**
 * Size and SHA-256 of files, which are read as a stream. Those that end in `.gz` are unpacked on the
 * way, as a check.
 *
 * @throws {InputError} If one is cut short or damaged.
 */
export async function digestFiles(
  files: readonly string[],
  folder: string,
): Promise<readonly FileDigest[]> {
  const digests: FileDigest[] = [];
  for (const file of files) {
    const hash = createHash("sha256");
    let bytes = 0;
    const read = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of (await Deno.open(file)).readable) {
        hash.update(chunk);
        bytes += chunk.length;
        yield chunk;
      }
    };
    if (file.endsWith(".gz")) {
      try {
        await pipeline(Readable.from(read()), createGunzip(), async (unpacked) => {
          for await (const _ of unpacked);
        });
      } catch (error) {
        const cut = /unexpected end/.test((error as Error).message);
        throw new InputError(
          `${file}: ${cut ? "the file is cut short" : "cannot be unpacked"}: ` +
            `${(error as Error).message}; get it again`,
        );
      }
    } else {
      for await (const _ of read());
    }
    digests.push({
      file: relative(folder, file) || basename(file),
      bytes,
      sha256: hash.digest("hex"),
    });
  }
  return digests;
}
