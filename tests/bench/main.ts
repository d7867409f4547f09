/**
 * `deno task bench`: this library and its peers side by side, the same work, in turns. The README's
 * performance section is made from it.
 *
 * @module
 */
import { cpus } from "node:os";
import denoConfig from "../../deno.json" with { type: "json" };
import { defaultConfig, InputError, loadData, withOverrides } from "../../mod.ts";
import type { Command, Options } from "../../src/cli/options.ts";
import { print, runCommand } from "../../src/cli/output.ts";
import { writeWholeFile } from "../../src/core/whole_file.ts";
import { suggestion } from "../../src/core/suggestion.ts";
import { allowMoreThreads } from "../../src/gpu/device.ts";
import type { Profile } from "./profile.ts";
import { type Peer, type PeerCommand, type Ran, type Ready, startPeer } from "./protocol.ts";
import {
  alignTable,
  type Column,
  type Figure,
  figureOf,
  formatMissing,
  formatNumber,
  formatRows,
  isMeasured,
  OURS,
  planRuns,
  type Row,
  type RunPlan,
  type Scaling,
  scalings,
} from "./report.ts";
import { measureStart, type WarmStart } from "./warm_start.ts";
import {
  type BenchData,
  type Item,
  type Part,
  PARTS,
  type PreparedItem,
  prepareItem,
  workList,
} from "./work.ts";

const command = {
  name: "deno task bench",
  meaning: "Times this library and its peers side by side: the same work, in turns, in one run.\n" +
    "Peers that are not installed are left out, with how to install them.",
  options: {
    data: {
      type: "text",
      value: "PREFIX|DIR",
      meaning: "sample files, as for deno task train; default: simulated people",
    },
    peers: {
      type: "text",
      value: "NAME,...",
      default: "all",
      meaning: "all, none, or some of pytorch,jax-wasm,jax-webgpu,tfjs-wasm,tfjs-webgpu",
    },
    only: { type: "text", value: "PART,...", meaning: `some of ${PARTS.join(",")}` },
    rounds: { type: "whole", min: 1, max: 100, meaning: "rounds; default 3, with --quick 2" },
    quick: { type: "flag", meaning: "a small part of the work, in about a minute" },
    json: { type: "text", value: "FILE", meaning: "write everything that was measured to a file" },
  },
  examples: [
    "deno task bench --quick --peers none",
    "deno task bench --data data/geolife_eps20_prev7 --json bench.json",
  ],
} as const satisfies Command;

/** Names of peers for `--peers`. */
export const PEER_NAMES = ["pytorch", "jax-wasm", "jax-webgpu", "tfjs-wasm", "tfjs-webgpu"];

/** What a list option names, each once. Throws an {@linkcode InputError} for another name. */
export function parseList<const T extends string>(
  option: string,
  text: string,
  allowed: readonly T[],
): readonly T[] {
  const names = text.split(",").map((name) => name.trim()).filter((name) => name !== "");
  for (const name of names) {
    if ((allowed as readonly string[]).includes(name)) continue;
    const near = suggestion(name, allowed) || `; allowed: ${allowed.join(", ")}`;
    throw new InputError(`--${option} names ${name}${near}`);
  }
  if (names.length === 0) {
    throw new InputError(`--${option} names nothing; allowed: ${allowed.join(", ")}`);
  }
  return allowed.filter((name) => names.includes(name));
}

/** The peers that `--peers` asks for. */
export function parsePeers(text: string): readonly string[] {
  if (text === "none") return [];
  return text === "all" ? PEER_NAMES : parseList("peers", text, PEER_NAMES);
}

/** A peer's process and what it may take. */
interface Entry {
  readonly id: string;
  readonly command: PeerCommand;
  /** For making and warming up the work, ms. */
  readonly setupLimit: number;
  /** For all of a part, ms; what is left of it then is left out. */
  readonly partLimit: number;
  /** Kinds of work that it does. */
  readonly kinds: readonly Item["kind"][];
}

const here = new URL(".", import.meta.url).pathname;
const KINDS = ["train", "evaluate", "predict", "lstm"] as const;

/** Python with PyTorch: Debian's, where it is there. */
async function findPython(): Promise<string> {
  try {
    await Deno.stat("/usr/bin/python3");
    return "/usr/bin/python3";
  } catch {
    return "python3";
  }
}

