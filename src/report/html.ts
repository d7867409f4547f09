/**
 * HTML as values: everything that is put into a template is escaped unless it is HTML itself.
 *
 * @module
 */

/** A piece of HTML. */
export interface Html {
  /** Its text. */
  readonly html: string;
}

/** What a template takes: texts and numbers are escaped, nothing is made of `undefined` and `false`. */
export type Content = Html | string | number | undefined | false | readonly Content[];

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function textOf(content: Content): string {
  if (content === undefined || content === false) return "";
  if (typeof content === "object") {
    return "html" in content ? content.html : content.map(textOf).join("");
  }
  return String(content).replace(/[&<>"']/g, (character) => ENTITIES[character]);
}

/** A template of HTML: `` html`<p>${text}</p>` ``. */
export function html(parts: TemplateStringsArray, ...contents: readonly Content[]): Html {
  return { html: String.raw({ raw: parts }, ...contents.map(textOf)) };
}

/** HTML that is known to be well-formed, such as a drawing. */
export function raw(text: string): Html {
  return { html: text };
}

/** A name of the program's, which may be broken after its dots and underscores. */
export function code(name: string): Html {
  return html`<code>${name.split(/(?<=[._])/).map((part) => html`${part}<wbr>`)}</code>`;
}

/** A column of a table. */
export interface Column {
  /** Its heading. */
  readonly heading: Content;
  /** Whether it holds words, which stand at the left; default numbers, at the right. */
  readonly words?: boolean;
}

/**
 * A table that scrolls by itself where it is too wide. The first cell of a row is its heading.
 *
 * @param caption What it shows, for everyone.
 */
export function table(
  caption: string,
  columns: readonly Column[],
  rows: readonly (readonly Content[])[],
): Html {
  const kind = (i: number): string => columns[i].words ? "words" : "number";
  return html`
    <div class="scroll" role="region" aria-label="${caption}" tabindex="0">
      <table>
        <caption>${caption}</caption>
        <thead>
          <tr>${columns.map(({ heading }, i) =>
            html`<th scope="col" class="${kind(i)}">${heading}</th>`
          )}</tr>
        </thead>
        <tbody>${rows.map((row) =>
          html`<tr>${
            row.map((cell, i) =>
              i === 0
                ? html`<th scope="row" class="${kind(i)}">${cell}</th>`
                : html`<td class="${kind(i)}">${cell}</td>`
            )
          }</tr>\n`
        )}</tbody>
      </table>
    </div>
  `;
}

/** A drawing with its title, a sentence on what it shows, and its numbers to open. */
export function figure(
  { title, note, drawing, numbers, wide = false }: {
    readonly title: string;
    readonly note?: Content;
    readonly drawing: Content;
    readonly numbers?: Content;
    readonly wide?: boolean;
  },
): Html {
  return html`<figure${wide && raw(' class="wide"')}>
<figcaption><h3>${title}</h3>${note !== undefined && html`<p>${note}</p>`}</figcaption>
${drawing}
${
    numbers !== undefined &&
    html`<details><summary>Numbers<span class="hidden"> of: ${title}</span></summary>${numbers}</details>`
  }</figure>\n`;
}
