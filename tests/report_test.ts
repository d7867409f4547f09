import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { permutation, randomKey, uniform } from "../src/core/random.ts";
import { floorAnswers, floors } from "../src/data/floors.ts";
import { simulate } from "../src/data/simulate.ts";
import { scores } from "../src/metrics/scores.ts";
import type { Judged } from "../src/report/answers.ts";
import { bootstrap, wilson } from "../src/report/bootstrap.ts";
import { calibration } from "../src/report/calibration.ts";
import { groups, ranges } from "../src/report/groups.ts";
import type { Place } from "../src/data/places.ts";
import { type Html, html, raw } from "../src/report/html.ts";
import type { Run } from "../src/report/run.ts";
import { clustersOf, MEASURES, scoreboard, weightedScores } from "../src/report/scores.ts";
import { nextLocationReport } from "../src/report/report.ts";
import { mostVisible } from "../src/report/sections/map.ts";
import { confusions } from "../src/report/sections/mistakes.ts";
import { trainingSection } from "../src/report/sections/training.ts";
import { defaultConfig } from "../src/train/config.ts";
import { filesBelow, task, tinyConfig, writeTown } from "./commands.ts";

const { train, test, totalLocNum, totalUserNum } = simulate({ people: 12, days: 60 });

/** Samples answered by floors alone: the second floor stands for the model. */
function judgedByFloors(): Judged {
  const answers = floors.map((floor) => floorAnswers(floor, train, test));
  return {
    split: "test",
    config: { ...defaultConfig, totalLocNum, totalUserNum },
    samples: test as Judged["samples"],
    train,
    model: { ...answers[1], confidence: new Float64Array(test.length).fill(0.5) },
    floors: answers,
  };
}

Deno.test("report: everything in a template is escaped, but HTML", () => {
  const bad = `<b a='x' b="y">&`;
  assertEquals(
    html`<i title="${bad}">${[bad, raw("<br>"), 3, undefined, false]}</i>`.html,
    '<i title="&lt;b a=&#39;x&#39; b=&quot;y&quot;&gt;&amp;">' +
      "&lt;b a=&#39;x&#39; b=&quot;y&quot;&gt;&amp;<br>3</i>",
  );
});

Deno.test("report: weighted scores are those of the samples drawn as often as weighted", () => {
  const answers = floorAnswers(floors[3], train, test);
  const people = clustersOf({ samples: test as Judged["samples"] });
  assertEquals([people.of, people.count], ["people", 12]);
  const drawn = Float64Array.from({ length: 12 }, (_, person) => person % 4);
  const often = Array.from(people.ofSample, (person, i) => Array<number>(drawn[person]).fill(i))
    .flat();
  const pick = (values: Int32Array) => often.map((i) => values[i]);
  const expected = scores([{
    targets: pick(answers.targets),
    predictions: pick(answers.predictions),
    ranks: pick(answers.ranks),
  }]);
  const found = weightedScores(answers, people.ofSample, drawn, totalLocNum);
  MEASURES.forEach((measure, i) => assertAlmostEquals(found[i], expected[measure], 1e-9));
});

Deno.test("report: bootstrap intervals of a mean are those of its normal limit", () => {
  // The mean of n independent values has the standard error s / sqrt(n); 1.96 of it on each side.
  const values = uniform(randomKey(5), 400);
  const mean = values.reduce((a, b) => a + b) / 400;
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 400);
  const statistic = (drawn: Float64Array) => [
    drawn.reduce((sum, weight, i) => sum + weight * values[i], 0) / 400,
    7,
  ];
  const [{ low, high }, constant] = bootstrap(400, statistic);
  const half = 1.96 * deviation / 20;
  // With 1,000 replicates a limit is known to about a tenth of its distance.
  assertAlmostEquals(low, mean - half, 0.15 * half);
  assertAlmostEquals(high, mean + half, 0.15 * half);
  assertEquals(constant, { low: 7, high: 7 });
  assertEquals(bootstrap(400, statistic), [{ low, high }, constant]);
});

Deno.test("report: Wilson's limits are where the observed share is 1.96 errors away", () => {
  for (const [hits, count] of [[0, 5], [3, 10], [8, 10], [50, 50], [137, 900]]) {
    const { low, high } = wilson(hits, count);
    const share = hits / count;
    assert(low <= share + 1e-12 && share <= high + 1e-12 && low >= 0 && high <= 1);
    for (const limit of [low, high]) {
      if (limit < 1e-12 || limit > 1 - 1e-12) continue;
      const error = Math.sqrt(limit * (1 - limit) / count);
      assertAlmostEquals(Math.abs(share - limit) / error, 1.959964, 1e-6);
    }
  }
});

