/**
 * The benchmark's figures and how they are shown. Pure.
 *
 * @module
 */

/** What a peer reached in an item. */
export interface Measured {
  /** Median over the rounds, ms a unit of work. */
  readonly ms: number;
  /** Mean of each round. */
  readonly rounds: readonly number[];
  /** Every sample of every round. */
  readonly samples: readonly (readonly number[])[];
  /** Only ends of rounds were waited for. */
  readonly batched: boolean;
  /** Device memory in use, where known. */
  readonly bytes?: number;
}

/** Why there is no figure. */
export interface Missing {
  readonly skip: string;
}

/** A peer's result in an item. */
export type Figure = Measured | Missing;

/** A line of the table. */
export interface Row {
  readonly name: string;
  /** Visits of a unit of work. */
  readonly tokens: number;
  /** Arithmetic of a unit of work, in 10^9 operations. */
  readonly gflop: number;
  /** By peer. */
  readonly figures: Readonly<Record<string, Figure>>;
}

/** A column: peers of which a row shows the fastest. */
export interface Column {
  readonly title: string;
  readonly peers: readonly string[];
}

/** Key of this library among the peers. */
export const OURS = "gatewise";

/** Whether a figure was measured. */
export function isMeasured(figure: Figure | undefined): figure is Measured {
  return figure !== undefined && "ms" in figure;
}

/** The middle of numbers, or the mean of the two in the middle. */
export function median(numbers: readonly number[]): number {
  if (numbers.length === 0) throw new RangeError("Cannot take the median of no numbers");
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** The mean of numbers. */
export function mean(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0) / numbers.length;
}

/** A figure of the samples of each round. */
export function figureOf(
  samples: readonly (readonly number[])[],
  batched: boolean,
  bytes?: number,
): Measured {
  const rounds = samples.map(mean);
  return { ms: median(rounds), rounds, samples, batched, bytes };
}

/** How often a peer does what, after a first cycle that took so long. */
export interface RunPlan {
  /** Units of work in a round: whole cycles over the batches. */
  readonly steps: number;
  /** Rounds; none where the first cycle has to do. */
  readonly rounds: number;
}

/**
 * Rounds long enough that one wait at the end does not matter, but all of them within a budget.
 *
 * @param cycle Batches of a cycle.
 * @param cycleMs What the first cycle took.
 */
export function planRuns(
  cycle: number,
  cycleMs: number,
  { rounds, roundMs, budgetMs }: { rounds: number; roundMs: number; budgetMs: number },
): RunPlan {
  if (cycleMs > budgetMs / 2) return { steps: cycle, rounds: 0 };
  const cycles = Math.min(1000, Math.max(1, Math.ceil(roundMs / Math.max(cycleMs, 0.01))));
  const most = Math.floor(budgetMs / (cycles * Math.max(cycleMs, 0.01)));
  return { steps: cycles * cycle, rounds: Math.max(1, Math.min(rounds, most)) };
}

/** The fastest of a column's peers. */
export function bestOf(
  row: Row,
  { peers }: Column,
): { readonly peer: string; readonly figure: Measured } | undefined {
  return peers.flatMap((peer) => {
    const figure = row.figures[peer];
    return isMeasured(figure) ? [{ peer, figure }] : [];
  }).sort((a, b) => a.figure.ms - b.figure.ms)[0];
}

/** How many times as long as this library the fastest of a column's peers takes. */
export function ratioOf(row: Row, column: Column): number | undefined {
  const ours = row.figures[OURS], best = bestOf(row, column);
  return isMeasured(ours) && best !== undefined ? best.figure.ms / ours.ms : undefined;
}

/** Three significant digits or whole numbers, for columns of figures. */
export function formatNumber(value: number): string {
  if (value === 0) return "0";
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}

/** Lines of cells, the first column to the left, the others to the right. */
export function alignTable(lines: readonly (readonly string[])[]): string {
  const widths = lines[0].map((_, i) => Math.max(...lines.map((cells) => cells[i].length)));
  return lines.map((cells) =>
    cells.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))
      .join("  ").trimEnd()
  ).join("\n");
}

/**
 * The table: a row an item, this library's time and arithmetic rate, and each peer's time and ratio.
 * A number after `t` is the number of threads that was best.
 */
export function formatRows(rows: readonly Row[], columns: readonly Column[]): string {
  const head = [
    "work",
    "Gatewise ms",
    "GFLOPS",
    ...columns.flatMap(({ title }) => [`${title} ms`, "ratio"]),
  ];
  const lines = rows.map((row) => {
    const ours = row.figures[OURS];
    return [
      row.name,
      isMeasured(ours) ? formatNumber(ours.ms) : "-",
      isMeasured(ours) ? formatNumber(row.gflop / ours.ms * 1000) : "-",
      ...columns.flatMap((column) => {
        const best = bestOf(row, column);
        const ratio = ratioOf(row, column);
        const threads = best && column.peers.length > 1 ? ` t${best.peer.split("-").at(-1)}` : "";
        return [
          best ? formatNumber(best.figure.ms) + threads : "-",
          ratio === undefined ? "-" : `${ratio.toFixed(2)}x`,
        ];
      }),
    ];
  });
  return alignTable([head, ...lines]);
}

/** Reasons for missing figures, each once for each peer, with the rows that it left out. */
export function formatMissing(
  rows: readonly Row[],
  names: Readonly<Record<string, string>>,
): string {
  const reasons = new Map<string, string[]>();
  for (const row of rows) {
    for (const [peer, figure] of Object.entries(row.figures)) {
      if (isMeasured(figure)) continue;
      const key = `${names[peer] ?? peer}: ${figure.skip}`;
      reasons.set(key, [...reasons.get(key) ?? [], row.name]);
    }
  }
  return [...reasons].map(([reason, which]) =>
    which.length === rows.length ? reason : `${reason} [${which.join("; ")}]`
  ).join("\n");
}

/** Growth of the time beside growth of the work. */
export interface Scaling {
  readonly from: string;
  readonly to: string;
  /** Time a visit at `to` over time a visit at `from`: 1 where time grows as the work does. */
  readonly perToken: number;
}

/** Scaling of this library from T=16 to 1024, and from B=32 to 512. */
export function scalings(rows: readonly Row[]): readonly Scaling[] {
  const pairs = rows.flatMap((from) =>
    [[/T=16, H/, "T=1024, H"], [/^train step, (.*)B=32$/, "train step, $1B=512"]].flatMap(
      ([pattern, replacement]) => {
        const name = from.name.replace(pattern as RegExp, replacement as string);
        const to = rows.find((row) => row.name === name);
        return name === from.name || to === undefined ? [] : [[from, to] as const];
      },
    )
  );
  return pairs.flatMap(([from, to]) => {
    const [a, b] = [from.figures[OURS], to.figures[OURS]];
    return isMeasured(a) && isMeasured(b)
      ? [{ from: from.name, to: to.name, perToken: b.ms / to.tokens / (a.ms / from.tokens) }]
      : [];
  });
}
