import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { type Config, defaultConfig } from "../src/train/config.ts";
import {
  appendMetrics,
  claimRun,
  type ClaimRunOptions,
  fileOf,
  openRun,
  removeRun,
  type RunDirectory,
  startRun,
  writeFile,
  writeRunJson,
} from "../src/train/run_directory.ts";

/** Runs a test in a fresh working directory. */
async function inFreshDirectory(test: (directory: string) => Promise<void>): Promise<void> {
  const before = Deno.cwd();
  const directory = await Deno.makeTempDir();
  try {
    Deno.chdir(directory);
    await test(directory);
  } finally {
    Deno.chdir(before);
    await Deno.remove(directory, { recursive: true });
  }
}

const environment = { adapter: "none", deno: "2" };
const config = { ...defaultConfig, seed: 5, dataDir: "d", dataset: "town", totalLocNum: 9 };

async function names(path: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(path), ({ name }) => name)).toSorted();
}

async function createRun(given: Config, { out, now }: ClaimRunOptions): Promise<RunDirectory> {
  const run = { path: await claimRun(given, { out, now }), config: given };
  await startRun(run, environment);
  return run;
}

Deno.test("a run is written and opened again", () =>
  inFreshDirectory(async () => {
    const run = await createRun(config, { out: "a/b/" });
    assertEquals(run.path, "a/b");
    assertEquals(await names("a/b"), [
      "checkpoints",
      "config.yaml",
      "environment.json",
      "metrics.jsonl",
    ]);
    appendMetrics(run, { epoch: 1, loss: 5.1 });
    // Whoever follows the file sees a line as soon as it is written.
    assertEquals(await Deno.readTextFile("a/b/metrics.jsonl"), '{"epoch":1,"loss":5.1}\n');
    appendMetrics(run, { epoch: 2 });
    const lines = (await Deno.readTextFile("a/b/metrics.jsonl")).trimEnd().split("\n");
    assertEquals(lines.map((line) => JSON.parse(line).epoch), [1, 2]);
    await writeRunJson(run, "results", { "acc@1": 30 });
    assertEquals(JSON.parse(await Deno.readTextFile("a/b/test_results.json")), { "acc@1": 30 });
    assertEquals(JSON.parse(await Deno.readTextFile("a/b/environment.json")), environment);
    assertEquals(await openRun("a/b/"), { path: "a/b", config });
    assertEquals(fileOf(run, "weights"), "a/b/best.safetensors");
  }));

Deno.test("without --out a run is named by data and time, and never twice the same", () =>
  inFreshDirectory(async () => {
    const now = new Date(2026, 0, 2, 3, 4, 5);
    const make = async (): Promise<string> => (await createRun(config, { now })).path;
    assertEquals(await make(), "runs/town_2026-01-02_03-04-05");
    assertEquals(await make(), "runs/town_2026-01-02_03-04-05_2");
    assertEquals(await make(), "runs/town_2026-01-02_03-04-05_3");
    assertEquals((await names("runs")).length, 3);
  }));

Deno.test("an empty directory is used, one with files is left alone", () =>
  inFreshDirectory(async () => {
    await Deno.mkdir("empty");
    assertEquals((await createRun(config, { out: "empty" })).path, "empty");
    const error = await assertRejects(
      () => createRun(config, { out: "empty" }),
      InputError,
      "--resume empty",
    );
    assertEquals(error.message.startsWith("empty: already holds a run"), true);
    await Deno.mkdir("full");
    await Deno.writeTextFile("full/other", "");
    await assertRejects(
      () => createRun(config, { out: "full" }),
      InputError,
      "full: already holds other; choose a new or empty directory with --out",
    );
    assertEquals(await openRun("empty"), { path: "empty", config });
  }));

Deno.test("of processes that begin a run in one directory, one has it", () =>
  inFreshDirectory(async () => {
    // As two processes would: both have seen that the directory is empty.
    const claims = await Promise.allSettled([1, 2, 3].map(() => claimRun(config, { out: "one" })));
    const refused = claims.filter((claim) => claim.status === "rejected");
    assertEquals(refused.length, 2);
    for (const { reason } of refused) {
      assert(reason instanceof InputError, String(reason));
      assert(/^one: .*; choose .* directory with --out$/.test(reason.message), reason.message);
    }
    assertEquals(await names("one"), ["checkpoints"]);
  }));

