import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { flatten } from "../src/core/tree.ts";
import type { HostTensor } from "../src/core/tensor.ts";
import { randomKey } from "../src/core/random.ts";
import { simulate } from "../src/data/simulate.ts";
import { openDevice } from "../src/gpu/device.ts";
import { nextLocation } from "../src/models/next_location.ts";
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from "../src/train/checkpoint.ts";
import { defaultConfig, differences } from "../src/train/config.ts";
import { fingerprint, type Samples, type SizedConfig } from "../src/train/data.ts";
import { fit, type FitEvents, type FitResult, optimizerOf } from "../src/train/fit.ts";
import {
  cutMetrics,
  loadCheckpoint,
  lockRun,
  type RunDirectory,
  saveCheckpoint,
} from "../src/train/run_directory.ts";
import { readSafetensors, writeSafetensors } from "../src/train/safetensors.ts";
import type { ScoredBatch } from "../src/metrics/scores.ts";
import type { Answers } from "../src/tasks/task.ts";
import { gpuTest, task, tinyConfig, writeTown } from "./commands.ts";

const town = simulate({ people: 3, days: 30 });
const config: SizedConfig = {
  ...defaultConfig,
  totalLocNum: town.totalLocNum,
  totalUserNum: town.totalUserNum,
  batchSize: 16,
  printStep: 3,
  checkpointStep: 4,
  baseEmbSize: 8,
  lstmHiddenSize: 8,
  lstmNumLayers: 1,
  maxEpoch: 3,
  // A reduction of the rate falls into the run: it holds the rate and goes back to the best weights.
  patience: 1,
  lr: 0.5,
};
const samples: Samples = town;
/** Diverges within a few steps. */
const wild: SizedConfig = {
  ...config,
  optimizer: "SGD",
  lr: 10,
  clipNorm: 1e30,
  numWarmupEpochs: 0,
};

/** Weights as numbers, and epochs without the time they took. */
function comparable({ weights, epochs, bestEpoch, test }: FitResult): unknown {
  const tensors = flatten(weights).map(({ path, leaf }) => [path, (leaf as HostTensor).data]);
  return [tensors, epochs.map((epoch) => ({ ...epoch, seconds: 0 })), bestEpoch, test];
}

/** The checkpoint as it comes back from a file. */
async function stored(checkpoint: Checkpoint): Promise<Checkpoint> {
  const { fit } = await decodeCheckpoint(await encodeCheckpoint(checkpoint, {}), "checkpoint");
  const { params, statistics } = nextLocation(config).init(randomKey(0));
  return fit({ params, statistics }, optimizerOf(config).init(params));
}

gpuTest("a training that is ended anywhere goes on to the same bits", async () => {
  using device = await openDevice();
  const whole = await fit(device, config, samples);
  assert(whole.epochs.some(({ action }) => action === "reduce"), "no reduction to resume after");
  // Ended once in every kind of place, one after the other in one training.
  const places = ["batch 2", "batch 7", "validation", "batch 9", "validation", "batch 10", "test"];
  let from: Checkpoint | undefined;
  let result: FitResult | undefined;
  const ended: string[] = [];
  while (result === undefined) {
    const abort = new AbortController();
    const place = places[ended.length];
    let pass = "";
    const events: FitEvents = {
      onPass(name) {
        pass = name;
      },
      onBatch(done) {
        const here = pass.startsWith("epoch") ? `batch ${done}` : pass;
        if (here === place) abort.abort(place);
      },
      // deno-lint-ignore require-await -- what an event gives
      onCheckpoint: async (checkpoint) => {
        from = checkpoint;
      },
    };
    try {
      result = await fit(device, config, samples, events, { from, signal: abort.signal });
    } catch (reason) {
      if (reason !== place) throw reason;
      ended.push(place);
      from = await stored(from!);
    }
  }
  assertEquals(ended, places);
  assertEquals(comparable(result), comparable(whole));
});

