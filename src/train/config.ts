import { parse, stringify } from "@std/yaml";
import { printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import { suggestion } from "../core/suggestion.ts";
import { readWholeFile } from "../core/whole_file.ts";
import type { Config } from "../tasks/next_location.ts";
import type { Task } from "../tasks/task.ts";
import { findTask, taskNames, taskOf, tasks } from "../tasks/tasks.ts";
import {
  type Allowed,
  COMMON_KEYS,
  type CommonConfig,
  type ConfigKey,
  dataPath,
  oneOf,
  show,
} from "./keys.ts";

export { type CommonConfig, type Config, dataPath };

/** Characters of a configuration file: far beyond an honest one, little enough for any YAML in it. */
const MAX_CHARACTERS = 2 ** 16;
const TOO_LONG = `is no configuration: it has more than ${MAX_CHARACTERS} characters`;

/** Sections in the order in which they are written; others follow. */
const SECTION_ORDER = ["", "data", "training", "dataset_info", "embedding", "model", "optimiser"];

const MODEL_PATH = "model.networkName";

/** The keys of one model's configuration. */
interface Schema {
  readonly task: Task;
  /** By field, in the order in which they are written. */
  readonly keys: ReadonlyMap<string, ConfigKey<unknown>>;
  /** By path, those without effect too. */
  readonly byPath: ReadonlyMap<string, { readonly allowed: Allowed; readonly meaning: string }>;
  readonly sections: readonly string[];
}

const schemas = new Map<Task, Schema>();

function schemaOf(task: Task): Schema {
  const known = schemas.get(task);
  if (known !== undefined) return known;
  const own = Object.entries(task.defaults ?? {});
  const common = Object.entries(COMMON_KEYS).map(([field, key]) => {
    const other = own.find(([name]) => name === field);
    return [field, other === undefined ? key : { ...key, default: other[1] }] as const;
  });
  const model: ConfigKey<unknown> = {
    path: MODEL_PATH,
    default: task.name,
    allowed: oneOf(...taskNames),
    meaning: task.alias === undefined ? "the model" : `the model; ${task.alias} is ${task.name}`,
  };
  const place = ({ path }: { path: string }): number => {
    const n = SECTION_ORDER.indexOf(sectionOf(path));
    return n < 0 ? SECTION_ORDER.length : n;
  };
  const all = [...common, ["networkName", model] as const, ...Object.entries(task.keys)];
  const keys = new Map(all.sort(([, a], [, b]) => place(a) - place(b)));
  const byPath = new Map(
    [...keys.values(), ...task.ignoredKeys ?? []].map((key) => [key.path, key]),
  );
  const paths = [...byPath.keys()].filter((path) => path.includes("."));
  const schema = { task, keys, byPath, sections: [...new Set(paths.map(sectionOf))] };
  schemas.set(task, schema);
  return schema;
}

/** The configuration that a run of a model has when nothing is configured; generated data. */
export function defaultsOf<C extends CommonConfig = CommonConfig>(task: Task): C {
  const entries = [...schemaOf(task).keys].map(([field, key]) => [field, key.default]);
  return Object.fromEntries(entries) as C;
}

/** The next-location model's configuration when nothing is configured; simulated data. */
export const defaultConfig: Config = defaultsOf(findTask("next_location")!);

/**
 * The configuration that a YAML text describes; keys that it leaves out have their defaults.
 *
 * @param source The YAML text, nested in sections as the reference's files are.
 * @param file Its name, for error messages.
 * @param model The model, where the text names none; default next_location.
 * @throws {InputError} If it is no YAML, has an unknown key, a value that is not allowed, or values
 * that contradict each other or `model`.
 */
export function parseConfig<C extends CommonConfig = Config>(
  source: string,
  file: string,
  model?: string,
): C {
  const top = entriesOf(parseYaml(source, file), file, "the file");
  const schema = schemaOf(taskFor(top, file, model));
  const { sections, byPath, keys, task } = schema;
  const values = new Map<string, unknown>();
  for (const [name, value] of top) {
    if (sections.includes(name)) {
      for (const [key, inner] of entriesOf(value, file, name)) values.set(`${name}.${key}`, inner);
    } else if (!byPath.has(name) && value !== null && typeof value === "object") {
      const hint = suggestion(name, sections) || `; the sections are ${sections.join(", ")}`;
      throw new InputError(`${file}: unknown section ${printable(name)}${hint}`);
    } else {
      values.set(name, value);
    }
  }
  for (const [path, value] of values) checkValue(schema, file, path, value);
  for (const [path, value] of task.implied?.(values) ?? []) values.set(path, value);
  const config = Object.fromEntries(
    [...keys].map(([field, key]) => [field, values.get(key.path) ?? key.default]),
  ) as unknown as C;
  checkTogether(file, config);
  return config;
}

/** The model that a file names, or `model`, or the next-location model. */
function taskFor(top: readonly [string, unknown][], file: string, model?: string): Task {
  const section = top.find(([name]) => name === "model")?.[1];
  const named = section !== null && typeof section === "object"
    ? (section as Record<string, unknown>).networkName
    : undefined;
  if (named === undefined || named === null) return findTask(model ?? "next_location")!;
  const task = typeof named === "string" ? findTask(named) : undefined;
  if (task === undefined) {
    const hint = typeof named === "string" ? suggestion(named, taskNames) : "";
    throw new InputError(
      `${file}: ${MODEL_PATH} is ${show(named)}; allowed: ${taskNames.join(" or ")}${hint}`,
    );
  }
  if (model !== undefined && findTask(model) !== task) {
    throw new InputError(`${file}: its model is ${task.name}, but --model says ${model}`);
  }
  return task;
}

/**
 * Reads a configuration file; see {@linkcode parseConfig}.
 *
 * @throws {InputError} If the file cannot be read or is not a valid configuration.
 */
export async function readConfig<C extends CommonConfig = Config>(
  path: string,
  model?: string,
): Promise<C> {
  let bytes: Uint8Array | undefined;
  try {
    bytes = await readWholeFile(path, 4 * MAX_CHARACTERS);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new InputError(`${path}: there is no such configuration file`);
    }
    throw new InputError(`${path}: cannot read the configuration: ${(error as Error).message}`);
  }
  if (bytes === undefined) throw new InputError(`${path}: ${TOO_LONG}`);
  let source: string;
  try {
    source = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InputError(`${path}: is no text in UTF-8`);
  }
  return parseConfig<C>(source, path, model);
}

