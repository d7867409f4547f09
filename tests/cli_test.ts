import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import denoConfig from "../deno.json" with { type: "json" };
import { floors } from "../src/data/floors.ts";
import { formatPlaces } from "../src/data/places.ts";
import { readSamples } from "../src/data/read_samples.ts";
import { formatSample } from "../src/data/samples.ts";
import { defaultConfig, parseConfig } from "../src/train/config.ts";
import { readSafetensors } from "../src/train/safetensors.ts";
import { badInputs } from "./bad_input.ts";
import {
  filesBelow,
  gpuTest,
  hasAdapter,
  type Outcome,
  task,
  tinyConfig,
  writeTown,
} from "./commands.ts";

const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
const [config, run] = [`${folder}/tiny.yaml`, `${folder}/run`];
const town = await writeTown(folder);
await Deno.writeTextFile(config, tinyConfig());
const trained = hasAdapter
  ? await task("train", ["--config", config, "--data", town, "--out", run])
  : undefined;

Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));

const readJson = async (path: string): Promise<Record<string, number>> =>
  JSON.parse(await Deno.readTextFile(path));

/** The JSON that a command printed; it must print nothing else and succeed. */
function jsonOf({ code, out, err }: Outcome): Record<string, number> {
  assertEquals(code, 0, err);
  return JSON.parse(out);
}

/** A file's records, one a line. */
async function records(path: string): Promise<readonly Record<string, number | string>[]> {
  return (await Deno.readTextFile(path)).trimEnd().split("\n").map((line) => JSON.parse(line));
}

gpuTest("train shows progress in plain lines and prints nothing but results", () => {
  const { code, out, err } = trained!;
  assertEquals(code, 0, err);
  assertMatch(out, /^ +samples +loss +acc@1 .*\ntest, all targets: this model +43 /);
  assertMatch(out, /\nBest after epoch [12] of 2; .*\n$/);
  assertMatch(err, /^161 training, 23 validation and 43 test samples; 30 locations, 4 users\n/);
  assertMatch(err, /\nepoch 1: loss .*, validation loss .*; best so far\nepoch 2: /);
  // deno-lint-ignore no-control-regex -- what would redraw a line of a terminal
  assert(!/[\r\x1b]/.test(out + err), err);
  return Promise.resolve();
});

gpuTest(
  "a run directory holds configuration, metrics, weights, scores and environment",
  async () => {
    assertEquals(Object.keys(await filesBelow(run)).sort(), [
      "best.safetensors",
      "checkpoints/lock",
      "checkpoints/step_00000020.safetensors",
      "checkpoints/step_00000040.safetensors",
      "config.yaml",
      "environment.json",
      "metrics.jsonl",
      "test_results.json",
    ]);
    const resolved = parseConfig(await Deno.readTextFile(`${run}/config.yaml`), "config.yaml");
    assertEquals(resolved, {
      ...parseConfig(tinyConfig(), "tiny.yaml"),
      dataDir: folder,
      datasetPrefix: "town",
      totalLocNum: 30,
      totalUserNum: 4,
    });

    const metrics = await records(`${run}/metrics.jsonl`);
    // 161 samples are 20 whole batches of 8; a line every 5 steps and one an epoch.
    assertEquals(metrics.map(({ kind, epoch, step }) => [kind, epoch, step]), [
      ...[5, 10, 15, 20].map((step) => ["interval", 1, step]),
      ["epoch", 1, 20],
      ...[25, 30, 35, 40].map((step) => ["interval", 2, step]),
      ["epoch", 2, 40],
    ]);
    for (const { kind, step, learningRate } of metrics) {
      if (kind !== "interval") continue;
      // The first of 2 epochs' 40 steps of warm-up has rate 0.
      assertAlmostEquals(Number(learningRate), 0.01 * (Number(step) - 1) / 40, 1e-12);
    }

    const results = await readJson(`${run}/test_results.json`);
    for (const k of [1, 3, 5, 10]) {
      assertAlmostEquals(results[`acc@${k}`], 100 * results[`correct@${k}`] / results.total, 1e-9);
    }
    assertEquals(results.total, (await readSamples(`${town}_test.jsonl`)).length);
    assertAlmostEquals(results.mrr, 100 * results.rr / results.total, 1e-9);
    assert(["ndcg", "f1", "loss"].every((key) => results[key] > 0 && results[key] < 100));

    const environment = await readJson(`${run}/environment.json`) as Record<string, unknown>;
    assertEquals(environment.gatewise, denoConfig.version);
    assertEquals(environment.deno, Deno.version.deno);
    assertEquals(typeof environment.adapter, "string");
  },
);

