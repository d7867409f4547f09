/**
 * Files of samples: the reference's pickles are read, `.jsonl` and `.jsonl.gz` read and written.
 *
 * @module
 */
import { basename, join } from "node:path";
import { InputError } from "../core/errors.ts";
import { readWholeFile, writeWholeFile } from "../core/whole_file.ts";
import { arrayNumbers, isNdArray, readPickle } from "./pickle.ts";
import { formatSample, makeSample, parseSample, type Sample, type Targets } from "./samples.ts";
import { fileProblem, gunzip, isKind, textLines } from "./text_file.ts";

/** The three parts of a data set. */
export type Split = "train" | "validation" | "test";

/** Options of {@link readSamples}. */
export interface ReadSamplesOptions {
  /** Whether every sample must have its target `Y`; default `required`. */
  readonly targets?: Targets;
}

const SPLITS = ["train", "validation", "test"] as const;
const EXTENSIONS = ["pk", "pickle", "pkl", "jsonl", "jsonl.gz"] as const;
/** What a pickle and a line of JSON may hold: far beyond honest samples. */
const MAX_PICKLE = 2 ** 30;
const MAX_LINE_MIB = 4;
// A sample takes 1.3 KB of memory at least, whatever its file spends on it.
const MAX_SAMPLES = 2 ** 21;
const LEAST_PICKLED = 16;

function checkCount(count: number, file: string): void {
  if (count <= MAX_SAMPLES) return;
  throw new InputError(`${file}: holds more than ${MAX_SAMPLES} samples: give a part of them`);
}

function samplesOfPickle(bytes: Uint8Array, file: string, targets: Targets): Sample[] {
  const list = readPickle(bytes, file);
  if (!Array.isArray(list)) throw new InputError(`${file}: the pickle holds no list of samples`);
  checkCount(list.length, file);
  // A list may hold one sample many times over; honest samples are dicts of their own.
  if (list.length * LEAST_PICKLED > bytes.length) {
    throw new InputError(`${file}: ${list.length} samples are more than so small a file can hold`);
  }
  let visits = 0;
  return list.map((record, i) => {
    const where = `${file}: sample ${i} (from 0)`;
    if (!(record instanceof Map)) throw new InputError(`${where}: no dict of a sample's keys`);
    const X = record.get("X");
    visits += isNdArray(X) ? X.bytes.length : Array.isArray(X) ? X.length : 0;
    // A list may hold one array many times over; honest samples have arrays of their own.
    if (visits > bytes.length) {
      throw new InputError(`${where}: more visits than the file has bytes`);
    }
    const read = (key: string): unknown => {
      const value = record.get(key);
      if (!isNdArray(value)) return value;
      const numbers = arrayNumbers(value, `${where}: ${key}`);
      if (value.shape.length === 1) return numbers;
      if (value.shape.length === 0) return numbers[0];
      throw new InputError(`${where}: ${key} has ${value.shape.length} dimensions: it must have 1`);
    };
    return makeSample(read, where, targets);
  });
}

async function samplesOfLines(
  chunks: AsyncIterable<Uint8Array>,
  file: string,
  targets: Targets,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  for await (const { number, text } of textLines(chunks, file, MAX_LINE_MIB)) {
    if (text.trim() === "") continue;
    samples.push(parseSample(text, `${file}: line ${number}`, targets));
    checkCount(samples.length, file);
  }
  return samples;
}

/**
 * Reads a file of samples: `.pk`, `.pkl` or `.pickle` as the reference writes them (see
 * {@link readPickle}), `.jsonl` or `.jsonl.gz` with one sample a line, or `-` for `.jsonl` on the
 * standard input. Needs permission to read the file.
 *
 * @returns At least one sample, checked as in {@link makeSample}.
 * @throws {InputError} If the file is missing, of another kind, cut short, damaged, wants to run
 * code, has no sample, or a sample is not as it should be: file, sample and key are named.
 *
 * @example
 * ```ts
 * import { readSamples, simulate, writeSamples } from "@gatewise/lstm";
 *
 * const path = `${await Deno.makeTempDir()}/test.jsonl.gz`;
 * await writeSamples(path, simulate({ people: 2 }).test);
 * const samples = await readSamples(path);
 * console.log(samples[0].X, samples[0].Y);
 * ```
 */