gpuTest("a loss that is not finite ends training and names the largest gradient", async () => {
  using device = await openDevice();
  const error = await assertRejects(() => fit(device, wild, samples), InputError);
  const names = flatten(nextLocation(config).init(randomKey(0)).params).map(({ path }) => path);
  const [, step, name] = error.message.match(
    /^training diverged: the (?:loss of|parameters after) step (\d+) .* at learning rate [\d.e+-]+; the largest gradient, at step \d+, is that of (\S+) \(.*\); lower optimiser\.lr or .*--on-nan rewind$/,
  ) ?? [];
  assert(Number(step) > 1, error.message);
  assert(names.includes(name), error.message);
});

gpuTest("--on-nan rewind goes back to the checkpoint at half the rate, five times", async () => {
  using device = await openDevice();
  const rewinding: SizedConfig = { ...wild, onNan: "rewind" };
  const factors: number[] = [];
  let last: Checkpoint | undefined;
  const error = await assertRejects(
    () =>
      fit(device, rewinding, samples, {
        onRewind: ({ rateFactor, to }) => {
          assertEquals(to, last?.progress.step ?? 0);
          factors.push(rateFactor);
        },
        // deno-lint-ignore require-await -- what an event gives
        onCheckpoint: async (checkpoint) => {
          for (const { leaf } of flatten([checkpoint.weights, checkpoint.optimizer])) {
            assert((leaf as HostTensor).data.every(Number.isFinite), "a checkpoint is not finite");
          }
          last = checkpoint;
        },
      }),
    InputError,
    "after 5 rewinds",
  );
  assertEquals(factors, [0.5, 0.25, 0.125, 0.0625, 0.03125]);
  assert(!error.message.includes("--on-nan"), error.message);
});

/** A checkpoint of a training that has not begun. */
function checkpointAt(step: number): Checkpoint {
  const { params, statistics } = nextLocation(config).init(randomKey(step));
  return {
    progress: {
      epoch: 1,
      done: 1,
      step,
      learningRate: 0.1,
      heldRate: null,
      rateFactor: 1,
      rewinds: 0,
      stopping: { best: null, waited: 0, reductions: 0 },
      stopped: false,
      bestEpoch: 0,
      bestStep: 0,
      epochs: [],
      epochSeconds: 1,
      seconds: NaN,
    },
    weights: { params, statistics },
    optimizer: optimizerOf(config).init(params),
    answers: [{
      targets: Int32Array.of(3, 1),
      ranks: Uint32Array.of(1, 20),
      predictions: Uint32Array.of(3, 4),
      loss: 0.5,
    } as Answers],
  };
}

const origin = { config, data: fingerprint(config, samples), environment: "test" };