/** What a command line changes in a configuration. */
export interface Overrides {
  /** Another seed. */
  readonly seed?: number;
  /** Another number of epochs at most. */
  readonly epochs?: number;
  /** Other data: a file, a folder, or a folder and the start of files' names. */
  readonly data?: string;
  /** Another answer to a loss that is not finite. */
  readonly onNan?: CommonConfig["onNan"];
  /** Any keys, as `section.key=value`, the value as in YAML. */
  readonly set?: readonly string[];
}

/**
 * The configuration with what a command line changes. Sizes of other data (such as `totalLocNum`)
 * stay as configured.
 *
 * @throws {InputError} If a value is not allowed.
 */
export function withOverrides<C extends CommonConfig>(config: C, overrides: Overrides): C {
  const { seed = config.seed, epochs = config.maxEpoch, onNan = config.onNan, data, set = [] } =
    overrides;
  const schema = schemaOf(taskOf(config));
  const check = (path: string, value: unknown): void =>
    checkValue(schema, "command line", path, value);
  check(COMMON_KEYS.seed.path, seed);
  check(COMMON_KEYS.maxEpoch.path, epochs);
  let changed: C = { ...config, seed, maxEpoch: epochs, onNan };
  for (const setting of set) {
    const [, path, text] = /^([^=]+)=(.*)$/s.exec(setting) ?? [];
    if (path === undefined) {
      throw new InputError(`command line: --set ${printable(setting)}: give section.key=value`);
    }
    const value = parseYaml(text, `command line: --set ${path}`);
    check(path, value);
    const field = [...schema.keys].find(([, key]) => key.path === path)?.[0];
    if (field === "networkName") throw new InputError("command line: the model is set by --model");
    if (field !== undefined) changed = { ...changed, [field]: value ?? undefined };
  }
  if (set.length > 0) checkTogether("command line", changed);
  if (data === undefined) return changed;
  if (data === "") throw new InputError("command line: --data is empty; give a folder or a prefix");
  const [, dataDir, datasetPrefix] = /^(.*?)\/?([^/]*)$/s.exec(data) as RegExpExecArray;
  const folder = dataDir !== "" ? dataDir : data.startsWith("/") ? "/" : ".";
  const prefix = datasetPrefix === "" ? undefined : datasetPrefix;
  return { ...changed, dataDir: folder, datasetPrefix: prefix, dataset: undefined };
}

