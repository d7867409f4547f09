/**
 * Numbers as the report writes them.
 *
 * @module
 */

/** The minus sign, as wide as a plus. */
const MINUS = "\u2212";

/** With so many decimals; an en dash where there is no number. */
export function decimal(value: number | undefined, digits = 2): string {
  if (value === undefined || !Number.isFinite(value)) return "\u2013";
  return value.toFixed(digits).replace("-", MINUS);
}

/** A difference: with its sign. */
export function signed(value: number, digits = 2): string {
  const text = decimal(value, digits);
  return value > 0 ? `+${text}` : text;
}

/** A whole number with separated thousands. */
export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}

/** `1 sample`, `2 samples`. */
export function counted(count: number, what: string): string {
  return `${grouped(count)} ${what}${count === 1 ? "" : "s"}`;
}

/** A time span: `45 s`, `3 min 5 s`, `1 h 2 min`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${minutes} min ${whole % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Metres or kilometres with two digits that count. */
export function length(metres: number): string {
  if (metres < 1000) return `${Math.round(metres)} m`;
  const kilometres = metres / 1000;
  return `${kilometres < 10 ? Number(kilometres.toFixed(1)) : Math.round(kilometres)} km`;
}
