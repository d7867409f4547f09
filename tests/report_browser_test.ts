import { assert, assertEquals, assertMatch } from "@std/assert";
import { pathToFileURL } from "node:url";
import { type Browser, launch, type Page } from "puppeteer-core";
import { formatPlaces } from "../src/data/places.ts";
import { simulate } from "../src/data/simulate.ts";
import { findBrowser } from "./browser.ts";
import { task, tinyConfig, writeTown } from "./commands.ts";

const adapter = await navigator.gpu?.requestAdapter();
const executablePath = findBrowser();
const missing = !adapter
  ? "no WebGPU adapter"
  : executablePath === undefined
  ? "no Chromium on PATH"
  : undefined;

/** Where a browser is a must, its absence is a failure. */
const ignored = missing !== undefined && Deno.env.get("CI") !== "true";

/** A name that would run if it were not escaped. */
const trap = `Café "<script>console.error('escaped')</script>" & more`;

/** Trains two small runs of a town whose places are known, and writes the report of the first. */
async function makeReport(folder: string): Promise<string> {
  const town = await writeTown(folder);
  const [first, ...others] = simulate({ people: 3, days: 30 }).places;
  const places = [{ ...first, name: trap }, ...others.map((place) => ({ ...place, name: trap }))];
  await Deno.writeTextFile(`${town}_places.csv`, formatPlaces(places));
  for (const [name, epochs] of [["short", "1"], ["long", "2"]]) {
    await Deno.writeTextFile(`${folder}/tiny.yaml`, tinyConfig());
    const { code, err } = await task("train", [
      ...["--config", `${folder}/tiny.yaml`, "--data", town, "--out", `${folder}/${name}`],
      ...["--epochs", epochs, "--quiet"],
    ]);
    assertEquals(code, 0, err);
  }
  const { code, out, err } = await task("report", [
    ...["--run", `${folder}/long`, "--compare", `${folder}/short`, `${folder}/long`],
    "--quiet",
  ]);
  assertEquals([code, err], [0, ""]);
  assertEquals(out, `${folder}/long/report.html\n`);
  return pathToFileURL(`${folder}/long/report.html`).href;
}

/** What is asked in the page; given as text, since the compiler is not told of browsers. */
const inPage = {
  /** For every drawing, how many marks have a size, and its own size. */
  drawings: `[...document.querySelectorAll("figure > svg")].map((svg) => ({
    label: svg.getAttribute("aria-label"),
    role: svg.getAttribute("role"),
    caption: svg.closest("figure").querySelector("figcaption")?.textContent.trim(),
    size: Math.min(svg.getBoundingClientRect().width, svg.getBoundingClientRect().height),
    marks: [...svg.querySelectorAll("circle, path, line, rect")].filter((mark) => {
      const { width, height } = mark.getBoundingClientRect();
      return !mark.closest("[aria-label*=axis], [aria-label*=grid], [aria-label=frame]") &&
        Math.max(width, height) > 1;
    }).length,
    odd: /NaN|undefined|Infinity/.test(svg.outerHTML),
  }))`,
  tables: `[...document.querySelectorAll("table")].map((table) => ({
    caption: table.caption?.textContent,
    scopes: [...table.querySelectorAll("th")].every((th) => ["row", "col"].includes(th.scope)),
    widths: new Set([...table.rows].map((row) => row.cells.length)).size,
  }))`,
  outline: `({
    landmarks: ["header", "nav", "main", "footer"].map((name) =>
      document.querySelectorAll("body > " + name).length),
    levels: [...document.querySelectorAll("h1, h2, h3")].map((h) => Number(h.localName[1])),
    ids: [...document.querySelectorAll("[id]")].map(({ id }) => id),
    links: [...document.querySelectorAll("a[href]")].map((a) => a.getAttribute("href")),
    scripts: document.querySelectorAll("script").length,
    text: document.body.innerText,
  })`,
  overflow: `document.documentElement.scrollWidth - innerWidth`,
  focus: `({
    text: document.activeElement.textContent.slice(0, 40),
    outline: getComputedStyle(document.activeElement).outlineStyle,
    left: document.activeElement.getBoundingClientRect().left,
  })`,
  /** The least contrast of coloured words with what is behind them, as WCAG 2 has it. */
  contrast: `(() => {
    const light = (color) => {
      const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (e) => {
      for (; e; e = e.parentElement) {
        const color = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$|transparent/.test(color)) return color;
      }
      return "rgb(255, 255, 255)";
    };
    const words = [...document.querySelectorAll("p, a, b, h1, h2, h3, dt, dd, th, td, small, summary, caption, li")];
    return Math.min(...words.map((e) => {
      const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    }));
  })()`,
};