/** Keys that may differ when a training goes on: they do not change what a step computes. */
const FREE: readonly string[] = [
  "dataDir",
  "datasetPrefix",
  "dataset",
  "maxEpoch",
  "printStep",
  "checkpointStep",
  "onNan",
];

/**
 * The keys in which two configurations compute different things, as `section.key` with both values.
 */
export function differences(
  ours: CommonConfig,
  theirs: CommonConfig,
): readonly { readonly path: string; readonly ours: unknown; readonly theirs: unknown }[] {
  const [a, b] = [ours, theirs] as unknown as Record<string, unknown>[];
  if (taskOf(ours) !== taskOf(theirs)) {
    return [{ path: MODEL_PATH, ours: ours.networkName, theirs: theirs.networkName }];
  }
  const same = (x: unknown, y: unknown): boolean =>
    x === y || JSON.stringify(x) === JSON.stringify(y);
  return [...schemaOf(taskOf(ours)).keys]
    .filter(([field]) => !FREE.includes(field) && !same(a[field], b[field]))
    .map(([field, { path }]) => ({ path, ours: a[field], theirs: b[field] }));
}

/** A short name of the data, as a run directory's name begins: `geolife`, `simulated`. */
export function dataName(config: CommonConfig): string {
  const lastPart = config.dataDir?.split("/").findLast((part) => part !== "" && part !== ".");
  const name = config.dataset ?? config.datasetPrefix ?? lastPart ?? taskOf(config).generated;
  return name.replaceAll(/[^\w.-]+/g, "_");
}

/** The configuration as YAML in the reference's form; {@linkcode parseConfig} gives it back. */
export function formatConfig(config: CommonConfig): string {
  const nested: Record<string, unknown> = {};
  for (const [field, { path }] of schemaOf(taskOf(config)).keys) {
    const value = (config as unknown as Record<string, unknown>)[field], section = sectionOf(path);
    if (value === undefined) continue;
    const inner = nested[section] as Record<string, unknown> | undefined;
    if (section === "") nested[path] = value;
    else nested[section] = { ...inner, [nameOf(path)]: value };
  }
  return stringify(nested);
}

/**
 * Every key of a model with its default, meaning and what is allowed, as YAML that is itself a
 * configuration file; keys without a default, or without effect here, are commented out.
 */
