import { assert, assertEquals } from "@std/assert";

const root = new URL("..", import.meta.url);

/** Imports go to the same layer or a lower one; kernels are texts and mod.ts is the top. */
const LAYERS: Readonly<Record<string, number>> = {
  kernels: 0,
  "src/core": 0,
  "src/graph": 1,
  "src/gpu": 1,
  "src/ops": 2,
  "src/plan": 2,
  "src/nn": 3,
  "src/optim": 3,
  "src/models": 4,
  "src/data": 4,
  "src/tasks": 4,
  "src/train": 4,
  "src/metrics": 4,
  "src/prepare": 4,
  "src/report": 4,
  "src/cli": 5,
};

/** Folders of one layer, or of a lower one, that must stay strangers. */
const FORBIDDEN: readonly (readonly [from: string, to: string])[] = [
  ["src/graph", "src/gpu"],
  ["src/ops", "src/gpu"],
];

/** Where types and globals of WebGPU may be named. */
const MAY_NAME_GPU = ["src/gpu", "src/plan"];

async function* filesIn(folder: URL): AsyncGenerator<URL> {
  for await (const entry of Deno.readDir(folder)) {
    const url = new URL(entry.name + (entry.isDirectory ? "/" : ""), folder);
    if (entry.isDirectory) yield* filesIn(url);
    else yield url;
  }
}

interface Source {
  /** Path from the root of the project: `src/core/tensor.ts`. */
  readonly path: string;
  /** `src/core`. */
  readonly folder: string;
  /** The text without comments. */
  readonly code: string;
  /** Paths of the project's files that it imports, and names of everything else. */
  readonly imports: readonly string[];
}

const pathOf = (url: URL): string => url.pathname.slice(root.pathname.length);
const folderOf = (path: string): string =>
  path.startsWith("src/") ? path.split("/").slice(0, 2).join("/") : path.split("/")[0];

async function readSource(url: URL): Promise<Source> {
  const text = await Deno.readTextFile(url);
  const code = text.replace(/\/\*[^]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "");
  // `import ... from "x"`, `export ... from "x"`, `import "x"`, `import("x")`.
  const specifiers = code.matchAll(/\b(?:from|import)\s*\(?\s*"([^"\n]+)"/g);
  const imports = [...specifiers].map(([, specifier]) =>
    specifier.startsWith(".") ? pathOf(new URL(specifier, url)) : specifier
  );
  const path = pathOf(url);
  return { path, folder: folderOf(path), code, imports };
}

const sources: Source[] = [];
for (const top of ["src/", "kernels/"]) {
  for await (const url of filesIn(new URL(top, root))) {
    if (url.pathname.endsWith(".ts")) sources.push(await readSource(url));
  }
}

Deno.test("every source file is in a folder that has a layer", () => {
  assert(sources.length > 0);
  assertEquals(sources.filter(({ folder }) => !(folder in LAYERS)).map(({ path }) => path), []);
});

Deno.test("imports go only to the same layer or downwards", () => {
  const violations = sources.flatMap(({ path, folder, imports }) =>
    imports.filter((target) => {
      const to = folderOf(target);
      if (!target.startsWith("src/") && !target.startsWith("kernels/")) {
        return target.endsWith("mod.ts") || target === "@gatewise/lstm";
      }
      return LAYERS[to] > LAYERS[folder] ||
        FORBIDDEN.some(([a, b]) => a === folder && b === to);
    }).map((target) => `${path} -> ${target}`)
  );
  assertEquals(violations, []);
});

Deno.test("only src/gpu and src/plan know WebGPU", () => {
  const violations = sources
    .filter(({ folder }) => !MAY_NAME_GPU.includes(folder))
    .flatMap(({ path, code }) =>
      [...code.matchAll(/\bGPU[A-Z]\w*|\bnavigator\.gpu\b/g)].map(([word]) => `${path}: ${word}`)
    );
  assertEquals(violations, []);
});

Deno.test("kernels/mod.ts is the only importer of .wgsl, and imports every kernel once", async () => {
  const importers = sources.filter(({ imports }) => imports.some((path) => path.endsWith(".wgsl")));
  assertEquals(importers.map(({ path }) => path), ["kernels/mod.ts"]);
  const kernels: string[] = [];
  for await (const url of filesIn(new URL("kernels/", root))) {
    if (url.pathname.endsWith(".wgsl")) kernels.push(pathOf(url));
  }
  assertEquals([...importers[0].imports].sort(), kernels.sort());
});

/** Heavy packages, and the one folder that may load each. */
const HEAVY: Readonly<Record<string, string>> = {
  "@duckdb/node-api": "src/prepare",
  "@observablehq/plot": "src/report",
  "linkedom": "src/report",
};

Deno.test("heavy packages are loaded by the one command that needs them", () => {
  for (const [name, only] of Object.entries(HEAVY)) {
    const folders = sources.filter(({ imports }) => imports.includes(name)).map(({ folder }) =>
      folder
    );
    assertEquals([...new Set(folders)], [only]);
    const command = `src/cli/${only.split("/")[1]}.ts`;
    const users = sources.filter(({ folder, imports }) =>
      folder !== only && imports.some((path) => path.startsWith(`${only}/`))
    );
    assertEquals(users.map(({ path }) => path), [command]);
    const callers = sources.filter(({ imports }) => imports.includes(command));
    assertEquals(callers.map(({ path }) => path), []);
  }
});
