import { type Content, type Html, html } from "./html.ts";

/** A kind of mark and what it stands for. */
export interface KeyEntry {
  /** Its colour, a name of the page's style: `model`. */
  readonly mark: string;
  /** A line, dashed or not; a dot if undefined. */
  readonly dash?: boolean | string;
  /** Whether a dot is only a ring. */
  readonly ring?: boolean;
  /** What it stands for. */
  readonly label: Content;
}

/** What the marks of a drawing stand for, told apart by colour and by form. */
export function key(entries: readonly KeyEntry[]): Html {
  return html`<ul class="key">${
    entries.map(({ mark, dash, ring = false, label }) => {
      const color = `var(--${mark})`;
      const dashes = dash === true ? "4 3" : dash === false ? "" : dash ?? "";
      const form = dash === undefined
        ? html`
          <circle cx="12" cy="7" r="5" stroke="${color}" stroke-width="2" fill="${ring
            ? "none"
            : color}" />
        `
        : html`
          <path d="M0 7H24" stroke="${color}" stroke-width="2.5" stroke-dasharray="${dashes}" />
        `;
      return html`<li><svg width="24" height="14" viewBox="0 0 24 14" aria-hidden="true">${form}</svg>${label}</li>`;
    })
  }</ul>`;
}
