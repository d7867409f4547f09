import { parse } from "@std/yaml";
import { taskOf } from "../../tasks/tasks.ts";
import { defaultsOf, formatConfig } from "../../train/config.ts";
import { grouped } from "../format.ts";
import { code, html, table } from "../html.ts";
import type { Section } from "../page.ts";
import type { Run } from "../run.ts";

/** A key of a configuration, `section.key`, and its value. */
export type Settings = ReadonlyMap<string, string>;

/** All keys of a run's configuration. */
export function settingsOf(config: Run["config"]): Settings {
  const settings = new Map<string, string>();
  const walk = (prefix: string, value: unknown): void => {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      for (const [name, inner] of Object.entries(value)) {
        walk(prefix === "" ? name : `${prefix}.${name}`, inner);
      }
    } else {
      settings.set(prefix, typeof value === "string" ? value : JSON.stringify(value));
    }
  };
  walk("", parse(formatConfig(config)));
  return settings;
}

/** Parameters with their counts: of any model. */
export function parametersSection({ parameters }: Run): Section {
  const total = parameters.reduce((sum, { count }) => sum + count, 0);
  return {
    id: "parameters",
    title: "Parameters",
    content: html`
      <p>${grouped(total)} numbers that training changes, in ${parameters.length} tensors.</p>
      ${table(
        "Parameters by PyTorch's names, the largest first",
        [{ heading: "name", words: true }, { heading: "shape" }, { heading: "count" }, {
          heading: "share",
        }],
        parameters.toSorted((a, b) => b.count - a.count).map(({ name, shape, count }) => [
          code(name),
          shape.join(" × "),
          grouped(count),
          `${(100 * count / total).toFixed(1)}%`,
        ]),
      )}
    `,
  };
}

/** Configuration, versions and machine: of any model. */
export function setupSection({ config, environment }: Run): Section {
  const settings = settingsOf(config), defaults = settingsOf(defaultsOf(taskOf(config)));
  const changed = [...settings].filter(([name, value]) => defaults.get(name) !== value).length;
  return {
    id: "setup",
    title: "Configuration and versions",
    content: html`
      <p>${changed} of ${settings.size} settings differ from the defaults; they are set in bold.</p>
      ${table(
        "Configuration",
        [{ heading: "key", words: true }, { heading: "value", words: true }, {
          heading: "default",
          words: true,
        }],
        [...settings].map(([name, value]) => {
          const usual = defaults.get(name);
          return [
            code(name),
            usual === value ? value : html`<span class="changed">${value}</span>`,
            usual === value ? "same" : usual ?? "none",
          ];
        }),
      )}
      ${table(
        "What the run used",
        [{ heading: "what", words: true }, { heading: "version", words: true }],
        Object.entries(environment).map(([name, value]) => [
          name,
          typeof value === "string" ? value : JSON.stringify(value),
        ]),
      )}
    `,
  };
}
