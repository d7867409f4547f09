/**
 * Drawings as SVG, made ahead of time.
 *
 * Observable Plot draws them: of the kept libraries it is the one whose SVG takes colours as CSS
 * variables, so that one drawing serves light, dark and print; Vega and ECharts write colours out.
 * Plot needs a document, and linkedom's is a tenth of jsdom's size and needs no permission.
 *
 * @module
 */
import { plot, type PlotOptions } from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { type Html, raw } from "./html.ts";

/** What is used of a document; the compiler is not told of browsers. */
interface Drawn {
  readonly outerHTML: string;
  readonly querySelectorAll: (selector: string) => Iterable<{ readonly remove: () => void }>;
}

const { document } = parseHTML("<!doctype html><html></html>") as unknown as {
  readonly document: NonNullable<PlotOptions["document"]>;
};

/** Colours of what is drawn, as the page's style sets them. */
export const ink = {
  /** The model. */
  model: "var(--model)",
  /** Guessing without a model. */
  guess: "var(--guess)",
  /** Lines that help reading. */
  rule: "var(--rule)",
  /** What stays behind. */
  muted: "var(--muted)",
  /** Words. */
  text: "var(--ink)",
  /** The page. */
  paper: "var(--paper)",
} as const;

/** Colours and dashes of runs side by side: told apart by both. */
export const runStyles: readonly { readonly color: string; readonly dash: string }[] = [
  { color: "var(--run-1)", dash: "" },
  { color: "var(--run-2)", dash: "6 3" },
  { color: "var(--run-3)", dash: "2 3" },
  { color: "var(--run-4)", dash: "8 3 2 3" },
  { color: "var(--run-5)", dash: "12 4" },
];

/**
 * Draws a plot.
 *
 * @param label What it shows, for those who do not see it.
 */
export function draw(label: string, options: PlotOptions): Html {
  const drawn = plot({
    document,
    width: 440,
    height: 260,
    className: "plot",
    style: { fontSize: "13px" },
    marginTop: 34,
    marginBottom: 46,
    ...options,
    x: { labelAnchor: "center", labelOffset: 42, labelArrow: "none", ...options.x },
    y: { labelArrow: "none", ...options.y },
  }) as unknown as Drawn;
  // The page has a style of its own.
  for (const style of drawn.querySelectorAll("style")) style.remove();
  // A hundredth of a pixel is enough, and half of the text.
  const svg = drawn.outerHTML.replace(
    /<[^>]+>/g,
    (tag) => tag.replace(/\d+\.\d{2,}/g, (n) => String(Number(Number(n).toFixed(2)))),
  );
  const name = label.replace(/[&<>"]/g, " ");
  return raw(svg.replace("<svg ", `<svg role="img" aria-label="${name}" `));
}