Deno.test("report: calibration by hand, and 0 where probabilities are true", () => {
  // Bins of a half: {0.2 wrong, 0.4 right} and {0.8 right, 1 right}.
  const { bins, error, excess } = calibration([0.2, 0.4, 0.8, 1], [false, true, true, true], 2);
  assertEquals(bins.map(({ from, to, count }) => [from, to, count]), [[0, 0.5, 2], [0.5, 1, 2]]);
  assertAlmostEquals(bins[0].confidence, 0.3);
  assertEquals(bins.map(({ accuracy }) => accuracy), [0.5, 1]);
  // Gaps of 0.2 and 0.1, of two answers each; both are too modest.
  assertAlmostEquals(error, 0.15);
  assertAlmostEquals(excess, -0.15);

  const shares = [0.25, 0.5, 0.75];
  const right = shares.flatMap((share) => Array.from({ length: 8 }, (_, i) => i < 8 * share));
  const sure = shares.flatMap((share) => Array<number>(8).fill(share));
  assertAlmostEquals(calibration(sure, right).error, 0);
});

Deno.test("report: ranges hold every number once, are in order and never more than asked", () => {
  fc.assert(fc.property(
    fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 300 }),
    fc.integer({ min: 1, max: 9 }),
    (values, most) => {
      const found = ranges(values, most);
      assert(found.length <= most);
      found.forEach(({ from, to }, i) => {
        assert(from <= to && (i === 0 || from > found[i - 1].to));
        assert(values.includes(from) && values.includes(to));
      });
      for (const value of values) {
        assert(found.some(({ from, to }) => from <= value && value <= to));
      }
    },
  ));
});

Deno.test("report: groups add up to all, and scores are those of evaluate", () => {
  const judged = judgedByFloors();
  const board = scoreboard(judged, false);
  const markov = scores([judged.floors[1]]);
  assertEquals(board.model.scores, markov);
  // The model is the Markov floor itself: no draw tells them apart.
  assertEquals(board.floors[1].ahead, { by: 0, low: 0, high: 0 });
  for (const line of [board.model, ...board.floors]) {
    for (const measure of MEASURES) {
      const { low, high } = line.intervals[measure];
      assert(low <= line.scores[measure] && line.scores[measure] <= high);
    }
  }
  const days = ["0", "1", "2", "3", "4", "5", "6"];
  const list = groups(judged, 3, days, ({ weekday_X }) => String(weekday_X[0]));
  const total = (of: "model" | "guess") =>
    list.reduce((sum, group) => sum + group.count * group[of], 0) / test.length;
  assertAlmostEquals(total("model"), markov.acc1, 1e-9);
  assertAlmostEquals(total("guess"), board.floors[3].scores.acc1, 1e-9);

  const pairs = confusions(judged);
  const wrong = test.length - Math.round(markov.acc1 * test.length / 100);
  assertEquals(pairs.reduce((sum, { count }) => sum + count, 0), wrong);
  assertEquals(
    pairs.map(({ count }) => count),
    pairs.map(({ count }) => count).sort((a, b) => b - a),
  );
});

Deno.test("report: with few people intervals are over samples, whatever their order", () => {
  const few = (test as Judged["samples"]).filter(({ user_X }) => user_X[0] <= 3);
  assertEquals(clustersOf({ samples: few }).of, "samples");
  assertEquals(clustersOf({ samples: few }).count, few.length);
  const order = permutation(randomKey(2), test.length);
  const shuffled = Array.from(order, (i) => (test as Judged["samples"])[i]);
  assertEquals(clustersOf({ samples: shuffled }).count, 12);
});

Deno.test("report: whatever numbers an epoch may have, drawings and tables have none that is none", () => {
  const value = fc.oneof(
    fc.double({ min: 0, max: 100, noNaN: true }),
    fc.constantFrom(0, NaN, 1e-300, 1e300, -5),
  );
  const scores = fc.record({ loss: value, acc1: value, mrr: value });
  const time = fc.double({ min: 0, max: 1e300, noNaN: true });
  const epoch = fc.record({
    learningRate: time,
    train: scores,
    validation: scores,
    improved: fc.boolean(),
    action: fc.constantFrom("continue", "reduce", "stop"),
    seconds: time,
  });
  const rate = fc.record({ step: fc.nat(2000), learningRate: time });
  fc.assert(
    fc.property(
      fc.array(epoch, { minLength: 1, maxLength: 30 }),
      fc.array(rate, { maxLength: 40 }),
      fc.integer({ min: 1, max: 1e6 }),
      (list, rates, steps) => {
        const run: Run = {
          ...{ name: "x", config: defaultConfig, results: {}, environment: {}, parameters: [] },
          directory: { path: "x", config: defaultConfig },
          epochs: list.map((one, i) => ({ ...one, epoch: i + 1, step: (i + 1) * steps })),
          rates,
          rewinds: [],
        };
        const { html: page } = trainingSection(run).content as Html;
        const bad = /.{0,60}(NaN|undefined|Infinity)/.exec(page);
        assertEquals(bad?.[0], undefined);
      },
    ),
    { numRuns: 60 },
  );
});

