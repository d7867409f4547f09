import { parseArgs as tokenize } from "node:util";

type Names = string | undefined;
type Flags = boolean | string | undefined;
type Defaults = Readonly<Record<string, unknown>> | undefined;
type Aliases = Readonly<Record<string, string | ReadonlyArray<string>>> | undefined;
type Id<T> = { [K in keyof T]: T[K] };

/** Type of option `K` with values `T`: an array if collected, also `false` if negatable. */
type Value<K, T, C, N> = (K extends C ? T[] : T) | (K extends N ? false : never);

/** String options may be missing; booleans are false and collected options are empty by default. */
type Options<B, S, C, N> =
  & { [K in Exclude<Extract<S, string>, C>]?: Value<K, string, C, N> }
  & { [K in Extract<B, string>]: Value<K, boolean, C, N> }
  & { [K in Extract<S & C, string>]: Value<K, string, C, N> }
  & { [K in Exclude<Extract<C, string>, B | S>]: Value<K, unknown, C, N> };

type WithDefaults<T, D> = D extends Record<string, unknown> ?
    & Omit<T, keyof D>
    & { [K in keyof D]: D[K] | (K extends keyof T ? NonNullable<T[K]> : unknown) }
  : T;

type NameAndAliases<K, A> = K extends keyof A
  ? A[K] extends string ? K | A[K] : A[K] extends ReadonlyArray<infer Other> ? K | Other : K
  : K;

type WithAliases<T, A> = { [K in keyof T as NameAndAliases<K, A> & PropertyKey]: T[K] };

/** The options' values: untyped unless some option is declared. */
type Values<B, S, C, N, D, A> = [Extract<B | S | C, string>] extends [never]
  // deno-lint-ignore no-explicit-any -- as in @std/cli
  ? Record<string, any>
  : Record<string, unknown> & WithAliases<WithDefaults<Options<B, S, C, N>, D>, A>;

type DoubleDash = {
  /** The arguments after `--`. */
  "--"?: Array<string>;
};

/** What {@linkcode parseArgs} gives. */
export type Args<
  // deno-lint-ignore no-explicit-any -- as in @std/cli
  TArgs extends Record<string, unknown> = Record<string, any>,
  TDoubleDash extends boolean | undefined = undefined,
> = Id<
  & TArgs
  & {
    /** The arguments that belong to no option. */
    _: Array<string | number>;
  }
  & (boolean extends TDoubleDash ? DoubleDash
    : true extends TDoubleDash ? Required<DoubleDash>
    : Record<never, never>)
>;

/** Options of {@linkcode parseArgs}. */
export interface ParseOptions<
  TBooleans extends Flags = Flags,
  TStrings extends Names = Names,
  TCollectable extends Names = Names,
  TNegatable extends Names = Names,
  TDefault extends Defaults = Defaults,
  TAliases extends Aliases = Aliases,
  TDoubleDash extends boolean | undefined = boolean | undefined,