function script(
  file: string,
  args: readonly string[],
  permissions: readonly string[],
): PeerCommand {
  return {
    program: "deno",
    args: ["run", "--no-prompt", ...permissions, `${here}${file}`, ...args],
  };
}

function entriesOf(peers: readonly string[], python: string): readonly Entry[] {
  const ours: Entry = {
    id: OURS,
    command: script("gatewise.ts", [], ["--allow-read"]),
    // The first time ever the driver compiles for minutes.
    setupLimit: 300_000,
    partLimit: Infinity,
    kinds: [...KINDS, "epoch"],
  };
  const others = peers.flatMap((name): readonly Entry[] => {
    if (name === "pytorch") {
      return [1, 2].map((threads) => ({
        id: `pytorch-${threads}`,
        command: { program: python, args: [`${here}pytorch.py`, String(threads)] },
        setupLimit: 180_000,
        partLimit: Infinity,
        kinds: [...KINDS, "epoch"],
      }));
    }
    const [library, backend] = name.split("-");
    const file = library === "jax" ? "jax_js.ts" : "tensorflow_js.ts";
    // Packages come from the cache: the benchmark downloads nothing.
    const permissions = ["-A", "--no-lock", "--cached-only"];
    return [{
      id: name,
      command: script(file, [backend], permissions),
      // Tens of times slower, some of them: the small sizes, which come first, tell enough.
      setupLimit: 45_000,
      partLimit: 40_000,
      kinds: KINDS,
    }];
  });
  return [ours, ...others];
}

/** Columns of the table, best of both numbers of threads in one. */
function columnsOf(peers: readonly string[]): readonly Column[] {
  const titles: Readonly<Record<string, string>> = {
    pytorch: "PyTorch",
    "jax-wasm": "jax-js wasm",
    "jax-webgpu": "jax-js webgpu",
    "tfjs-wasm": "TF.js wasm",
    "tfjs-webgpu": "TF.js webgpu",
  };
  return peers.map((name) => ({
    title: titles[name],
    peers: name === "pytorch" ? ["pytorch-1", "pytorch-2"] : [name],
  }));
}

/** How long things may take. */
interface Limits {
  readonly rounds: number;
  /** A round is made at least so long, ms. */
  readonly roundMs: number;
  /** All rounds of a peer in an item, ms. */
  readonly budgetMs: number;
}

/** A run of one round may take so long, ms. */
const RUN_LIMIT = 300_000;
/** Between two peers' turns, so that waiting threads of the last one have gone to sleep, ms. */
const PAUSE = 150;

const progress = (text: string): void => console.error(text);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What a peer said about itself. */
interface Said {
  readonly id: string;
  readonly name: string;
  readonly notes: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;
}

/** Peers that run, kept from item to item. */
class Peers implements AsyncDisposable {
  readonly #entries: readonly Entry[];
  readonly #running = new Map<string, Peer>();
  /** Time that each peer has used of each part. */
  readonly #used = new Map<string, number>();
  readonly said = new Map<string, Said>();

  constructor(entries: readonly Entry[]) {
    this.#entries = entries;
  }

  async #setUp(entry: Entry, { item, work }: PreparedItem): Promise<Peer | Figure> {
    const { id, command, setupLimit, partLimit } = entry;
    if ((this.#used.get(`${id} ${item.part}`) ?? 0) > partLimit) {
      return { skip: `left out: it had used up its ${partLimit / 1000} s for this part` };
    }
    let peer = this.#running.get(id);
    if (peer === undefined || !peer.alive()) {
      peer = startPeer(command);
      this.#running.set(id, peer);
    }
    const reply = await peer.ask<Ready>({ do: "setup", work }, setupLimit);
    if ("skip" in reply) {
      if (!peer.alive()) this.#running.delete(id);
      return reply;
    }
    const before = this.said.get(id);
    this.said.set(id, {
      id,
      name: reply.name,
      notes: [...new Set([...before?.notes ?? [], ...reply.notes ?? []])],
      details: { ...before?.details, ...reply.details },
    });
    return peer;
  }