export function formatDefaults(task: Task = taskOf(defaultConfig)): string {
  const { keys, byPath, sections } = schemaOf(task);
  const lines = [`# Every key of a configuration of ${task.name}, with its default.`];
  const write = (indent: string, setting: string, path: string): void => {
    const { meaning, allowed } = byPath.get(path)!;
    lines.push(`${(indent + setting).padEnd(34)} # ${meaning} (${allowed.words})`);
  };
  const settings = (section: string): void => {
    const indent = section === "" ? "" : "  ";
    for (const { path, default: value } of keys.values()) {
      if (sectionOf(path) !== section) continue;
      const text = JSON.stringify(value)?.replace(/^"(\w+)"$/, "$1");
      write(indent, text === undefined ? `# ${nameOf(path)}:` : `${nameOf(path)}: ${text}`, path);
    }
    for (const { path } of task.ignoredKeys ?? []) {
      if (sectionOf(path) === section) write(indent, `# ${nameOf(path)}: no effect;`, path);
    }
  };
  settings("");
  for (const section of sections) {
    lines.push("", `${section}:`);
    settings(section);
  }
  return lines.join("\n") + "\n";
}

function sectionOf(path: string): string {
  return path.slice(0, Math.max(0, path.indexOf(".")));
}

function nameOf(path: string): string {
  return path.slice(path.indexOf(".") + 1);
}

function parseYaml(source: string, file: string): unknown {
  if (source.length > MAX_CHARACTERS) throw new InputError(`${file}: ${TOO_LONG}`);
  try {
    return parse(source);
  } catch (error) {
    const [place] = (error as Error).message.split("\n");
    throw new InputError(`${file}: is not valid YAML: ${printable(place.replace(/:$/, ""), 200)}`);
  }
}

/** The entries of a YAML mapping; none for an empty one. */
function entriesOf(value: unknown, file: string, what: string): [string, unknown][] {
  if (value === null) return [];
  if (typeof value !== "object" || Array.isArray(value) || value instanceof Date) {
    throw new InputError(`${file}: ${what} holds ${show(value)}; it must hold keys with values`);
  }
  return Object.entries(value as Record<string, unknown>);
}

function checkValue(schema: Schema, file: string, path: string, value: unknown): void {
  const { task, keys, byPath } = schema;
  const key = byPath.get(path);
  if (key === undefined) {
    throw new InputError(`${file}: unknown key ${printable(path)}${placeFor(schema, path)}`);
  }
  const { allowed, meaning } = key;
  const optional = [...keys.values()].some((one) => one.path === path && one.default === undefined);
  if (allowed.test(value) || optional && value === null) return;
  const reason = task.ignoredKeys?.some((other) => other.path === path) ? ` (${meaning})` : "";
  throw new InputError(`${file}: ${path} is ${show(value)}; allowed: ${allowed.words}${reason}`);
}

/** Where an unknown key may belong: its section, another model, or the key it is a slip of. */
function placeFor({ task, byPath, sections }: Schema, path: string): string {
  const name = nameOf(path);
  const elsewhere = [...byPath.keys()].find((known) => nameOf(known) === name);
  if (elsewhere !== undefined) return `; it belongs at ${elsewhere}`;
  const near = suggestion(path, [...byPath.keys(), ...sections]);
  if (near !== "") return near;
  const other = tasks.find((one) => schemaOf(one).byPath.has(path));
  if (other !== undefined) return `; it is a key of ${other.name}, and the model is ${task.name}`;
  const option = task.name === "next_location" ? "" : ` --model ${task.name}`;
  return `; \`deno task train${option} --defaults\` lists the keys`;
}

function checkTogether(file: string, config: CommonConfig): void {
  if (config.datasetPrefix !== undefined && config.dataDir === undefined) {
    throw new InputError(
      `${file}: data.dataset_prefix needs data.data_dir, the folder of the files; give both or neither`,
    );
  }
  if (config.numWarmupEpochs > config.numTrainingEpochs) {
    throw new InputError(
      `${file}: optimiser.num_warmup_epochs is ${config.numWarmupEpochs}; ` +
        `allowed: at most num_training_epochs, ${config.numTrainingEpochs}`,
    );
  }
  const contradiction = taskOf(config).contradiction?.(config);
  if (contradiction !== undefined) throw new InputError(`${file}: ${contradiction}`);
}
