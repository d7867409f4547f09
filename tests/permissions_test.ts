import { assertEquals } from "@std/assert";
import { trainApart } from "../src/cli/train.ts";
import { defaultConfig } from "../src/train/config.ts";
import type { Attempts } from "./faults/escape.ts";

const adapter = await navigator.gpu?.requestAdapter();

Deno.test({
  name: "training can write its run directory, read its samples, and nothing else",
  ignore: !adapter,
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
    try {
      const [path, dataDir] = [`${folder}/run`, `${folder}/data`];
      for (const directory of [path, dataDir]) await Deno.mkdir(directory);
      for (const file of ["secret", "data/town_train.jsonl"]) {
        await Deno.writeTextFile(`${folder}/${file}`, "here");
      }
      await Deno.writeTextFile(`${folder}/code.js`, "export {}");
      const run = { path, config: { ...defaultConfig, dataDir, dataset: "town" } };
      const job = { run, resume: false, quiet: true, json: false, debug: false };
      const attempts = await trainApart(job, new URL("./faults/escape.ts", import.meta.url));
      const allowed = ["compute", "read samples", "write into the run", "rename in the run"];
      const expected = Object.keys(attempts).map((name) => [name, allowed.includes(name)]);
      assertEquals(attempts as unknown as Attempts, Object.fromEntries(expected));
      assertEquals(Object.values(attempts as unknown as Attempts).length, 22);
      assertEquals(await Deno.readTextFile(`${folder}/secret`), "here");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