export async function readSamples(
  path: string,
  { targets = "required" }: ReadSamplesOptions = {},
): Promise<readonly Sample[]> {
  const file = path === "-" ? "standard input" : path;
  const kind = path === "-" ? "jsonl" : EXTENSIONS.find((end) => path.endsWith(`.${end}`));
  if (kind === undefined) {
    throw new InputError(
      `${file}: unknown kind of file: its name must end in .pk, .jsonl or .jsonl.gz`,
    );
  }
  let samples: Sample[];
  try {
    if (path === "-") {
      samples = await samplesOfLines(Deno.stdin.readable, file, targets);
    } else if (kind === "jsonl" || kind === "jsonl.gz") {
      const source = (await Deno.open(path)).readable;
      const text = kind === "jsonl" ? source : gunzip(source, file);
      samples = await samplesOfLines(text, file, targets);
    } else {
      const bytes = await readWholeFile(path, MAX_PICKLE);
      if (bytes === undefined) {
        throw new InputError(`${file}: more than 1 GiB of pickle: save it as .jsonl.gz`);
      }
      samples = samplesOfPickle(bytes, file, targets);
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${file}: cannot be read: ${fileProblem(error)}`);
  }
  if (samples.length === 0) throw new InputError(`${file}: holds no sample`);
  return samples;
}

async function prefixIn(directory: string, endings: readonly string[]): Promise<string> {
  const pattern = new RegExp(`^(.+)_(?:${SPLITS.join("|")})\\.(?:${endings.join("|")})$`);
  const prefixes = new Set<string>();
  for await (const { name } of Deno.readDir(directory)) {
    const prefix = pattern.exec(name)?.[1];
    if (prefix !== undefined) prefixes.add(prefix);
  }
  const found = [...prefixes].sort().map((prefix) => join(directory, prefix));
  if (found.length > 1) {
    throw new InputError(`${directory}: holds several data sets, name one: ${found.join(", ")}`);
  }
  if (found.length === 0) {
    throw new InputError(
      `${directory}: holds no samples: looked for PREFIX_train, PREFIX_validation and PREFIX_test ` +
        `ending in .${endings.join(", .")}`,
    );
  }
  return found[0];
}

/**
 * The prefix that the files of a data set have.
 *
 * @param dataPath The prefix itself, or a directory with one data set.
 * @param endings What names of files may end in; default those of samples.
 * @throws {InputError} If the directory holds none or several.
 */
export async function dataPrefix(
  dataPath: string,
  endings: readonly string[] = EXTENSIONS,
): Promise<string> {
  return await isKind(dataPath, "isDirectory") ? await prefixIn(dataPath, endings) : dataPath;
}

/**
 * Finds the files of a data set.
 *
 * @param dataPath A prefix, standing for `<prefix>_train`, `_validation` and `_test` with the first
 * ending found of `.pk`, `.pickle`, `.pkl`, `.jsonl` and `.jsonl.gz`; or a directory with one such set.
 * @param splits Parts that must be there; default all three.
 * @param endings What names of files may end in, instead of those.
 * @returns Path of each part.
 * @throws {InputError} If a file is missing (it is named), or the directory holds none or several.
 */
export async function findSplits<S extends Split = Split>(
  dataPath: string,
  splits: readonly S[] = SPLITS as readonly Split[] as readonly S[],
  endings: readonly string[] = EXTENSIONS,
): Promise<Readonly<Record<S, string>>> {
  const prefix = await dataPrefix(dataPath, endings);
  const path = (split: string, end: string): string => `${prefix}_${split}.${end}`;
  for (const end of endings) {
    const there = await Promise.all(splits.map((split) => isKind(path(split, end), "isFile")));
    if (there.every((is) => is)) {
      return Object.fromEntries(splits.map((s) => [s, path(s, end)])) as Record<S, string>;
    }
    const first = there.indexOf(true);
    if (first >= 0) {
      const missing = path(splits[there.indexOf(false)], end);
      throw new InputError(
        `${missing}: there is no such file, though ${basename(path(splits[first], end))} is there`,
      );
    }
  }
  throw new InputError(
    `${path(splits[0], endings[0])}: there is no such file, nor one ending in ` +
      `.${endings.slice(1).join(", .")}: give the prefix of <prefix>_${splits[0]}, or a directory`,
  );
}

/**
 * Reads the parts of a data set that {@link findSplits} finds.
 *
 * @param splits Parts to read; default all three.
 * @throws {InputError} As {@link findSplits} and {@link readSamples}.
 */
export async function readSplits<S extends Split = Split>(
  dataPath: string,
  splits?: readonly S[],
): Promise<Readonly<Record<S, readonly Sample[]>>> {
  const read: Record<string, readonly Sample[]> = {};
  for (const [split, path] of Object.entries<string>(await findSplits(dataPath, splits))) {
    read[split] = await readSamples(path);
  }
  return read as Record<S, readonly Sample[]>;
}

/**
 * Writes samples as `.jsonl`, or `.jsonl.gz` if the path ends so. The file appears whole or not at
 * all, and the same samples always give the same bytes. Needs permission to write.
 *
 * @throws {InputError} If the path ends otherwise or cannot be written.
 */
export async function writeSamples(path: string, samples: Iterable<Sample>): Promise<void> {
  if (!path.endsWith(".jsonl") && !path.endsWith(".jsonl.gz")) {
    throw new InputError(`${path}: samples are written to names ending in .jsonl or .jsonl.gz`);
  }
  const lines = function* (): Generator<string> {
    for (const sample of samples) yield `${formatSample(sample)}\n`;
  };
  const text = ReadableStream.from(lines()).pipeThrough(new TextEncoderStream());
  try {
    await writeWholeFile(
      path,
      path.endsWith(".gz") ? text.pipeThrough(new CompressionStream("gzip")) : text,
    );
  } catch (error) {
    throw new InputError(`${path}: cannot be written: ${fileProblem(error)}`);
  }
}