/** A finished run of one epoch. */
const oneEpoch: Run = {
  ...{ name: "x", config: defaultConfig, parameters: [] },
  ...{ results: {}, environment: {}, rates: [], rewinds: [] },
  directory: { path: "x", config: defaultConfig },
  epochs: [{
    ...{ epoch: 1, step: 20, learningRate: 0.1, improved: true, action: "continue", seconds: 1 },
    train: { loss: 2, acc1: 1 },
    validation: { loss: 2, acc1: 1 },
  }],
};

Deno.test("report: few samples, all right or wrong, none known, places at the ends of the earth", () => {
  const judged = judgedByFloors();
  /** The report of some samples, with other answers and places. */
  const page = (
    keep: (i: number) => boolean,
    { right, places = [] }: { right?: boolean; places?: readonly Place[] },
  ): string => {
    const kept = judged.samples.flatMap((_, i) => keep(i) ? [i] : []);
    const pick = (values: Int32Array): Int32Array => Int32Array.from(kept, (i) => values[i]);
    const { targets, predictions, ranks } = judged.model;
    const some: Judged = {
      ...judged,
      samples: kept.map((i) => judged.samples[i]),
      model: {
        targets: pick(targets),
        predictions: right ? pick(targets) : pick(predictions),
        ranks: right === undefined ? pick(ranks) : new Int32Array(kept.length).fill(right ? 1 : 9),
        confidence: new Float64Array(kept.length).fill(0.5),
      },
      floors: judged.floors.map((floor) => ({
        targets: pick(floor.targets),
        predictions: pick(floor.predictions),
        ranks: pick(floor.ranks),
      })),
    };
    const person = mostVisible(some, new Map(places.map((place) => [place.id, place])));
    const text = nextLocationReport({
      ...{ run: oneEpoch, judged: some, places, person },
      others: [{ run: oneEpoch, judged: some }],
    });
    assertEquals(/.{0,80}(NaN|undefined|Infinity)/.exec(text)?.[0], undefined);
    assertEquals(text.includes('<section id="map"'), person !== undefined);
    return text;
  };
  const known = judged.samples.findIndex(({ Y }) => Y >= 2);
  page((i) => i === known, {});
  page(() => true, { right: false });
  assertMatch(page(() => true, { right: true }), /There are none\.|no wrong/);
  assertMatch(page((i) => judged.samples[i].Y < 2, {}), /<p class="answer">/);
  const everywhere = (latitude: number, longitude: number): readonly Place[] =>
    Array.from({ length: totalLocNum - 2 }, (_, i) => ({ id: i + 2, latitude, longitude }));
  for (const [latitude, longitude] of [[0, 0], [90, 180], [-90, -180], [89.9, 0]]) {
    page(() => true, { places: everywhere(latitude, longitude) });
    page((i) => i === known, { places: everywhere(latitude, longitude) });
  }
  // On both sides of the date line, and far from one another.
  const apart = everywhere(10, 179.9).map((place) => ({
    ...place,
    longitude: place.id % 2 === 0 ? 179.9 : -179.9,
  }));
  page(() => true, { places: apart });
});

const adapter = await navigator.gpu?.requestAdapter();
const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));