  /** Asks a peer, and counts the time that it takes. */
  async #timed<A>(id: string, { part }: Item, ask: () => Promise<A>): Promise<A> {
    const start = performance.now();
    const reply = await ask();
    const key = `${id} ${part}`;
    this.#used.set(key, (this.#used.get(key) ?? 0) + performance.now() - start);
    return reply;
  }

  /** Sets all peers up, then lets them take turns. */
  async measure(prepared: PreparedItem, limits: Limits): Promise<Row> {
    const { item, cycle, tokens, gflop } = prepared;
    const figures: Record<string, Figure> = {};
    const active: {
      readonly id: string;
      readonly peer: Peer;
      readonly plan: RunPlan;
      readonly samples: (readonly number[])[];
      last: Ran;
    }[] = [];
    const onlyOurs = item.kind !== "lstm" && item.V !== undefined;
    for (const entry of this.#entries) {
      const { id, kinds } = entry;
      if (!kinds.includes(item.kind) || (onlyOurs && id !== OURS)) continue;
      progress(`${item.name}: ${id}`);
      const peer = await this.#timed(id, item, () => this.#setUp(entry, prepared));
      if (!("ask" in peer)) {
        figures[id] = peer;
        continue;
      }
      const first = await this.#timed(
        id,
        item,
        () => peer.ask<Ran>({ do: "run", steps: cycle }, RUN_LIMIT),
      );
      if ("skip" in first) {
        figures[id] = first;
        continue;
      }
      const cycleMs = first.ms.reduce((a, b) => a + b, 0);
      const budgetMs = Math.min(limits.budgetMs, entry.partLimit / 8);
      const plan = planRuns(cycle, cycleMs, { ...limits, budgetMs });
      active.push({
        id,
        peer,
        plan,
        samples: plan.rounds === 0 ? [samplesOf(first)] : [],
        last: first,
      });
    }
    for (let round = 0; round < limits.rounds; round++) {
      for (const turn of active) {
        const { id, peer, plan, samples } = turn;
        if (round >= plan.rounds || id in figures) continue;
        await pause(PAUSE);
        const ran = await this.#timed(
          id,
          item,
          () => peer.ask<Ran>({ do: "run", steps: plan.steps }, RUN_LIMIT),
        );
        if ("skip" in ran) {
          figures[id] = ran;
        } else {
          samples.push(samplesOf(ran));
          turn.last = ran;
        }
      }
    }
    for (const { id, samples, last } of active) {
      figures[id] ??= figureOf(samples, last.batched ?? false, last.bytes);
    }
    const shown = Object.entries(figures).map(([id, figure]) =>
      `${id} ${isMeasured(figure) ? formatNumber(figure.ms) : "-"}`
    );
    progress(`  ms: ${shown.join(", ")}`);
    return { name: item.name, tokens, gflop, figures };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#running.values()].map((peer) => peer.end()));
  }
}

/** The samples of a run; one, if it was timed as a whole. */
function samplesOf({ ms, batched }: Ran): readonly number[] {
  return batched ? ms.slice(0, 1) : ms;
}

/** What was measured besides the rows. */
interface Extras {
  readonly profile?: Profile | { readonly skip: string };
  readonly start?: WarmStart | { readonly skip: string };
}