gpuTest("the weights have the names and shapes of the reference's state_dict", async () => {
  const { tensors } = await readSafetensors(`${run}/best.safetensors`);
  const shapes = Object.fromEntries([...tensors].map(([name, { shape }]) => [name, [...shape]]));
  assertEquals(shapes, {
    "Embedding.emb_loc.weight": [30, 8],
    "Embedding.temporal_embedding.hour_embed.weight": [24, 8],
    "Embedding.temporal_embedding.minute_embed.weight": [4, 8],
    "Embedding.temporal_embedding.weekday_embed.weight": [7, 8],
    "Embedding.emb_duration.weight": [96, 8],
    "lstm.weight_ih_l0": [32, 8],
    "lstm.weight_hh_l0": [32, 8],
    "lstm.bias_ih_l0": [32],
    "lstm.bias_hh_l0": [32],
    "layer_norm.weight": [8],
    "layer_norm.bias": [8],
    "FC.emb_user.weight": [4, 8],
    "FC.linear1.weight": [16, 8],
    "FC.linear1.bias": [16],
    "FC.linear2.weight": [8, 16],
    "FC.linear2.bias": [8],
    "FC.norm1.weight": [8],
    "FC.norm1.bias": [8],
    "FC.norm1.running_mean": [8],
    "FC.norm1.running_var": [8],
    "FC.norm1.num_batches_tracked": [],
    "FC.fc_loc.weight": [30, 8],
    "FC.fc_loc.bias": [30],
  });
  const { best_epoch } = await readJson(`${run}/test_results.json`);
  assertEquals([...tensors.get("FC.norm1.num_batches_tracked")!.data], [20 * best_epoch]);
});

gpuTest("evaluate gives the scores of the training again", async () => {
  const { best_epoch, epochs: _, seconds: __, ...scores } = await readJson(
    `${run}/test_results.json`,
  );
  assertEquals(jsonOf(await task("evaluate", ["--run", run, "--json"])), scores);
  const byFiles = ["--weights", `${run}/best.safetensors`, "--config", `${run}/config.yaml`];
  assertEquals(jsonOf(await task("evaluate", [...byFiles, "--data", town, "--json"])), scores);

  const split = ["--split", "validation", "--json", "--quiet"];
  const validation = jsonOf(await task("evaluate", ["--run", run, ...split]));
  const epoch = (await records(`${run}/metrics.jsonl`))
    .find(({ kind, epoch }) => kind === "epoch" && epoch === best_epoch)!;
  const { all } = epoch.validation as unknown as { all: Record<string, number> };
  assertEquals([validation.loss, validation["acc@5"]], [all.loss, all.acc5]);

  const { out, err } = await task("evaluate", ["--run", run, "--quiet"]);
  assertMatch(out, /^ +samples .*\ntest, all targets: this model +43 (.*\n){4}.*\n\n/);
  assertMatch(
    out,
    /\ntest, known places: this model +25 (.*\n){4}.*\n\nThe model (beats|does not) .*\n$/,
  );
  assertEquals(err, "");

  await Deno.mkdir(`${folder}/alone`);
  await Deno.copyFile(`${town}_test.jsonl`, `${folder}/alone/town_test.jsonl`);
  const alone = await task("evaluate", ["--run", run, "--quiet", "--data", `${folder}/alone/town`]);
  assertEquals(alone.code, 0);
  assertMatch(alone.err, /^without the scores of guessing: .*town_train.*no such file.*\n$/);
  assertMatch(alone.out, /^ +samples .*\ntest, all targets: this model +43 .*\n\n.*\n.*known.*\n$/);
});

