import { assert, assertAlmostEquals, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { simulate } from "../src/data/simulate.ts";
import { parseList, parsePeers, PEER_NAMES } from "./bench/main.ts";
import { type Ran, type Ready, type Skip, startPeer } from "./bench/protocol.ts";
import {
  alignTable,
  bestOf,
  figureOf,
  formatMissing,
  formatNumber,
  formatRows,
  median,
  planRuns,
  ratioOf,
  type Row,
  scalings,
} from "./bench/report.ts";
import {
  cutTo,
  LARGE_V,
  makeBatches,
  modelFlop,
  PARTS,
  prepareItem,
  spreadOver,
  workList,
} from "./bench/work.ts";

const geolife = {
  V: 1187,
  U: 46,
  embedding: 32,
  hidden: 128,
  layers: 2,
  lstmDropout: 0.2,
  fcDropout: 0.2,
};

Deno.test("median is the middle, or the mean of the two in the middle", () => {
  assertEquals(median([3]), 3);
  assertEquals(median([10, 1, 2]), 2);
  assertEquals(median([4, 1, 3, 100]), 3.5);
  assertThrows(() => median([]), RangeError);
});

Deno.test("a figure is the median of the rounds' means", () => {
  const { ms, rounds } = figureOf([[1, 3], [4, 4], [100, 200]], false);
  assertEquals(rounds, [2, 4, 150]);
  assertEquals(ms, 4);
});

Deno.test("rounds are whole cycles, long enough, and within the budget", () => {
  const limits = { rounds: 5, roundMs: 800, budgetMs: 15_000 };
  assertEquals(planRuns(4, 100, limits), { steps: 32, rounds: 5 });
  assertEquals(planRuns(16, 5000, limits), { steps: 16, rounds: 3 });
  // The first cycle has to do.
  assertEquals(planRuns(2, 8000, limits), { steps: 2, rounds: 0 });
  assertEquals(planRuns(1, 0, limits).rounds, 5);
});

const rows: readonly Row[] = [
  {
    name: "train step, real batches, B=32",
    tokens: 600,
    gflop: 0.8,
    figures: {
      gatewise: figureOf([[40], [40], [50]], true, 2 ** 20),
      "pytorch-1": figureOf([[100]], false),
      "pytorch-2": figureOf([[80]], false),
      "jax-wasm": { skip: "not installed: run X" },
    },
  },
  {
    name: "train step, real batches, B=512",
    tokens: 9600,
    gflop: 12.8,
    figures: {
      gatewise: figureOf([[800]], true),
      "pytorch-1": { skip: "out of memory" },
      "pytorch-2": figureOf([[400]], false),
      "jax-wasm": { skip: "not installed: run X" },
    },
  },
];
const pytorch = { title: "PyTorch", peers: ["pytorch-1", "pytorch-2"] };
const jax = { title: "jax-js wasm", peers: ["jax-wasm"] };

Deno.test("a ratio is the fastest peer's time over this library's", () => {
  assertEquals(bestOf(rows[0], pytorch)?.peer, "pytorch-2");
  assertEquals(ratioOf(rows[0], pytorch), 2);
  assertEquals(ratioOf(rows[1], pytorch), 0.5);
  assertEquals(ratioOf(rows[0], jax), undefined);
});

Deno.test("the table is aligned and shows times, rates, ratios and threads", () => {
  assertEquals(
    formatRows(rows, [pytorch, jax]),
    [
      "work                             Gatewise ms  GFLOPS  PyTorch ms  ratio  jax-js wasm ms  ratio",
      "train step, real batches, B=32          40.0    20.0     80.0 t2  2.00x               -      -",
      "train step, real batches, B=512          800    16.0      400 t2  0.50x               -      -",
    ].join("\n"),
  );
  assertEquals(alignTable([["a", "bcd"], ["ef", "g"]]), "a   bcd\nef    g");
  assertEquals([0, 0.126, 5.214, 52.14, 521.4].map(formatNumber), [
    "0",
    "0.13",
    "5.21",
    "52.1",
    "521",
  ]);
});

Deno.test("reasons for missing figures are said once", () => {
  assertEquals(
    formatMissing(rows, { "pytorch-1": "PyTorch, 1 thread" }),
    "jax-wasm: not installed: run X\n" +
      "PyTorch, 1 thread: out of memory [train step, real batches, B=512]",
  );
});

Deno.test("scaling is time a visit over time a visit", () => {
  const lstm = (T: number, ms: number): Row => ({
    name: `LSTM alone, T=${T}, H=128, B=32`,
    tokens: 32 * T,
    gflop: 1,
    figures: { gatewise: figureOf([[ms]], true) },
  });
  const found = scalings([...rows, lstm(16, 10), lstm(1024, 320)]);
  assertEquals(found.map(({ to }) => to), [rows[1].name, "LSTM alone, T=1024, H=128, B=32"]);
  // 16 times the visits in 20 times the time; 64 times in 32 times.
  assertAlmostEquals(found[0].perToken, 1.25);
  assertAlmostEquals(found[1].perToken, 0.5);
});

Deno.test("the work list has every size of the issue, and a quick subset", () => {
  const all = workList(PARTS, false);
  const count = (part: string): number => all.filter((item) => item.part === part).length;
  assertEquals(["train", "evaluate", "epoch", "lstm", "predict", "vocabulary"].map(count), [
    6,
    6,
    1,
    12,
    1,
    1,
  ]);
  assertEquals(new Set(all.map(({ name }) => name)).size, all.length);
  const quick = workList(PARTS, true);
  assert(quick.length < all.length);
  const names = new Set(all.map(({ name }) => name));
  assertEquals(quick.filter(({ name }) => !names.has(name)), []);
  assertEquals(workList(["profile", "start"], false), []);
});

Deno.test("a step of the GeoLife model at B=32, T=16 is 0.70 GFLOP", () => {
  assertEquals((3 * modelFlop(geolife, 32, 32 * 16) / 1e9).toFixed(2), "0.70");
});

Deno.test("batches are shuffled, of fixed length where asked for, and written for the peers", async () => {
  const { train } = simulate({ people: 3, days: 30 });
  const cut = cutTo(train, 5);
  assert(cut.length > 0 && cut.length < train.length);
  for (const { X, dur_X } of cut) assertEquals([X.length, dur_X.length], [5, 5]);
  assertEquals(cut[0].X, train.find(({ X }) => X.length >= 5)!.X.slice(-5));

  const each = makeBatches(train, 8).flat();
  assertEquals(each.length, train.length - train.length % 8);
  assertEquals(new Set(each).size, each.length);
  assertEquals(makeBatches(train.slice(0, 3), 2, 3).flat().length, 6);

  for (const { X, Y } of spreadOver(train, LARGE_V)) {
    assert([...X, Y!].every((id) => Number.isInteger(id) && id >= 1 && id < LARGE_V));
  }

  const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    const item = { part: "train", name: "a step", kind: "train", B: 4, batches: 2, T: 5 } as const;
    const data = { samples: train, model: geolife };
    const { work, cycle, tokens } = await prepareItem(item, data, folder);
    assert(work.kind === "train");
    assertEquals([cycle, tokens, work.B], [2, 20, 4]);
    const batches = JSON.parse(await Deno.readTextFile(work.batches));
    assertEquals(batches.length, 2);
    for (const sample of batches.flat()) {
      assertEquals(Object.keys(sample), ["x", "user", "weekday", "startMin", "dur", "target"]);
      assert(sample.dur.every((minutes: number) => Number.isInteger(minutes)));
      assertEquals(sample.x.length, 5);
    }
    const layer = workList(["lstm"], true)[0];
    const { work: alone, gflop } = await prepareItem(layer, data, folder);
    assertEquals(alone, { kind: "lstm", T: 16, B: 32, I: 128, H: 128 });
    assertAlmostEquals(gflop, 3 * 2 * 512 * 512 * 256 / 1e9);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("options name known parts and peers, in their own order", () => {
  assertEquals(parsePeers("none"), []);
  assertEquals(parsePeers("all"), PEER_NAMES);
  assertEquals(parsePeers("tfjs-wasm, pytorch"), ["pytorch", "tfjs-wasm"]);
  assertThrows(() => parsePeers("pytroch"), InputError, "did you mean pytorch?");
  assertThrows(() => parseList("only", "everything", PARTS), InputError, "allowed: train, ");
  assertThrows(() => parseList("only", ",", PARTS), InputError, "names nothing");
});

Deno.test("bad options give one line and exit code 1", async () => {
  for (const args of [["--peers", "pytroch"], ["--rounds", "0"], ["--fast"]]) {
    const { code, stderr, stdout } = await new Deno.Command("deno", {
      args: ["task", "--quiet", "bench", ...args],
      cwd: new URL("..", import.meta.url),
      env: { NO_COLOR: "1" },
    }).output();
    assertEquals([code, stdout.length], [1, 0]);
    assertMatch(new TextDecoder().decode(stderr), /^error: [^\n]+\n$/);
  }
});

/** A peer that greets, does nothing in 2 ms a unit, is slow on request, and may fail. */
const fakePeer = `
console.log("Welcome to a library");
let text = "";
for await (const part of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  text += part;
  for (let at; (at = text.indexOf("\\n")) >= 0; text = text.slice(at + 1)) {
    const request = JSON.parse(text.slice(0, at));
    if (request.do === "end") Deno.exit(0);
    if (request.do === "run" && request.steps === 13) {
      console.error("out of luck");
      Deno.exit(3);
    }
    if (request.do === "run" && request.steps === 99) continue;
    console.log(JSON.stringify(
      request.do === "setup"
        ? request.work.T > 100
          ? { skip: "too long" }
          : { ready: true, name: "fake", notes: ["does nothing"] }
        : { ms: new Array(request.steps).fill(2) },
    ));
  }
}
`;

Deno.test("a peer answers requests; its failures and silence become reasons", async () => {
  const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    const path = `${folder}/fake.ts`;
    await Deno.writeTextFile(path, fakePeer);
    const start = () => startPeer({ program: "deno", args: ["run", "--no-config", path] });
    const setup = (T: number) => ({
      do: "setup" as const,
      work: { kind: "lstm" as const, T, B: 1, I: 1, H: 1 },
    });

    const peer = start();
    assertEquals(await peer.ask<Ready>(setup(16), 60_000), {
      ready: true,
      name: "fake",
      notes: ["does nothing"],
    });
    assertEquals(await peer.ask<Ran>({ do: "run", steps: 3 }, 60_000), { ms: [2, 2, 2] });
    assertEquals(await peer.ask<Ready>(setup(1000), 60_000), { skip: "too long" });
    assert(peer.alive());
    await peer.end();
    assert(!peer.alive());

    const failing = start();
    assertEquals(await failing.ask<Ran>({ do: "run", steps: 13 }, 60_000), {
      skip: "ended with code 3: out of luck",
    });
    await failing.end();

    const silent = start();
    const reply = await silent.ask<Ran>({ do: "run", steps: 99 }, 1000);
    assertEquals(reply, { skip: "given up: no answer in 1 s" });
    await silent.end();
    assert(!silent.alive());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a peer that does not even start is a reason, not an error", async () => {
  const peer = startPeer({ program: "deno", args: ["run", "--no-config", "/nowhere/peer.ts"] });
  const reply = await peer.ask<Ran>({ do: "run", steps: 1 }, 60_000) as Skip;
  assertMatch(reply.skip, /^ended with code 1: .*\/nowhere\/peer\.ts/);
  assert(!peer.alive());
  await peer.end();
});