async function runProfile(work: PreparedItem["work"], cycles: number): Promise<Extras["profile"]> {
  const { program, args } = script(
    "profile.ts",
    [JSON.stringify(work), String(cycles)],
    ["--allow-read"],
  );
  const { success, stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return success
    ? JSON.parse(decode(stdout).trim().split("\n").at(-1)!)
    : { skip: `profile failed: ${decode(stderr).trim().split("\n")[0]}` };
}

function machineOf(): Readonly<Record<string, unknown>> {
  return {
    cpu: cpus()[0]?.model ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    system: `${Deno.build.os} ${Deno.build.arch}`,
    load: Deno.loadavg().map((load) => load.toFixed(2)).join(" "),
  };
}

async function commitOf(): Promise<string | undefined> {
  try {
    const git = async (...args: string[]): Promise<string> => {
      const { success, stdout } = await new Deno.Command("git", {
        args: ["-C", here, ...args],
        stderr: "null",
      }).output();
      if (!success) throw new Error("no repository");
      return new TextDecoder().decode(stdout).trim();
    };
    const changed = await git("status", "--porcelain", "--untracked-files=no") !== "";
    return await git("rev-parse", "--short", "HEAD") + (changed ? " with changes" : "");
  } catch {
    return undefined;
  }
}

/** Where the time goes, as text. */
export function formatProfile(profile: Profile): string {
  const peak = Math.max(...profile.peak.map(({ gflops }) => gflops));
  const best = profile.peak.find(({ gflops }) => gflops === peak)!;
  const rate = (gflop: number, ms: number): string => {
    const gflops = gflop / ms * 1000;
    return `${formatNumber(gflops)} GFLOPS, ${formatNumber(100 * gflops / peak)}% of the peak`;
  };
  const { perKernel = [], gpuMs } = profile;
  const total = perKernel.reduce((all, { ms }) => all + ms, 0);
  const kernels = perKernel.map(({ kernel, dispatches, ms }) => [
    kernel,
    formatNumber(dispatches),
    formatNumber(ms),
    `${formatNumber(100 * ms / total)}%`,
  ]);
  return [
    `Where the time of a train step goes (real batches, B=32; ${profile.kernels} kernels)`,
    alignTable([
      ["step, wall", `${formatNumber(profile.stepMs)} ms`],
      ...(gpuMs === undefined ? [] : [["GPU time of its passes", `${formatNumber(gpuMs)} ms`]]),
      ["JavaScript in step(), without submit", `${formatNumber(profile.javascriptMs)} ms`],
      ["the same while the GPU computes", `${formatNumber(profile.javascriptBusyMs)} ms`],
      [
        "queue.submit (software adapters may compute in it)",
        `${formatNumber(profile.submitMs)} ms`,
      ],
      ["making the batch's tensors, before step()", `${formatNumber(profile.batchMs)} ms`],
      ["dispatches", formatNumber(profile.dispatches)],
      ["passes", formatNumber(profile.passes)],
      ["submits", formatNumber(profile.submits)],
      ["device memory", formatBytes(profile.liveBytes)],
    ]),
    "",
    `arithmetic peak      ${formatNumber(peak)} GFLOPS (${best.shape})`,
    `LSTM layers alone    ${rate(profile.lstmGflop, profile.lstmMs)} (${
      formatNumber(profile.lstmMs)
    } ms forward and backward)`,
    `the whole step       ${rate(profile.stepGflop, profile.stepMs)}`,
    ...(kernels.length === 0 ? ["The adapter has no timestamp queries."] : [
      "",
      "GPU time by kernel, each dispatch in a pass of its own (which costs time too)",
      alignTable([["kernel", "dispatches", "ms", "share"], ...kernels]),
    ]),
  ].join("\n");
}

/** Bytes as MiB. */
export function formatBytes(bytes: number): string {
  return `${formatNumber(bytes / 2 ** 20)} MiB`;
}

function formatScaling(scaling: readonly Scaling[]): string {
  return alignTable([
    ["time a visit, compared (1 where time grows as the work does)", "ratio"],
    ...scaling.map(({ from, to, perToken }) => [`${to} over ${from}`, perToken.toFixed(2)]),
  ]);
}

function formatMemory(rows: readonly Row[]): string {
  const lines = rows.flatMap(({ name, figures: { [OURS]: figure } }) =>
    name.startsWith("train step") && isMeasured(figure) && figure.bytes !== undefined
      ? [[name, formatBytes(figure.bytes)]]
      : []
  );
  return lines.length === 0 ? "" : alignTable([["Gatewise", "device memory"], ...lines]);
}

function partsOf({ only, quick }: Options<typeof command>): readonly Part[] {
  if (only !== undefined) return parseList("only", only, PARTS);
  return quick ? ["train", "evaluate", "lstm", "predict", "profile"] : PARTS;
}

async function main(options: Options<typeof command>): Promise<void> {
  // The peers that use WebGPU inherit it.
  allowMoreThreads();
  const { quick, data, json } = options;
  const parts = partsOf(options);
  const peers = parsePeers(options.peers);
  const limits: Limits = quick
    ? { rounds: options.rounds ?? 2, roundMs: 300, budgetMs: 3000 }
    : { rounds: options.rounds ?? 3, roundMs: 800, budgetMs: 15_000 };
  const loaded = await loadData(withOverrides(defaultConfig, { data }), ["train"]);
  const { totalLocNum: V, totalUserNum: U } = loaded.config;
  const model = { V, U, embedding: 32, hidden: 128, layers: 2, lstmDropout: 0.2, fcDropout: 0.2 };
  const bench: BenchData = { samples: loaded.samples.train, model };
  const date = new Date().toISOString();
  const [machine, commit] = [machineOf(), await commitOf()];
  const folder = await Deno.makeTempDir({ prefix: "gatewise_bench_" });
  Deno.addSignalListener("SIGINT", () => {
    Deno.removeSync(folder, { recursive: true });
    Deno.exit(130);
  });
  const rows: Row[] = [];
  const extras: { -readonly [K in keyof Extras]: Extras[K] } = {};
  let said: readonly Said[] = [];
  try {
    {
      await using running = new Peers(entriesOf(peers, await findPython()));
      for (const item of workList(parts, quick)) {
        const prepared = await prepareItem(item, bench, folder);
        // An epoch is long enough to be compared after two.
        const own = item.kind === "epoch"
          ? { rounds: Math.min(2, limits.rounds), budgetMs: 1e6 }
          : {};
        rows.push(await running.measure(prepared, { ...limits, ...own }));
      }
      said = [...running.said.values()];
    }
    if (parts.includes("profile")) {
      progress("where the time goes");
      const item = workList(["train"], true).find(({ T }) => T === undefined)!;
      const { work } = await prepareItem(item, bench, folder);
      extras.profile = await runProfile(work, quick ? 2 : 5);
    }
    if (parts.includes("start")) {
      progress("start of deno task train");
      extras.start = await measureStart(data, model, folder, Math.min(5, limits.rounds))
        .catch((error: Error) => ({ skip: error.message }));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const scaling = scalings(rows);
  const names = Object.fromEntries(said.map(({ id, name }) => [id, name]));
  print(
    [
      `Gatewise ${denoConfig.version}${commit === undefined ? "" : `, commit ${commit}`}, ${date}`,
      `${machine.cpu}, ${machine.cores} cores, load ${machine.load}; Deno ${Deno.version.deno}`,
      `${bench.samples.length} samples of ${data ?? "simulated people"}; V=${V}, U=${U}`,
      ...Object.values(names),
      "",
      ...(rows.length === 0 ? [] : [
        formatRows(rows, columnsOf(peers)),
        "",
        "Medians of the rounds, ms a unit of work; a ratio is the peer's time over Gatewise's.",
        ...(peers.includes("pytorch") ? ["PyTorch: the better of 1 and 2 threads (t1, t2)."] : []),
      ]),
      ...said.flatMap(({ name, notes }) => notes.map((note) => `${name}: ${note}`)),
      ...section(formatMissing(rows, names)),
      ...section(scaling.length === 0 ? "" : formatScaling(scaling)),
      ...section(formatMemory(rows)),
      ...section(
        extras.profile === undefined
          ? ""
          : "skip" in extras.profile
          ? extras.profile.skip
          : formatProfile(extras.profile),
      ),
      ...section(
        extras.start === undefined
          ? ""
          : "skip" in extras.start
          ? extras.start.skip
          : formatStart(extras.start),
      ),
    ].join("\n"),
  );
  if (json !== undefined) {
    const all = {
      date,
      commit,
      machine,
      versions: { gatewise: denoConfig.version, ...Deno.version },
      options: { data, peers, parts, quick, ...limits },
      data: { samples: bench.samples.length, model },
      peers: said,
      rows: rows.map((row) => ({
        ...row,
        ratios: Object.fromEntries(
          Object.entries(row.figures).flatMap(([id, figure]) => {
            const ours = row.figures[OURS];
            return isMeasured(figure) && isMeasured(ours) ? [[id, figure.ms / ours.ms]] : [];
          }),
        ),
      })),
      scaling,
      ...extras,
    };
    await writeWholeFile(json, new TextEncoder().encode(`${JSON.stringify(all, null, 1)}\n`));
  }
}

function formatStart({ first, warm, seconds }: WarmStart): string {
  return `deno task train, from the start of its process until its first step's loss is written: ` +
    `${warm.toFixed(2)} s (median of ${seconds.length - 1}; the one before them ${
      first.toFixed(2)
    } s)`;
}

function section(text: string): readonly string[] {
  return text === "" ? [] : ["", text];
}

if (import.meta.main) Deno.exit(Math.min(1, await runCommand(command, main)));