gpuTest("predict ranks the next locations of samples without targets", async () => {
  const samples = await readSamples(`${town}_test.jsonl`);
  const lines = (await Deno.readTextFile(`${town}_test.jsonl`)).replaceAll(/,"Y":\d+/g, "");
  assert(!lines.includes('"Y"'));
  await Deno.writeTextFile(`${folder}/questions.jsonl`, lines);
  const all = ["--run", run, "--top", "30", "--json"];
  const piped = await task("predict", all, { stdin: lines });
  const { code, out, err } = await task("predict", [
    ...["--input", `${folder}/questions.jsonl`],
    ...all,
  ]);
  assertEquals([code, err], [0, ""]);
  assertEquals(piped, { code, out, err });

  type Choice = { readonly location: number; readonly probability: number };
  const answers = out.trimEnd().split("\n")
    .map((line) => JSON.parse(line) as { readonly sample: number; readonly next: Choice[] });
  assertEquals(answers.map(({ sample }) => sample), samples.map((_, i) => i));
  let hits = 0;
  answers.forEach(({ next }, i) => {
    const probabilities = next.map(({ probability }) => probability);
    assertEquals(probabilities, probabilities.toSorted((a, b) => b - a));
    // Every location but padding, whose probability is the rest.
    assertEquals(
      next.map(({ location }) => location).sort((a, b) => a - b),
      [...Array(30).keys()].slice(1),
    );
    const sum = probabilities.reduce((total, p) => total + p, 0);
    assert(sum > 0.5 && sum <= 1 + 1e-6, `${sum}`);
    if (next.slice(0, 10).some(({ location }) => location === samples[i].Y)) hits++;
  });
  // Without padding a target can only come sooner than in the test's ranking of all ids.
  const { total, "correct@10": correct } = await readJson(`${run}/test_results.json`);
  assert(hits >= correct && hits < total, `${hits} of ${correct}`);

  // A sample alone gets what it gets among others.
  const [, second] = lines.split("\n");
  const alone = jsonOf(await task("predict", ["--run", run, "--json"], { stdin: second }));
  const { next } = alone as unknown as { next: Choice[] };
  assertEquals(next.length, 5);
  next.forEach(({ location, probability }, i) => {
    assertEquals(location, answers[1].next[i].location);
    assertAlmostEquals(probability, answers[1].next[i].probability, 1e-6);
  });

  const text = await task("predict", ["--run", run, "--top", "2"], { stdin: lines });
  assertEquals(text.out.split("\n").length, samples.length + 1);
  assertMatch(text.out, /^sample 0: [^,]+ \d+\.\d%, [^,]+ \d+\.\d%\nsample 1: /);
});