Deno.test({
  name: `report: what it cannot use it names in one line, and writes nothing${
    adapter ? "" : ": skipped, no WebGPU adapter"
  }`,
  ignore: !adapter,
  async fn() {
    const town = await writeTown(folder);
    await Deno.writeTextFile(`${folder}/tiny.yaml`, tinyConfig());
    const trained = await task("train", [
      ...["--config", `${folder}/tiny.yaml`, "--data", town, "--out", `${folder}/run`, "--quiet"],
    ]);
    assertEquals(trained.code, 0, trained.err);
    const run = `${folder}/run`;
    const whole = await filesBelow(run);

    /** Reports a run of which some file is replaced, or removed where there is nothing else. */
    const refuses = async (
      files: Readonly<Record<string, string | undefined>>,
      says: readonly string[],
      args: readonly string[] = ["--run", run],
      code = 1,
    ): Promise<void> => {
      for (const [name, text] of Object.entries(files)) {
        if (text === undefined) await Deno.remove(`${run}/${name}`);
        else await Deno.writeTextFile(`${run}/${name}`, text);
      }
      const before = await filesBelow(folder);
      const outcome = await task("report", [...args, "--quiet"]);
      assertMatch(outcome.err, /^error: [^\n]+\n$/);
      for (const part of says) assert(outcome.err.includes(part), `${part}: ${outcome.err}`);
      assertEquals([outcome.code, outcome.out], [code, ""]);
      assertEquals(await filesBelow(folder), before);
      for (const name of Object.keys(files)) {
        await Deno.writeFile(`${run}/${name}`, Uint8Array.fromBase64(whole[name]));
      }
    };
    const metrics = new TextDecoder().decode(Uint8Array.fromBase64(whole["metrics.jsonl"]));
    const lines = metrics.trimEnd().split("\n");
    await refuses({}, ["--run DIR is needed"], [], 2);
    await refuses({}, ["nowhere", "is not a run directory"], ["--run", `${folder}/nowhere`]);
    await refuses({}, ["must end in .html"], ["--run", run, "--out", `${folder}/tiny.yaml`], 2);
    await refuses({}, ["there is no folder", "nowhere"], [
      ...["--run", run, "--out", `${folder}/nowhere/x.html`],
    ]);
    await refuses({}, ["--compare needs a value"], ["--run", run, "--compare="], 2);
    await refuses({}, ["elsewhere"], ["--run", run, "--compare", run, `${folder}/elsewhere`]);
    await refuses({}, ["there is no map"], ["--run", run, "--user", "9"], 2);
    await refuses({}, ["no such", "--data"], ["--run", run, "--data", `${folder}/gone`]);
    await refuses({ "test_results.json": undefined }, ["has not ended", "--resume"]);
    await refuses({ "best.safetensors": undefined }, ["best.safetensors"]);
    await refuses({ "environment.json": "[]" }, ["environment.json: is damaged"]);
    await refuses({ "metrics.jsonl": "" }, ["metrics.jsonl", "no epoch"]);
    await refuses({ "metrics.jsonl": metrics.slice(0, -40) }, [
      `metrics.jsonl: line ${lines.length}: is damaged, no JSON (cut off?)`,
    ]);
    await refuses({ "metrics.jsonl": lines.toReversed().join("\n") }, [
      "line 1: is damaged: epoch 2",
    ]);
    await refuses({ "metrics.jsonl": lines[0].replace(/"step":\d+/, '"step":"x"') }, [
      'line 1: is damaged: step is "x"',
    ]);
    await refuses(
      {
        "metrics.jsonl": lines.at(-1)!.replace('"epoch":2', '"epoch":1').replace(/"train":.*/, "}"),
      },
      ["line 1"],
    );

    const report = async (...args: string[]): Promise<string> => {
      const { code, err } = await task("report", ["--run", run, "--quiet", ...args]);
      assertEquals([code, err], [0, ""]);
      return await Deno.readTextFile(`${run}/report.html`);
    };
    const page = await report();
    assertEquals(await report(), page);
    // What the page says is what training measured.
    const results = JSON.parse(await Deno.readTextFile(`${run}/test_results.json`));
    assert(page.includes(`<td class="number">${results["acc@1"].toFixed(2)}<small>`));
    assert(!page.includes("Not what training measured"));
    const other = JSON.stringify({ ...results, "acc@1": results["acc@1"] + 9 });
    await Deno.writeTextFile(`${run}/test_results.json`, other);
    assertMatch(await report(), /Not what training measured/);
    assert((await report("--split", "validation")).includes("validation target"));
  },
});

Deno.test({
  name: `report: any other model has its scores, training, parameters and setup${
    adapter ? "" : ": skipped, no WebGPU adapter"
  }`,
  ignore: !adapter,
  async fn() {
    const run = `${folder}/classifier`;
    const trained = await task("train", [
      ...["--model", "sequence_classifier", "--epochs", "1", "--out", run, "--quiet"],
    ]);
    assertEquals(trained.code, 0, trained.err);
    const refused = await task("report", ["--run", run, "--user", "3", "--quiet"]);
    assertEquals(refused.code, 2);
    assertMatch(refused.err, /^error: --user: there is a map only for .*\n$/);
    const { code, err } = await task("report", ["--run", run, "--compare", run, "--quiet"]);
    assertEquals([code, err], [0, ""]);
    const page = await Deno.readTextFile(`${run}/report.html`);
    const [, sentence] = /<p class="answer">([^<]+)<\/p>/.exec(page)!;
    assert(trained.out.includes(sentence), sentence);
    for (const id of ["scores", "compare", "training", "parameters", "setup"]) {
      assert(page.includes(`<section id="${id}"`), id);
    }
  },
});
