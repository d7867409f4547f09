import { parseArgs } from "@std/cli/parse-args";
import { printable } from "../core/describe.ts";
import { suggestion } from "../core/suggestion.ts";

/** One option of a command. */
export interface Option {
  /** What follows it: a text, a whole number, a number, or nothing (`flag`). */
  readonly type: "text" | "whole" | "number" | "flag";
  /** What it does, in a few words. */
  readonly meaning: string;
  /** Word for its value in the help: `FILE`. Default `TEXT` or `N`. */
  readonly value?: string;
  /** One-letter form. */
  readonly short?: string;
  /** Least value allowed. */
  readonly min?: number;
  /** Greatest value allowed. */
  readonly max?: number;
  /** The texts allowed. */
  readonly choices?: readonly string[];
  /** Whether several values may follow it, and whether it may be given several times. */
  readonly many?: boolean;
  /** Its value when left out. */
  readonly default?: string | number;
}

/** A command and its options; `--help` and `--debug` are added to every one. */
export interface Command {
  /** How it is started: `deno task train`. */
  readonly name: string;
  /** What it does, a sentence or a few lines. */
  readonly meaning: string;
  /** Its options by name, without dashes. */
  readonly options: Readonly<Record<string, Option>>;
  /** Complete command lines. */
  readonly examples?: readonly string[];
}

/** The value of an option: a list if it may be given several times; undefined only if it may be left out and has no default. */
export type OptionValue<O extends Option> = O["type"] extends "flag" ? boolean
  : O extends { readonly many: true } ? readonly string[]
  :
    | (O extends { readonly choices: readonly (infer Choice)[] } ? Choice
      : O["type"] extends "text" ? string
      : number)
    | (O extends { readonly default: string | number } ? never : undefined);

/** The values of a command's options. */
export type Options<C extends Command> =
  & { readonly [Name in keyof C["options"]]: OptionValue<C["options"][Name]> }
  & { readonly help: boolean; readonly debug: boolean };

/** A command line that does not fit the command. Commands print it and exit with code 2. */
export class UsageError extends Error {
  /** Tells it from other errors. */
  override readonly name = "UsageError";
}

const COMMON: Readonly<Record<string, Option>> = {
  help: { type: "flag", short: "h", meaning: "print this text" },
  debug: { type: "flag", meaning: "print the stack of an unexpected error" },
};

/**
 * The values of the options in `args`. After `--help` nothing is checked.
 *
 * @throws {UsageError} If an option is unknown, its value is missing or not allowed, or something
 * that is no option is given.
 */
export function parseOptions<const C extends Command>(
  args: readonly string[],
  command: C,
): Options<C> {
  const options: Readonly<Record<string, Option>> = { ...command.options, ...COMMON };
  const names = Object.keys(options);
  const flags = names.filter((name) => options[name].type === "flag");
  const problems: string[] = [];
  const many = names.filter((name) => options[name].many);
  const single = repeatNames(args, many);
  // `--input -` means standard input; the parser would take the dash for an option.
  const joined = single.flatMap((arg, n) =>
    arg === "-" && isBareOption(single[n - 1])
      ? []
      : single[n + 1] === "-" && isBareOption(arg)
      ? [`${arg}=-`]
      : [arg]
  );
  const parsed: Record<string, unknown> = parseArgs(joined, {
    boolean: flags,
    string: ["_", ...names.filter((name) => !flags.includes(name))],
    collect: many,
    alias: Object.fromEntries(
      names.flatMap((name) => options[name].short ? [[name, options[name].short]] : []),
    ),
    unknown: (arg: string) => {
      problems.push(describeUnknown(arg, names));
      return false;
    },
  });
  if (parsed.help === true) {
    return { ...Object.fromEntries(names.map((name) => [name, undefined])), help: true } as never;
  }
  problems.push(...(parsed._ as unknown[]).map((arg) => describeUnknown(String(arg), names)));
  if (problems.length > 0) throw new UsageError(problems[0]);
  return Object.fromEntries(
    names.map((name) => [name, valueOf(name, options[name], parsed[name])]),
  ) as Options<C>;
}

