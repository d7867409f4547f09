/**
 * Values and texts from files as they appear in messages: on one line, short, and with bounded work
 * even where the value is huge, deeply nested or holds itself.
 *
 * @module
 */

/**
 * Text with control characters, line breaks and invisible characters shown as `?`.
 *
 * @param limit Characters that are kept; longer texts end in `...`.
 */
export function printable(text: string, limit = 80): string {
  const shown = text.length > limit ? `${text.slice(0, limit)}...` : text;
  return shown.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
}

const ITEMS = 8;

/** A value in the style of JSON, with what is long or nested left out: `[1,"a",[...],{...}]`. */
export function describe(value: unknown): string {
  return printable(shorten(value, 1), 60);
}

function shorten(value: unknown, depth: number): string {
  if (typeof value === "string") return JSON.stringify(printable(value, 40));
  if (value instanceof Date) return JSON.stringify(value);
  if (typeof value !== "object" || value === null) return String(value);
  if (!Array.isArray(value)) return "{...}";
  if (depth === 0) return "[...]";
  const items = value.slice(0, ITEMS).map((item) => shorten(item, depth - 1));
  return `[${[...items, ...(value.length > ITEMS ? ["..."] : [])].join(",")}]`;
}
