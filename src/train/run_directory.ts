import { dirname } from "node:path";
import { InputError } from "../core/errors.ts";
import { PARTIAL, syncDirectory, writeWholeFile } from "../core/whole_file.ts";
import type { Answers } from "../tasks/task.ts";
import { taskOf } from "../tasks/tasks.ts";
import {
  type Checkpoint,
  encodeCheckpoint,
  readCheckpoint,
  type StoredCheckpoint,
} from "./checkpoint.ts";
import { type CommonConfig, dataName, formatConfig, parseConfig, readConfig } from "./config.ts";

/** A directory that holds a training run. */
export interface RunDirectory {
  /** The directory. */
  readonly path: string;
  /** The run's configuration. */
  readonly config: CommonConfig;
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
  /** The folder of the checkpoints. */
  checkpoints: "checkpoints",
} as const;

/** Where a new run directory is to be. */
export interface ClaimRunOptions {
  /** The directory; default a new one below `runs/`, named by data and time. */
  readonly out?: string;
  /** The time; default now. */
  readonly now?: Date;
}

/**
 * Makes the directory of a new run, with nothing in it but the empty folder of its checkpoints: of
 * several processes that want one directory, one makes that folder, and the others are refused.
 *
 * @returns Its path.
 * @throws {InputError} If the directory has files in it or cannot be made.
 */
export async function claimRun(config: CommonConfig, options: ClaimRunOptions): Promise<string> {
  const { out, now = new Date() } = options;
  const path = out === undefined
    ? await makeNewDirectory(`runs/${dataName(config)}_${formatTime(now)}`)
    : await makeEmptyDirectory(out);
  try {
    await Deno.mkdir(fileOf({ path, config }, "checkpoints"));
    await syncDirectory(dirname(path));
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) {
      throw new InputError(`${path}: another process begins a run in it${OTHER}`);
    }
    throw asInputError(error, `cannot make the run directory ${path}`, OTHER);
  }
  return path;
}

/**
 * Puts the first files into the claimed directory of a new run: the configuration and the environment.
 *
 * @throws {InputError} If they cannot be written.
 */
export async function startRun(run: RunDirectory, environment: unknown): Promise<void> {
  await writeConfig(run);
  await writeFile(fileOf(run, "metrics"), "");
  await writeRunJson(run, "environment", environment);
}

/**
 * Writes `config.yaml`.
 *
 * @throws {InputError} If it cannot be written.
 */