Deno.test("a run that came to nothing leaves nothing, and takes nothing of others with it", () =>
  inFreshDirectory(async () => {
    await removeRun(await createRun(config, { out: "a/b" }));
    assertEquals(await names("a"), []);
    const run = await createRun(config, { out: "a/b" });
    await Deno.writeTextFile("a/b/notes.txt", "mine");
    await removeRun(run);
    assertEquals(await names("a/b"), ["notes.txt"]);
    const begun = await createRun(config, { out: "begun" });
    appendMetrics(begun, { epoch: 1 });
    await removeRun(begun);
    assertEquals((await names("begun")).length, 4);
  }));

Deno.test("a place that cannot be written is refused in one line", () =>
  inFreshDirectory(async () => {
    await Deno.writeTextFile("file", "");
    // Even the superuser may not write to the kernel's own file systems.
    const closed = Deno.build.os === "linux" ? ["/proc/gatewise/run"] : [];
    for (const out of ["file", "file/run", ...closed]) {
      const error = await assertRejects(() => createRun(config, { out }), InputError);
      assert(error.message.startsWith(`cannot make the run directory ${out}: `), error.message);
      assert(error.message.endsWith("; choose another directory with --out"), error.message);
      assertEquals(error.message.includes("\n"), false);
    }
    await Deno.writeTextFile("runs", ""); // A file where the default directory would be.
    await assertRejects(
      () => createRun(config, {}),
      InputError,
      "cannot make the run",
    );
  }));

Deno.test("a file is written whole or not at all", () =>
  inFreshDirectory(async () => {
    await writeFile("weights", Uint8Array.of(1, 2, 3));
    await writeFile("weights", Uint8Array.of(4));
    assertEquals(await Deno.readFile("weights"), Uint8Array.of(4));
    assertEquals(await names("."), ["weights"]);
    await Deno.mkdir("taken");
    await assertRejects(() => writeFile("taken", "x"), InputError, "cannot write taken: ");
    await assertRejects(() => writeFile("none/x", "x"), InputError, "cannot write none/x: ");
    assertEquals(await names("."), ["taken", "weights"]);
    const gone = { path: "gone", config };
    assertThrows(() => appendMetrics(gone, {}), InputError, "cannot write gone/metrics.jsonl: ");
  }));

Deno.test("a file is flushed before it takes its name, and its directory afterwards", () =>
  inFreshDirectory(async (directory) => {
    const calls: string[] = [];
    const { prototype } = Deno.FsFile;
    const { sync } = prototype, { rename } = Deno;
    prototype.sync = async function (this: Deno.FsFile): Promise<void> {
      const { isDirectory, size } = await this.stat();
      calls.push(isDirectory ? "flush a directory" : `flush a file of ${size} bytes`);
      await sync.call(this);
    };
    Deno.rename = async (from, to) => {
      calls.push(`rename to ${to}`);
      await rename(from, to);
    };
    try {
      await writeFile(`${directory}/weights`, Uint8Array.of(1, 2, 3));
    } finally {
      prototype.sync = sync;
      Deno.rename = rename;
    }
    assertEquals(calls, [
      "flush a file of 3 bytes",
      `rename to ${directory}/weights`,
      "flush a directory",
    ]);
  }));

Deno.test("what is no run directory is refused in one line", () =>
  inFreshDirectory(async () => {
    await Deno.mkdir("other");
    await Deno.writeTextFile("file", "");
    await Deno.mkdir("damaged");
    await Deno.writeTextFile("damaged/config.yaml", "model: {lstm_hidden_size: big}");
    await assertRejects(() => openRun("none"), InputError, "none: is not a run directory");
    await assertRejects(() => openRun("other"), InputError, "other: is not a run directory");
    await assertRejects(() => openRun("file"), InputError, "file: is a file");
    await assertRejects(
      () => openRun("damaged"),
      InputError,
      "damaged/config.yaml: model.lstm_hidden",
    );
  }));