async function inRun(test: (run: RunDirectory) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    await Deno.writeTextFile(`${path}/metrics.jsonl`, "line\n");
    await Deno.mkdir(`${path}/checkpoints`);
    const run = { path, config };
    using _lock = await lockRun(run);
    await test(run);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

Deno.test("the last two checkpoints are kept, and each comes back as it was", () =>
  inRun(async (run) => {
    for (const step of [1, 2, 3]) await saveCheckpoint(run, checkpointAt(step), origin);
    const names = (await Array.fromAsync(Deno.readDir(`${run.path}/checkpoints`)))
      .map(({ name }) => name).sort();
    assertEquals(names, ["lock", "step_00000002.safetensors", "step_00000003.safetensors"]);
    const found = await loadCheckpoint(run, (reason) => {
      throw new Error(reason);
    });
    assertEquals(found.origin, origin);
    assertEquals(found.metricsBytes, 5);
    const expected = checkpointAt(3);
    const { weights, optimizer, progress, answers, best } = found.fit(
      expected.weights,
      expected.optimizer,
    );
    assertEquals({ weights, optimizer, progress, best }, {
      weights: expected.weights,
      optimizer: expected.optimizer,
      progress: expected.progress,
      best: undefined,
    });
    assertEquals(
      (answers as readonly ScoredBatch[]).map(({ targets, ranks, predictions, loss }) =>
        [targets, ranks, predictions].map((row) => Array.from(row)).concat([[loss!]])
      ),
      [[[3, 1], [1, 20], [3, 4], [0.5]]],
    );
  }));

Deno.test("a damaged checkpoint is named and the one before it used", () =>
  inRun(async (run) => {
    for (const step of [1, 2]) await saveCheckpoint(run, checkpointAt(step), origin);
    const newest = `${run.path}/checkpoints/step_00000002.safetensors`;
    const whole = await Deno.readFile(newest);
    for (const at of [0, 100, Math.floor(whole.length / 2), whole.length - 1]) {
      const bytes = whole.slice();
      bytes[at] ^= 4;
      await Deno.writeFile(newest, bytes);
      const reasons: string[] = [];
      const found = await loadCheckpoint(run, (reason) => reasons.push(reason));
      assertMatch(found.file, /step_00000001/);
      assertEquals(reasons.length, 1);
      assert(reasons[0].includes("step_00000002.safetensors"), reasons[0]);
      assert(!reasons[0].includes("\n"));
    }
    for (const part of [0, 7, 1000, whole.length - 1]) {
      await Deno.writeFile(newest, whole.slice(0, part));
      const reasons: string[] = [];
      assertMatch((await loadCheckpoint(run, (r) => reasons.push(r))).file, /step_00000001/);
      assertEquals(reasons.length, 1);
    }
    await Deno.writeTextFile(`${run.path}/checkpoints/step_00000001.safetensors`, "nothing");
    await assertRejects(() => loadCheckpoint(run, () => {}), InputError, "none of its 2");
  }));

Deno.test("a checkpoint of another version is named with both versions", () =>
  inRun(async (run) => {
    const { file } = await saveCheckpoint(run, checkpointAt(1), origin);
    const { tensors, metadata } = await readSafetensors(file);
    await writeSafetensors(file, tensors, { metadata: { ...metadata, version: "1" } });
    const reasons: string[] = [];
    await assertRejects(
      () => loadCheckpoint(run, (reason) => reasons.push(reason)),
      InputError,
      "none of its 1 checkpoints",
    );
    assertEquals(reasons, [
      `${file}: is a checkpoint of version 1; this release reads version 2`,
    ]);
  }));

Deno.test("a run without a checkpoint says so", () =>
  inRun(async (run) => {
    await assertRejects(
      () => loadCheckpoint(run, () => {}),
      InputError,
      "no checkpoint to go on from",
    );
  }));

Deno.test("a run directory is one process's", () =>
  inRun(async (run) => {
    await assertRejects(() => lockRun(run), InputError, "another process is training in it");
  }));

Deno.test("a run directory with a link in it is refused, and what it leads to is left alone", () =>
  inRun(async (run) => {
    await Deno.mkdir(`${run.path}/other/checkpoints`, { recursive: true });
    await Deno.writeTextFile(`${run.path}/precious`, "mine");
    await Deno.symlink(`${run.path}/precious`, `${run.path}/other/checkpoints/lock`);
    await assertRejects(
      () => lockRun({ path: `${run.path}/other`, config }),
      InputError,
      "other/checkpoints/lock: is a link",
    );
    assertEquals(await Deno.readTextFile(`${run.path}/precious`), "mine");
  }));

Deno.test("what a killed process left half-written is removed", async () => {
  await inRun(async (run) => {
    const left = `${run.path}/checkpoints/step_00000001.safetensors.0.partial`;
    await Deno.writeTextFile(left, "half");
    const other = { path: await Deno.makeTempDir(), config };
    await Deno.mkdir(`${other.path}/checkpoints`);
    await Deno.rename(left, `${other.path}/checkpoints/step_1.partial`);
    using _lock = await lockRun(other);
    const names = await Array.fromAsync(Deno.readDir(`${other.path}/checkpoints`));
    assertEquals(names.map(({ name }) => name), ["lock"]);
    await Deno.remove(other.path, { recursive: true });
  });
});

Deno.test("metrics are cut back to the checkpoint, and never filled up", () =>
  inRun(async (run) => {
    await Deno.writeTextFile(`${run.path}/metrics.jsonl`, "one\ntwo\nhal");
    await cutMetrics(run, 4);
    assertEquals(await Deno.readTextFile(`${run.path}/metrics.jsonl`), "one\n");
    await assertRejects(() => cutMetrics(run, 5), InputError, "holds 4 bytes, but had 5");
  }));

Deno.test("other data and other settings are told from the same ones", () => {
  assertEquals(
    fingerprint(config, samples),
    fingerprint(config, simulate({ people: 3, days: 30 })),
  );
  const [first, ...rest] = samples.train;
  const changed = {
    ...first,
    dur_X: first.dur_X.map((minutes, i) => i === 0 ? 1 + minutes : minutes),
  };
  assert(
    fingerprint(config, samples) !== fingerprint(config, { ...samples, train: [changed, ...rest] }),
  );
  assert(fingerprint(config, samples) !== fingerprint(config, { ...samples, train: samples.test }));
  assertEquals(differences(config, { ...config, maxEpoch: 9, printStep: 1, onNan: "rewind" }), []);
  assertEquals(differences(config, { ...config, lr: 0.1 }), [
    { path: "optimiser.lr", ours: 0.5, theirs: 0.1 },
  ]);
});

/** A training to send signals to: not by `deno task`, which would get them. */
function startTraining(args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command("deno", {
    args: ["run", "--no-prompt", "--allow-read", "--allow-write", "src/cli/train.ts", ...args],
    cwd: new URL("..", import.meta.url),
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

gpuTest("Ctrl-C saves and says how to go on; going on gives the same files", async () => {
  const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    const prefix = await writeTown(folder);
    const file = `${folder}/tiny.yaml`;
    await Deno.writeTextFile(file, tinyConfig({ optimiser: "max_epoch: 40, patience: 30" }));
    const args = ["--config", file, "--data", prefix, "--out"];
    const whole = await task("train", [...args, `${folder}/whole`]);
    assertEquals(whole.code, 0, whole.err);
    const run = `${folder}/run`;
    const child = startTraining([...args, run]);
    // After the first epoch's line there is a checkpoint or soon will be.
    let err = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      if (!err.includes("epoch 1:") && (err + text).includes("epoch 1:")) {
        child.kill("SIGSTOP");
        const { code, err: second } = await task("train", ["--resume", run]);
        assertEquals(code, 1);
        assertMatch(second, /^error: .*run: another process is training in it; wait for it.*\n$/);
        child.kill("SIGINT");
        child.kill("SIGCONT");
      }
      err += text;
    }
    assertEquals((await child.status).code, 130, err);
    const [, step] = err.match(
      /stopped after step (\d+); go on with: deno task train --resume (\S+)\n$/,
    ) ?? [];
    assert(Number(step) >= 20, err);
    const again = await task("train", [...args, run]);
    assertEquals(again.code, 1);
    assertMatch(
      again.err,
      /^error: .*already holds a run; go on with it by deno task train --resume .*\n$/,
    );
    const refused = await task("train", ["--resume", run, "--seed", "3"]);
    assertEquals(refused.code, 2);
    assertMatch(refused.err, /^error: --seed cannot be given with --resume.*\n$/);
    const moved = await task("train", ["--resume", run, "--data", `${folder}/whole`]);
    assertEquals(moved.code, 1);
    await Deno.writeTextFile(`${run}/metrics.jsonl`, '{"half a li', { append: true });
    const resumed = await task("train", ["--resume", run]);
    assertEquals(resumed.code, 0, resumed.err);
    assertMatch(resumed.err, new RegExp(`goes on from step ${step}\\n`));
    const bytes = (path: string): Promise<Uint8Array> => Deno.readFile(`${folder}/${path}`);
    assertEquals(await bytes("run/best.safetensors"), await bytes("whole/best.safetensors"));
    const metrics = async (path: string): Promise<string> =>
      (await Deno.readTextFile(`${folder}/${path}/metrics.jsonl`))
        .replaceAll(/"seconds":[\d.e-]+/g, "");
    assertEquals(await metrics("run"), await metrics("whole"));
    const done = await task("train", ["--resume", run]);
    assertEquals(done.code, 1);
    assertMatch(
      done.err,
      /this run is finished, after 40 epochs; --epochs with more of them goes on/,
    );
    const more = await task("train", ["--resume", run, "--epochs", "41"]);
    assertEquals(more.code, 0, more.err);
    assertMatch(more.out, / of 41; /);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

gpuTest("a training that is killed goes on to the same files", async () => {
  const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    const file = `${folder}/tiny.yaml`;
    const training = "batch_size: 8, print_step: 5, checkpoint_step: 2";
    await Deno.writeTextFile(file, tinyConfig({ training }));
    const args = ["--config", file, "--data", await writeTown(folder), "--out"];
    const whole = await task("train", [...args, `${folder}/whole`]);
    assertEquals(whole.code, 0, whole.err);
    const run = `${folder}/run`;
    const child = startTraining([...args, run]);
    // tests/faults/kill.ts tries many more moments.
    const steps = async (): Promise<number[]> =>
      (await Array.fromAsync(Deno.readDir(`${run}/checkpoints`)).catch(() => []))
        .map(({ name }) => Number(/^step_(\d+)/.exec(name)?.[1] ?? 0));
    while (Math.max(0, ...await steps()) < 6) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    child.kill("SIGKILL");
    await child.stderr.cancel();
    assertEquals((await child.status).signal, "SIGKILL");
    const resumed = await task("train", ["--resume", run]);
    assertEquals(resumed.code, 0, resumed.err);
    assertMatch(resumed.err, /goes on from step \d+\n/);
    assertEquals(
      await Deno.readFile(`${run}/best.safetensors`),
      await Deno.readFile(`${folder}/whole/best.safetensors`),
    );
    const left = await Array.fromAsync(Deno.readDir(`${run}/checkpoints`));
    assertEquals(left.filter(({ name }) => name.endsWith(".partial")), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

gpuTest("Ctrl-C twice ends training at once", async () => {
  const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    // A step takes seconds, so that the second comes before it is finished.
    const file = `${folder}/slow.yaml`;
    await Deno.writeTextFile(
      file,
      tinyConfig({
        training: "batch_size: 160",
        model: "lstm_hidden_size: 512, lstm_num_layers: 4",
      }),
    );
    const args = ["--config", file, "--data", await writeTown(folder), "--out", `${folder}/run`];
    const child = startTraining(args);
    let err = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      for (const sign of ["preparing the kernels", "once more stops at once"]) {
        if (!err.includes(sign) && (err + text).includes(sign)) child.kill("SIGINT");
      }
      err += text;
    }
    assertEquals((await child.status).code, 130, err);
    assertMatch(err, /finishing the step and saving; once more stops at once\n$/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

gpuTest("a resumed training that goes back keeps the metrics before its checkpoint", async () => {
  const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    const file = `${folder}/wild.yaml`;
    // Fine at the rates of the first epoch, and not at those of the second.
    await Deno.writeTextFile(
      file,
      tinyConfig({
        training: "batch_size: 16, print_step: 2, checkpoint_step: 0",
        optimiser: "max_epoch: 1, optimizer: SGD, lr: 10, clip_norm: 1.0e+30, " +
          "num_warmup_epochs: 3, num_training_epochs: 20",
      }),
    );
    const [data, run] = [await writeTown(folder), `${folder}/run`];
    const first = await task("train", ["--config", file, "--data", data, "--out", run]);
    assertEquals(first.code, 0, first.err);
    const before = await Deno.readTextFile(`${run}/metrics.jsonl`);
    assertMatch(before, /"kind":"epoch"/);
    const resume = ["--resume", run, "--epochs", "2", "--on-nan", "rewind"];
    const resumed = await task("train", resume);
    assertMatch(resumed.err, /back to step 10, with 0\.5 times the learning rate/);
    const after = await Deno.readTextFile(`${run}/metrics.jsonl`);
    assert(after.startsWith(before), after);
    assertMatch(after.slice(before.length), /^\{"kind":"rewind","step":\d+,/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