/** `--compare a b` as `--compare a --compare b`, which the parser collects. */
function repeatNames(args: readonly string[], many: readonly string[]): readonly string[] {
  let [open, first] = ["", false];
  return args.flatMap((arg) => {
    if (arg.startsWith("-")) {
      [open, first] = [many.includes(arg.slice(2)) ? arg : "", true];
      return [arg];
    }
    if (open === "" || first) {
      first = false;
      return [arg];
    }
    return [open, arg];
  });
}

function isBareOption(arg: string | undefined): boolean {
  return arg !== undefined && arg.startsWith("-") && !arg.includes("=") && arg !== "-" &&
    arg !== "--";
}

function describeUnknown(arg: string, names: readonly string[]): string {
  if (!arg.startsWith("-")) {
    return `unexpected argument ${printable(arg)}; --help lists the options`;
  }
  const [option] = arg.split("=");
  // The parser takes `--out=` for an option of that odd name.
  if (names.includes(option.slice(2))) return `${option} needs a value after the =`;
  const near = suggestion(option, names.map((name) => `--${name}`));
  return `unknown option ${printable(option)}${near || "; --help lists the options"}`;
}

function valueOf(name: string, option: Option, given: unknown): unknown {
  if (option.type === "flag") return given === true;
  if (option.many) {
    const values = given as readonly string[];
    if (values.includes("")) {
      throw new UsageError(`--${name} needs a value: ${usageOf(name, option)}`);
    }
    return values;
  }
  if (given === undefined) return option.default;
  if (given === "") throw new UsageError(`--${name} needs a value: ${usageOf(name, option)}`);
  // An option that is given twice: the last one counts.
  const value = String(Array.isArray(given) ? given[given.length - 1] : given);
  const complain = (): never => {
    throw new UsageError(`--${name} is ${printable(value)}; allowed: ${allowedFor(option)}`);
  };
  if (option.type === "text") {
    return option.choices === undefined || option.choices.includes(value) ? value : complain();
  }
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value) ? Number(value) : NaN;
  const { min = -Infinity, max = Infinity } = option;
  const fits = number >= min && number <= max && Number.isFinite(number) &&
    (option.type === "number" || Number.isSafeInteger(number));
  return fits ? number : complain();
}

function allowedFor(option: Option): string {
  if (option.choices !== undefined) return option.choices.join(" or ");
  const least = option.min === undefined ? "" : ` from ${option.min}`;
  const most = option.max === undefined ? "" : ` to ${option.max}`;
  return `a ${option.type === "whole" ? "whole number" : "number"}${least}${most}`;
}

function usageOf(name: string, option: Option): string {
  if (option.type === "flag") return `--${name}`;
  const value = option.value ?? option.choices?.join("|") ??
    (option.type === "text" ? "TEXT" : "N");
  return `--${name} ${value}${option.many ? "..." : ""}`;
}

/** The text that `--help` prints. Ends with a line break. */
export function formatHelp(command: Command): string {
  const options: Readonly<Record<string, Option>> = { ...command.options, ...COMMON };
  const rows = Object.entries(options).map(([name, option]) => ({
    left: `${option.short ? `-${option.short}, ` : ""}${usageOf(name, option)}`,
    right: option.meaning +
      (option.default === undefined ? "" : ` (default ${option.default})`),
  }));
  const width = Math.max(...rows.map(({ left }) => left.length));
  const examples = command.examples ?? [];
  return [
    `Usage: ${command.name} [options]`,
    "",
    command.meaning,
    "",
    "Options:",
    ...rows.map(({ left, right }) => `  ${left.padEnd(width)}  ${right}`),
    ...(examples.length > 0 ? ["", "Examples:", ...examples.map((line) => `  ${line}`)] : []),
    "",
  ].join("\n");
}
