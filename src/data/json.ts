import { describe, printable } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";

/**
 * Parses JSON from outside.
 *
 * @param where Put before the message of an error: `train.jsonl: line 12`.
 * @throws {InputError} If it is none; NaN and infinite numbers are named with their key.
 */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // Python's json writes these, though JSON has no word for them.
    const odd = /[[,:]\s*(NaN|-?Infinity)\b/.exec(text);
    const key = odd === null ? undefined : /"(\w+)"[^"]*$/.exec(text.slice(0, odd.index + 1))?.[1];
    throw new InputError(
      odd === null
        ? `${where}: no JSON: ${printable((error as Error).message, 120)}`
        : `${where}: ${key ?? "a value"} holds ${odd[1]}: it must be a finite number`,
    );
  }
}

/**
 * What an object parsed from JSON holds under a key, `undefined` where nothing.
 *
 * @param what The object should be, for the error.
 * @throws {InputError} If the value is no object.
 */
export function jsonFields(
  value: unknown,
  where: string,
  what: string,
): (key: string) => unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InputError(`${where}: ${describe(value)} is no JSON object with ${what}`);
  }
  const record = value as Readonly<Record<string, unknown>>;
  return (key) => Object.hasOwn(record, key) ? record[key] : undefined;
}