interface Drawing {
  readonly label: string;
  readonly role: string;
  readonly caption: string;
  readonly size: number;
  readonly marks: number;
  readonly odd: boolean;
}

/** Opens the report and keeps a record of what it says and asks for. */
async function open(browser: Browser, url: string, heard: string[]): Promise<Page> {
  const page = await browser.newPage();
  page.on("console", (message) => heard.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => heard.push(`error: ${error}`));
  page.on("request", (request) => {
    if (request.url() !== url && request.url() !== "data:,") heard.push(`asked: ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

async function look(browser: Browser, url: string): Promise<void> {
  const heard: string[] = [];
  const page = await open(browser, url, heard);
  const ask = async <T>(what: keyof typeof inPage): Promise<T> =>
    await page.evaluate(inPage[what]) as T;

  const drawings = await ask<readonly Drawing[]>("drawings");
  const titles = drawings.map(({ caption }) => caption);
  for (const title of ["Loss", "Learning rate", "By person", "Reliability", "Visits and first"]) {
    assert(titles.some((caption) => caption?.startsWith(title)), `${title} is not in ${titles}`);
  }
  for (const { label, role, caption, size, marks, odd } of drawings) {
    assert(size > 50 && marks > 0, `${caption}: ${marks} marks on ${size} pixels`);
    assert(label?.length > 10 && role === "img" && !odd, `${caption}: ${label}`);
  }

  const tables = await ask<readonly { caption?: string; scopes: boolean; widths: number }[]>(
    "tables",
  );
  assert(tables.length > 8);
  for (const { caption, scopes, widths } of tables) {
    assert(caption && scopes && widths === 1, `${caption}: ${scopes}, ${widths}`);
  }

  const outline = await ask<Record<string, unknown>>("outline");
  const { landmarks, levels, ids, links, scripts, text } = outline as {
    readonly landmarks: number[];
    readonly levels: number[];
    readonly ids: string[];
    readonly links: string[];
    readonly scripts: number;
    readonly text: string;
  };
  assertEquals([landmarks, scripts], [[1, 1, 1, 1], 0]);
  assertEquals(levels[0], 1);
  assert(
    levels.every((level, i) => i === 0 || level >= 2 && level - levels[i - 1] <= 1),
    `${levels}`,
  );
  assertEquals(new Set(ids).size, ids.length);
  for (const link of links) assert(ids.includes(link.slice(1)), link);
  assertMatch(text, /Does it beat trivial guessing\?\s+(Yes|No|Too close to call)/);
  assert(text.includes(trap), "the name of a place");

  await page.keyboard.press("Tab");
  const focus = await ask<{ text: string; outline: string; left: number }>("focus");
  assertEquals([focus.text, focus.outline], ["Skip to the results", "solid"]);
  assert(focus.left >= 0);
  await page.keyboard.press("Enter");
  assertEquals(await page.evaluate("document.activeElement.id"), "main");

  for (const value of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
    const contrast = await ask<number>("contrast");
    assert(contrast >= 4.5, `${value}: a contrast of ${contrast}`);
    for (const width of [320, 390, 1280]) {
      await page.setViewport({ width, height: 800 });
      assertEquals(await ask<number>("overflow"), 0, `${width} pixels wide`);
    }
  }
  assertEquals(heard, []);
}

Deno.test({
  name: `report: Chromium draws every chart, hears no error and fetches nothing${
    missing === undefined ? "" : ignored ? `: skipped, ${missing}` : `: ${missing}`
  }`,
  ignore: ignored,
  async fn() {
    assertEquals(missing, undefined);
    const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
    try {
      const url = await makeReport(folder);
      // Nothing but the project's own page is opened; in containers there is no sandbox.
      const browser = await launch({ executablePath, pipe: true, args: ["--no-sandbox"] });
      try {
        await look(browser, url);
      } finally {
        await browser.close();
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