export async function writeConfig(run: RunDirectory): Promise<void> {
  await writeFile(fileOf(run, "config"), formatConfig(run.config));
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
 * Removes the directory of a run that came to nothing, with the files that {@linkcode startRun} made.
 * One with metrics or checkpoints stays, and so do other files and then the directory.
 */
export async function removeRun(run: RunDirectory): Promise<void> {
  const metrics = await Deno.stat(fileOf(run, "metrics")).catch(() => undefined);
  const checkpoints = await checkpointsOf(run).catch(() => []);
  if (checkpoints.length > 0 || metrics !== undefined && metrics.size > 0) return;
  for (const file of ["config", "metrics", "environment"] as const) {
    await Deno.remove(fileOf(run, file)).catch(() => {});
  }
  await Deno.remove(lockOf(run)).catch(() => {});
  await Deno.remove(fileOf(run, "checkpoints")).catch(() => {});
  await Deno.remove(run.path).catch(() => {});
}

/** The path of one of a run's files. */
export function fileOf(run: RunDirectory, file: keyof typeof runFiles): string {
  return `${run.path}/${runFiles[file]}`;
}

function lockOf(run: RunDirectory): string {
  return `${fileOf(run, "checkpoints")}/lock`;
}

/**
 * Keeps other processes from training in a run directory, until it is disposed of or the process
 * ends in whatever way. Files that an earlier process left half-written are removed.
 *
 * @throws {InputError} If another process has it, it holds links, or it cannot be written.
 */
export async function lockRun(run: RunDirectory): Promise<Disposable> {
  try {
    await refuseLinks(run);
    const lock = await Deno.open(lockOf(run), { write: true, create: true });
    if (!await lock.tryLock(true)) {
      lock.close();
      throw new InputError(
        `${run.path}: another process is training in it; wait for it, or stop it with Ctrl-C`,
      );
    }
    for (const folder of [run.path, fileOf(run, "checkpoints")]) {
      for await (const { name } of Deno.readDir(folder)) {
        if (name.endsWith(PARTIAL)) await Deno.remove(`${folder}/${name}`);
      }
    }
    return lock;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new InputError(noCheckpoint(run));
    throw asInputError(error, `cannot lock ${run.path}`);
  }
}

/** Deno's permissions follow links, and a run directory may come from a stranger. */
async function refuseLinks(run: RunDirectory): Promise<void> {
  for (const folder of [run.path, fileOf(run, "checkpoints")]) {
    for await (const { name, isSymlink } of Deno.readDir(folder)) {
      if (!isSymlink) continue;
      throw new InputError(
        `${folder}/${name}: is a link, and training writes nothing outside its run directory; put ` +
          "what it leads to in its place",
      );
    }
  }
}

/** What a checkpoint was made of, which must be the same when training goes on. */
export interface Origin {
  /** The configuration. */
  readonly config: CommonConfig;
  /** What `fingerprint` says of the samples. */
  readonly data: string;
  /** The adapter and the release of this library: others give other bits. */
  readonly environment: string;
}

/** A checkpoint of a run directory. */
export interface RunCheckpoint extends StoredCheckpoint {
  /** Its file. */
  readonly file: string;
  /** Bytes that `metrics.jsonl` had. */
  readonly metricsBytes: number;
  /** What it was made of. */
  readonly origin: Origin;
}

const CHECKPOINTS_KEPT = 2;

function noCheckpoint(run: RunDirectory): string {
  return `${run.path}: has no checkpoint to go on from; remove it and train anew`;
}

/** Files of checkpoints with their steps, the newest first. */
async function checkpointsOf(run: RunDirectory): Promise<{ file: string; step: number }[]> {
  const found: { file: string; step: number }[] = [];
  for await (const { name } of Deno.readDir(fileOf(run, "checkpoints"))) {
    const step = /^step_(\d+)\.safetensors$/.exec(name)?.[1];
    const file = `${fileOf(run, "checkpoints")}/${name}`;
    if (step !== undefined) found.push({ file, step: Number(step) });
  }
  return found.sort((a, b) => b.step - a.step);
}

/**
 * Writes a checkpoint, whole or not at all. It and the one before it are kept; those of later steps
 * are removed, since training has gone back behind them.
 *
 * @returns Its file, and the bytes that `metrics.jsonl` has.
 * @throws {InputError} If it cannot be written; the earlier ones stay.
 */
export async function saveCheckpoint(
  run: RunDirectory,
  checkpoint: Checkpoint,
  { config, data, environment }: Origin,
): Promise<{ readonly file: string; readonly metricsBytes: number }> {
  const { step } = checkpoint.progress;
  const name = `step_${String(step).padStart(8, "0")}.safetensors`;
  const file = `${fileOf(run, "checkpoints")}/${name}`;
  try {
    // The checkpoint counts on lines that must not be lost with the power.
    using metrics = await Deno.open(fileOf(run, "metrics"), { append: true });
    await metrics.sync();
    const metricsBytes = (await metrics.stat()).size;
    const labels = {
      config: formatConfig(config),
      data,
      environment,
      metrics_bytes: String(metricsBytes),
    };
    await writeWholeFile(file, await encodeCheckpoint(checkpoint, labels));
    const others = (await checkpointsOf(run)).filter((other) => other.step !== step);
    const earlier = others.filter((other) => other.step < step).slice(0, CHECKPOINTS_KEPT - 1);
    for (const other of others) if (!earlier.includes(other)) await Deno.remove(other.file);
    return { file, metricsBytes };
  } catch (error) {
    throw asInputError(error, `cannot write the checkpoint ${file}`);
  }
}

/**
 * Reads the newest checkpoint of a run that is whole.
 *
 * @param onDamaged Told why each newer one cannot be used.
 * @throws {InputError} If there is none.
 */
export async function loadCheckpoint(
  run: RunDirectory,
  onDamaged: (reason: string) => void,
): Promise<RunCheckpoint> {
  const files = await checkpointsOf(run);
  for (const { file } of files) {
    try {
      const stored = await readCheckpoint(file);
      const { config, data, environment, metrics_bytes } = stored.labels;
      const metricsBytes = Number(metrics_bytes);
      if (!Number.isSafeInteger(metricsBytes) || metricsBytes < 0 || config === undefined) {
        throw new InputError(`${file}: is damaged: it does not say what it was made of`);
      }
      const origin = { config: parseConfig<CommonConfig>(config, file), data, environment };
      checkAnswers(origin.config, stored.answers, file);
      return { ...stored, file, metricsBytes, origin };
    } catch (error) {
      onDamaged(asInputError(error, `cannot read the checkpoint ${file}`).message);
    }
  }
  throw new InputError(
    files.length === 0
      ? noCheckpoint(run)
      : `${run.path}: none of its ${files.length} checkpoints can be used; train anew with --config ${
        fileOf(run, "config")
      }`,
  );
}

/** Whoever can write a checkpoint can make its checksum fit: its answers must be such as can be scored. */
function checkAnswers(config: CommonConfig, answers: readonly Answers[], file: string): void {
  try {
    taskOf(config).score(config, answers);
  } catch (error) {
    throw new InputError(`${file}: is damaged: its answers cannot be scored`, { cause: error });
  }
}

/**
 * Cuts `metrics.jsonl` back to what it held at a checkpoint.
 *
 * @throws {InputError} If it holds less, or cannot be written.
 */
export async function cutMetrics(run: RunDirectory, bytes: number): Promise<void> {
  const path = fileOf(run, "metrics");
  try {
    const { size } = await Deno.stat(path);
    if (size < bytes) {
      throw new InputError(
        `${path}: holds ${size} bytes, but had ${bytes} at the checkpoint: put the whole file back, ` +
          `or train anew with --config ${fileOf(run, "config")}`,
      );
    }
    await Deno.truncate(path, bytes);
  } catch (error) {
    throw asInputError(error, `cannot write ${path}`);
  }
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
    const names = (await Array.fromAsync(Deno.readDir(path))).map(({ name }) => name);
    if (names.includes(runFiles.config)) {
      throw new InputError(
        `${out}: already holds a run; go on with it by deno task train --resume ${out}, or choose ` +
          "another directory with --out",
      );
    }
    for (const name of names) {
      throw new InputError(
        `${out}: already holds ${name}; choose a new or empty directory with --out`,
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
