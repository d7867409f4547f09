import { InputError } from "../core/errors.ts";
import { writeWholeFile } from "../core/whole_file.ts";
import { type Config, dataName, formatConfig, readConfig } from "./config.ts";

/** A directory that holds a training run. */
export interface RunDirectory {
  /** The directory. */
  readonly path: string;
  /** The run's configuration. */
  readonly config: Config;
}

/** The files of a run directory. */
export const runFiles = {
  /** The resolved configuration. */
  config: "config.yaml",
  /** A JSON object a line: one an epoch, and one every `print_step` steps. */
  metrics: "metrics.jsonl",
  /** The weights with the best validation loss, under PyTorch's names. */
  weights: "best.safetensors",
  /** The scores of the test split. */
  results: "test_results.json",
  /** The adapter and the versions that the run used. */
  environment: "environment.json",
} as const;

/** What a new run directory needs. */
export interface CreateRunOptions {
  /** The directory; default a new one below `runs/`, named by data and time. */
  readonly out?: string;
  /** What is written to `environment.json`. */
  readonly environment: unknown;
  /** The time; default now. */
  readonly now?: Date;
}

/**
 * Makes a run directory, with the configuration and the environment in it.
 *
 * @throws {InputError} If the directory has files in it or cannot be written.
 */
export async function createRun(config: Config, options: CreateRunOptions): Promise<RunDirectory> {
  const { out, environment, now = new Date() } = options;
  const path = out === undefined
    ? await makeNewDirectory(`runs/${dataName(config)}_${formatTime(now)}`)
    : await makeEmptyDirectory(out);
  const run = { path, config };
  await writeFile(fileOf(run, "config"), formatConfig(config));
  await writeFile(fileOf(run, "metrics"), "");
  await writeRunJson(run, "environment", environment);
  return run;
}

/**
 * Opens the directory of an earlier run.
 *
 * @throws {InputError} If it does not exist, is no run directory, or its configuration is damaged.
 */
export async function openRun(path: string): Promise<RunDirectory> {
  const directory = withoutSlash(path);
  try {
    const info = await Deno.stat(directory);
    if (!info.isDirectory) {
      throw new InputError(`${path}: is a file; a run directory holds ${runFiles.config}`);
    }
    await Deno.stat(`${directory}/${runFiles.config}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw asInputError(error, `cannot read ${path}`);
    throw new InputError(
      `${path}: is not a run directory (no ${runFiles.config}); train one with deno task train`,
    );
  }
  return { path: directory, config: await readConfig(`${directory}/${runFiles.config}`) };
}

/**
 * Removes the directory of a run that came to nothing, with the files that {@linkcode createRun}
 * made. Other files in it, and then the directory itself, stay.
 */
export async function removeRun(run: RunDirectory): Promise<void> {
  for (const file of ["config", "metrics", "environment"] as const) {
    await Deno.remove(fileOf(run, file)).catch(() => {});
  }
  await Deno.remove(run.path).catch(() => {});
}

/** The path of one of a run's files. */
export function fileOf(run: RunDirectory, file: keyof typeof runFiles): string {
  return `${run.path}/${runFiles[file]}`;
}

/**
 * Appends a line to `metrics.jsonl`, at once: whoever follows the file sees it.
 *
 * @throws {InputError} If it cannot be written.
 */
export function appendMetrics(run: RunDirectory, record: Readonly<Record<string, unknown>>): void {
  const path = fileOf(run, "metrics");
  try {
    Deno.writeTextFileSync(path, `${JSON.stringify(record)}\n`, { append: true });
  } catch (error) {
    throw asInputError(error, `cannot write ${path}`);
  }
}

/**
 * Writes `test_results.json` or `environment.json`.
 *
 * @throws {InputError} If it cannot be written.
 */
export async function writeRunJson(
  run: RunDirectory,
  file: "results" | "environment",
  value: unknown,
): Promise<void> {
  await writeFile(fileOf(run, file), `${JSON.stringify(value, null, 2)}\n`);
}

/**
 * Writes a whole file: first beside its place, then moved there, so that it is never half there.
 *
 * @throws {InputError} If it cannot be written; an earlier file of that name stays as it is.
 */
export async function writeFile(path: string, content: string | Uint8Array): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  try {
    await writeWholeFile(path, bytes);
  } catch (error) {
    throw asInputError(error, `cannot write ${path}`);
  }
}

/** A directory of that name, or with `_2`, `_3`, ... after it, that was not there before. */
async function makeNewDirectory(name: string): Promise<string> {
  const parent = name.slice(0, name.lastIndexOf("/"));
  for (let n = 1;; n++) {
    const path = n === 1 ? name : `${name}_${n}`;
    try {
      await Deno.mkdir(parent, { recursive: true });
      await Deno.mkdir(path);
      return path;
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists && await isDirectory(parent)) continue;
      throw asInputError(error, `cannot make the run directory ${path}`, OTHER);
    }
  }
}

async function makeEmptyDirectory(out: string): Promise<string> {
  const path = withoutSlash(out);
  try {
    await Deno.mkdir(path, { recursive: true });
    for await (const entry of Deno.readDir(path)) {
      throw new InputError(
        `${out}: already holds ${entry.name}; choose a new or empty directory with --out`,
      );
    }
    return path;
  } catch (error) {
    throw asInputError(error, `cannot make the run directory ${out}`, OTHER);
  }
}

const OTHER = "; choose another directory with --out";

function asInputError(error: unknown, what: string, remedy = ""): Error {
  if (error instanceof InputError) return error;
  const reason = error instanceof Deno.errors.NotCapable
    ? "Deno was not given the permission"
    : (error as Error).message.split("\n")[0];
  return new InputError(`${what}: ${reason}${remedy}`, { cause: error });
}

async function isDirectory(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isDirectory ?? false;
}

function withoutSlash(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, "") || "/" : path;
}

/** Local time as `2026-11-22_20-21-48`. */
function formatTime(time: Date): string {
  const two = (n: number): string => String(n).padStart(2, "0");
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join("-");
  return `${date}_${clock}`;
}