> {
  /** Whether what follows `--` is kept apart, in `"--"`, instead of in `_`. */
  "--"?: TDoubleDash;
  /** Other names of an option. */
  alias?: TAliases;
  /** Options without a value, or `true`: all that are written without `=`. */
  boolean?: TBooleans | ReadonlyArray<Extract<TBooleans, string>>;
  /** Values of options that are not given. */
  default?: TDefault;
  /** Whether everything after the first argument that is no option goes to `_`. */
  stopEarly?: boolean;
  /** Options whose values stay strings. */
  string?: TStrings | ReadonlyArray<Extract<TStrings, string>>;
  /** Options whose values are gathered in an array; of others the last one counts. */
  collect?: TCollectable | ReadonlyArray<Extract<TCollectable, string>>;
  /** Options that `--no-name` sets to false. */
  negatable?: TNegatable | ReadonlyArray<Extract<TNegatable, string>>;
  /** Called for what is not declared above; `false` drops it. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

const listOf = (names: unknown): string[] =>
  [names].flat().filter((name): name is string => typeof name === "string" && name !== "");

const isNumber = (text: string): boolean => /\S/.test(text) && Number.isFinite(Number(text));

/**
 * Reads command-line arguments.
 *
 * @param args The arguments, as in `Deno.args`.
 * @param options Which options there are, and of what kind.
 * @returns Each option's value by name and alias, and the other arguments in `_`.
 */
export function parseArgs<
  TArgs extends Values<TBooleans, TStrings, TCollectable, TNegatable, TDefaults, TAliases>,
  TDoubleDash extends boolean | undefined = undefined,
  TBooleans extends Flags = undefined,
  TStrings extends Names = undefined,
  TCollectable extends Names = undefined,
  TNegatable extends Names = undefined,
  TDefaults extends Defaults = undefined,
  const TAliases extends Aliases = undefined,
>(
  args: string[],
  options: ParseOptions<
    TBooleans,
    TStrings,
    TCollectable,
    TNegatable,
    TDefaults,
    TAliases,
    TDoubleDash
  > = {},
): Args<TArgs, TDoubleDash> {
  const { unknown = () => true } = options;
  const groups = Object.entries(options.alias ?? {}).map(([name, others]) => [
    name,
    ...listOf(others),
  ]);
  const namesOf = (name: string): string[] =>
    groups.find((group) => group.includes(name)) ?? [name];
  const withAliases = (names: unknown): Set<string> => new Set(listOf(names).flatMap(namesOf));
  const booleans = withAliases(options.boolean);
  const strings = withAliases(options.string);
  const collected = withAliases(options.collect);
  const negatable = withAliases(options.negatable);

  const values: Record<string, unknown> = {};
  const others: Array<string | number> = [];
  const set = (name: string, value: unknown): void => {
    for (const each of namesOf(name)) values[each] = value;
  };

  const end = args.indexOf("--");
  const rest = end < 0 ? [] : args.slice(end + 1);
  // Declaring nothing keeps each option and the argument after it apart: whether that argument is
  // the option's value is decided here, by @std/cli's rules.
  const { tokens } = tokenize({
    args: end < 0 ? args : args.slice(0, end),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i];
    if (token.kind === "option-terminator") continue;
    // The index of a word is off after `-a-b`, which the tokenizer takes apart as `-a -- -b`.
    const arg = token.kind === "positional" ? token.value : args[token.index];
    if (token.kind === "positional") {
      if (options.stopEarly) {
        others.push(...args.slice(token.index, end < 0 ? undefined : end));
        break;
      }
      if (unknown(arg) !== false) {
        others.push(isNumber(arg) && !strings.has("_") ? Number(arg) : arg);
      }
      continue;
    }

    const isLong = token.rawName.startsWith("--");
    const hasValue = token.inlineValue && token.value !== "";
    const isNegated = isLong && !hasValue && token.name.startsWith("no-") &&
      negatable.has(token.name.slice(3));
    // `--name=` is an option of that odd name, which `unknown` can refuse.
    const name = isNegated
      ? token.name.slice(3)
      : token.inlineValue && !hasValue
      ? `${token.name}=`
      : token.name;
    const isBoolean = booleans.has(name) || (isLong && options.boolean === true);
    const next = tokens[i + 1];
    let value: unknown = strings.has(name) ? "" : true;
    if (isNegated) {
      value = false;
    } else if (hasValue) {
      value = booleans.has(name) ? token.value !== "false" : token.value;
    } else if (
      next?.kind === "positional" && next.value !== "" && (!isLong || next.value !== "-")
    ) {
      const isWord = next.value === "true" || next.value === "false";
      if (!isBoolean || isWord) {
        value = isBoolean ? next.value === "true" : next.value;
        i++;
      }
    }

    const isDeclared = booleans.has(name) || strings.has(name) || namesOf(name).length > 1 ||
      (options.boolean === true && isLong && !arg.includes("="));
    if (!isDeclared && unknown(arg, name, value) === false) continue;
    if (typeof value === "string" && !strings.has(name) && isNumber(value)) value = Number(value);
    const isCollected = collected.has(name) && !isNegated;
    set(name, isCollected ? [...[values[name] ?? []].flat(), value] : value);
  }

  for (const [name, value] of Object.entries(options.default ?? {})) {
    if (!Object.hasOwn(values, name)) set(name, value);
  }
  for (const name of booleans) values[name] ??= collected.has(name) ? [] : false;
  for (const name of strings) if (collected.has(name)) values[name] ??= [];

  const all = options["--"]
    ? { ...values, _: others, "--": rest }
    : { ...values, _: [...others, ...rest] };
  return all as unknown as Args<TArgs, TDoubleDash>;
}