gpuTest("predict names the next places of one person, and why", async () => {
  const [sample] = await readSamples(`${town}_test.jsonl`);
  // The visits of a sample as a person's file would have them, the target on 10 July 2024.
  const dayOf = (diff: number): string =>
    new Date(Date.UTC(2024, 6, 10 - diff)).toISOString().slice(0, 10);
  const two = (n: number): string => String(Math.floor(n)).padStart(2, "0");
  const visits = Array.from(sample.X, (place, i) => {
    const minute = sample.start_min_X[i];
    const start = `${dayOf(sample.diff[i])}T${two(minute / 60)}:${two(minute % 60)}`;
    return `${start},${sample.dur_X[i]},${place}`;
  });
  const file = `${folder}/visits.csv`;
  await Deno.writeTextFile(file, ["start,minutes,place", ...visits.toReversed()].join("\n"));
  const user = String(sample.user_X[0]);
  const asked = ["--run", run, "--history", file, "--at", "2024-07-10T23:59", "--top", "30"];
  const { code, out, err } = await task("predict", [...asked, "--user", user, "--json"]);
  assertEquals(code, 0, err);
  const known = JSON.parse(out);
  assertEquals([known.at, known.visits, String(known.user)], [
    ...["2024-07-10T23:59", sample.X.length, user],
  ]);
  // The same as for the sample itself, on the days of the week that the file says.
  const moved = sample.diff.map((diff) =>
    (new Date(Date.UTC(2024, 6, 10 - diff)).getUTCDay() + 6) % 7
  );
  const same = { ...sample, weekday_X: moved, Y: undefined };
  const lines = await task("predict", ["--run", run, "--top", "30", "--json"], {
    stdin: formatSample(same),
  });
  type Choice = { readonly id: number; readonly location: number; readonly probability: number };
  const { next }: { next: readonly Choice[] } = JSON.parse(lines.out);
  assertEquals(
    known.next.map(({ id, probability }: Choice) => [id, probability]),
    next.map(({ location, probability }) => [location, probability]),
  );
  const train = await readSamples(`${town}_train.jsonl`);
  for (const floor of floors) {
    const { id, rank, probability } = known.floors[floor.name];
    assertEquals(id, floor.fit(train)(same).first);
    assertEquals(known.next[rank - 1], { id, probability });
  }

  // A person whom training did not have: the mean over those whom it had.
  const people: (readonly Choice[])[] = [];
  for (const id of ["1", "2", "3"]) {
    people.push(JSON.parse((await task("predict", [...asked, "--user", id, "--json"])).out).next);
  }
  const stranger = JSON.parse((await task("predict", [...asked, "--json"])).out);
  assertEquals(stranger.user, null);
  for (const { id, probability } of stranger.next) {
    const each = people.map((next) => next.find((place) => place.id === id)!.probability);
    assertAlmostEquals(probability, each.reduce((a, b) => a + b) / 3, 1e-9);
  }

  // With places, names are said and positions understood.
  const named = [{ id: 2, latitude: 46, longitude: 7, name: "at home" }];
  await Deno.writeTextFile(`${folder}/named.csv`, formatPlaces(named));
  await Deno.writeTextFile(
    file,
    "Latitude,Longitude,Start\n46.0001,7,2024-07-08T08:00\n46,7,2024-07-09T08:00\n" +
      "46,8,2024-07-09T12:00\n",
  );
  const text = await task("predict", [
    ...["--run", run, "--history", file, "--places", `${folder}/named.csv`, "--top", "30"],
  ]);
  assertEquals(text.code, 0, text.err);
  assertMatch(
    text.out,
    /^Next after 3 visits, at 2024-07-09T12:00, for a person whom training did/,
  );
  assertMatch(text.out, / place 2 \(at home; 46\.00000, 7\.00000\)/);
  assertMatch(text.out, /most frequent place in the history +place 2 \(at home/);

  await Deno.writeTextFile(file, "start,place\n2024-07-08T08:00,2\n");
  const short = await task("predict", ["--run", run, "--history", file]);
  assertEquals([short.code, short.out], [1, ""]);
  assertMatch(short.err, /^error: .*visits.csv: 1 of 1 visits are within 7 days .*\n$/);
  const stray = await task("predict", ["--run", run, "--user", "1"]);
  assertEquals(stray.code, 2);
});

gpuTest(
  "inspect lists the same parameters of a run, its weights and its configuration",
  async () => {
    const list = async (...args: string[]): Promise<[unknown[], number]> => {
      const { parameters, total } = jsonOf(
        await task("inspect", [...args, "--json"]),
      ) as unknown as {
        readonly parameters: { readonly name: string; readonly count: number }[];
        readonly total: number;
      };
      assertEquals(parameters.reduce((sum, { count }) => sum + count, 0), total);
      return [parameters.toSorted((a, b) => a.name < b.name ? -1 : 1), total];
    };
    const ofRun = await list("--run", run);
    // Tables 161 x 8, LSTM 32 x 16 + 64, norms 16 + 16, user 4 x 8, block 144 + 136, output 30 x 9.
    assertEquals(ofRun[1], 1288 + 576 + 32 + 32 + 280 + 270);
    assertEquals(await list("--weights", `${run}/best.safetensors`), ofRun);
    assertEquals(await list("--config", `${run}/config.yaml`), ofRun);
  },
);

gpuTest("one seed gives the same weights bit for bit, another seed gives others", async () => {
  const weights = (path: string): Promise<Uint8Array> => Deno.readFile(`${path}/best.safetensors`);
  const train = async (name: string, ...args: string[]): Promise<Uint8Array> => {
    const out = `${folder}/${name}`;
    const done = await task("train", [
      ...["--config", config, "--data", town, "--out", out, "--quiet", "--json", ...args],
    ]);
    assertEquals([done.code, done.err], [0, ""]);
    const results = await readJson(`${out}/test_results.json`);
    const scores = JSON.parse(done.out);
    assertEquals({ ...results, ...scores }, results);
    return await weights(out);
  };
  const first = await weights(run);
  assertEquals(await train("again"), first);
  assertEquals(await train("same", "--seed", "42"), first);
  const other = await train("other", "--seed", "1");
  assertEquals(other.length, first.length);
  assert(other.some((byte, i) => byte !== first[i]));
});

gpuTest("a configuration of the reference runs as it is, with other data", async () => {
  const file = new URL("../fixtures/configs/reference_form.yaml", import.meta.url).pathname;
  const out = `${folder}/reference`;
  const args = ["--config", file, "--data", town, "--epochs", "1", "--out", out];
  const { code, err } = await task("train", args);
  assertEquals(code, 0, err);
  const { totalLocNum, lstmNumLayers, optimizer, maxEpoch } = parseConfig(
    await Deno.readTextFile(`${out}/config.yaml`),
    "config.yaml",
  );
  assertEquals([totalLocNum, lstmNumLayers, optimizer, maxEpoch], [301, 3, "SGD", 1]);
});

gpuTest("bad input is answered with one line, and no file is lost or half there", async () => {
  const bad = `${folder}/bad`;
  await Deno.mkdir(bad);
  const inputs = await badInputs(bad, run);
  const before = await filesBelow(folder);
  for (const { what, task: name, args, start, names, code, leavesRun = false } of inputs) {
    const outcome = await task(name, args, start);
    assertEquals([outcome.code, outcome.out], [code, ""], `${what}: ${outcome.err}`);
    const lines = outcome.err.trimEnd().split("\n");
    assertMatch(lines.at(-1)!, /^error: /, what);
    assertEquals(lines.filter((line) => line.startsWith("error")).length, 1, outcome.err);
    // Only a training that began has anything else to say.
    assert(leavesRun || lines.length === 1, `${what}: ${outcome.err}`);
    assert(!/^ +at |unexpected \w*Error/m.test(outcome.err), `${what}: ${outcome.err}`);
    for (const part of names) assert(lines.at(-1)!.includes(part), `${what}: ${outcome.err}`);
    const after = Object.entries(await filesBelow(folder));
    const inOut = ([path]: readonly [string, string]): boolean => path.startsWith("bad/out/");
    assertEquals(after.some(inOut), leavesRun, what);
    assertEquals(Object.fromEntries(after.filter((file) => !inOut(file))), before, what);
    await Deno.remove(`${bad}/out`, { recursive: true }).catch(() => {});
  }
});

Deno.test("inspect counts what the published model has", async () => {
  const count = async (sizes: Readonly<Record<string, string>>): Promise<number> => {
    const file = `${folder}/sized.yaml`;
    await Deno.writeTextFile(file, tinyConfig(sizes));
    return jsonOf(await task("inspect", ["--config", file, "--json"])).total;
  };
  // GeoLife's and the DIY data's configurations.
  const geolife = {
    dataset_info: "total_loc_num: 1187, total_user_num: 46",
    embedding: "base_emb_size: 32",
    model: "lstm_hidden_size: 128, lstm_num_layers: 2",
  };
  const diy = {
    dataset_info: "total_loc_num: 7038, total_user_num: 693",
    embedding: "base_emb_size: 96",
    model: "lstm_hidden_size: 192, lstm_num_layers: 2",
  };
  assertEquals([await count(geolife), await count(diy)], [482_659, 2_847_582]);
});

Deno.test("every command explains itself", async () => {
  for (
    const name of ["train", "evaluate", "predict", "inspect", "trace", "prepare", "report"] as const
  ) {
    const { code, out, err } = await task(name, ["--help"]);
    assertEquals([code, err], [0, ""]);
    assert(out.startsWith(`Usage: deno task ${name} [options]\n`), out);
    for (const line of out.split("\n")) assert(line.length <= 100, line);
  }
});

Deno.test("the printed defaults are a configuration that changes nothing", async () => {
  const { code, out, err } = await task("train", ["--defaults"]);
  assertEquals([code, err], [0, ""]);
  assertEquals(parseConfig(out, "defaults.yaml"), defaultConfig);
});
