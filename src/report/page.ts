import { type Content, type Html, html, raw } from "./html.ts";
import { style } from "./style.ts";

/** A part of a report. */
export interface Section {
  /** Its anchor. */
  readonly id: string;
  /** Its heading. */
  readonly title: string;
  /** What it holds. */
  readonly content: Content;
}

/** What a report holds. */
export interface Page {
  /** Of the window. */
  readonly title: string;
  /** At the top: what was judged, and how it came out. */
  readonly header: Content;
  /** Its sections in their order. */
  readonly sections: readonly Section[];
  /** At the end. */
  readonly footer: Content;
}

/** A page as one file: no script, nothing to fetch. */
export function formatPage({ title, header, sections, footer }: Page): string {
  const page: Html = html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <meta http-equiv="Content-Security-Policy"
          content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
        <link rel="icon" href="data:,">
        <title>${title}</title>
        <style>${raw(style)}</style>
      </head>
      <body>
        <a class="skip" href="#main">Skip to the results</a>
        <header>${header}</header>
        <nav aria-label="On this page">
          <ul>${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul>
        </nav>
        <main id="main" tabindex="-1">
    ${sections.map(({ id, title, content }) =>
      html`<section id="${id}" aria-labelledby="${id}-title">
<h2 id="${id}-title">${title}</h2>
${content}
</section>\n`
    )}</main>
        <footer>${footer}</footer>
      </body>
    </html>
  `;
  return page.html;
}
