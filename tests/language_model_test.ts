/**
 * The language model by the commands and by the trainer, on a small text.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { flatten } from "../src/core/tree.ts";
import { randomKey } from "../src/core/random.ts";
import type { HostTensor } from "../src/core/tensor.ts";
import { openDevice } from "../src/gpu/device.ts";
import { type StackedLstmRunConfig, stackedLstmTask } from "../src/tasks/stacked_lstm.ts";
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from "../src/train/checkpoint.ts";
import { defaultsOf } from "../src/train/config.ts";
import { fit, type FitResult, optimizerOf } from "../src/train/fit.ts";
import { gpuTest, inFolder, task } from "./commands.ts";

/** The same few words over and over, so that a small model learns them. */
const TEXT = Array.from(
  { length: 120 },
  (_, i) => ["the cat sat on the mat.", "a dog ran to the gate."][(i * i + i) / 2 % 2] + "\n",
).join("");

const tiny = {
  "training.batch_size": 4,
  "training.sequence_length": 8,
  "training.print_step": 5,
  "training.checkpoint_step": 5,
  "model.hidden_dim": 12,
  "model.num_layers": 2,
  "optimiser.lr": 0.02,
};
const settings = Object.entries(tiny).flatMap(([key, value]) => ["--set", `${key}=${value}`]);

/** With a folder and a file of the text in it. */
async function withText(test: (folder: string, text: string) => Promise<void>): Promise<void> {
  await inFolder(async (folder) => {
    const text = `${folder}/words.txt`;
    await Deno.writeTextFile(text, TEXT);
    await test(folder, text);
  });
}

gpuTest(
  "a language model trains, is judged, predicts and goes on with a text",
  () =>
    withText(async (folder, text) => {
      const run = `${folder}/run`;
      const args = ["--model", "stacked-lstm", "--data", text, "--out", run, "--epochs", "3"];
      const trained = await task("train", [...args, ...settings, "--json"]);
      assertEquals(trained.code, 0, trained.err);
      const results = JSON.parse(trained.out);
      // Laws of the scores, and what a model of two sentences must at least have learned.
      assert(Math.abs(results.bitsPerCharacter - Math.log2(results.perplexity)) < 1e-9);
      assert(Math.abs(results.loss - Math.log(results.perplexity)) < 1e-9);
      assert(results.bitsPerCharacter < results.baselines.character_before.bitsPerCharacter);

      const evaluated = await task("evaluate", ["--run", run, "--json"]);
      assertEquals(JSON.parse(evaluated.out).loss, results.loss);

      const asked = await task("predict", ["--run", run, "--json", "--top", "2"], {
        stdin: "the cat sat on th\na do\n",
      });
      const lines = asked.out.trim().split("\n").map((line) => JSON.parse(line));
      assertEquals(lines.map(({ text, next }) => [text, next.length]), [
        ["the cat sat on th", 2],
        ["a do", 2],
      ]);
      assertEquals(lines[0].next[0].character, "e");

      const generate = async (...more: string[]): Promise<string> => {
        const { code, out, err } = await task("generate", [
          ...["--run", run, "--length", "40", "--prompt", "the "],
          ...more,
        ]);
        assertEquals(code, 0, err);
        assert(out.startsWith("the "), out);
        return out.slice(4);
      };
      const [first, again, other, likeliest] = [
        await generate("--seed", "1"),
        await generate("--seed", "1"),
        await generate("--seed", "2", "--temperature", "1.5"),
        await generate("--temperature", "0", "--top-k", "3"),
      ];
      assertEquals(first, again);
      assert(first !== other);
      assertEquals([...likeliest].length, 41);
      const known = new Set(TEXT);
      assert([...first, ...other].every((character) => known.has(character)));

      const strange = await task("generate", ["--run", run, "--prompt", "ß"]);
      assertEquals([strange.code, strange.out], [1, ""]);
      assert(/^error: --prompt: line 1, column 1: .*not among those.*\n$/.test(strange.err));
    }),
);

gpuTest(
  "texts that cannot be trained on are answered with one line",
  () =>
    withText(async (folder, text) => {
      const short = `${folder}/short.txt`,
        other = `${folder}/latin1.txt`,
        empty = `${folder}/e.txt`;
      await Deno.writeTextFile(short, TEXT.slice(0, 200));
      await Deno.writeFile(other, Uint8Array.of(0x63, 0x61, 0x66, 0xe9));
      await Deno.writeTextFile(empty, "");
      const cases: [string, RegExp, string[]?][] = [
        [short, /make no batch: training\.batch_size times training\.sequence_length takes 2049/],
        [other, /is no text in UTF-8/],
        [empty, /is empty/],
        [`${folder}/none.txt`, /there is no such file/],
        [text, /unknown key model\.hiden_dim; did you mean model\.hidden_dim\?/, [
          "model.hiden_dim=4",
        ]],
        [text, /model\.lstm_hidden_size; it is a key of next_location/, [
          "model.lstm_hidden_size=4",
        ]],
      ];
      for (const [data, message, set = []] of cases) {
        const out = `${folder}/run`;
        const more = set.flatMap((setting) => ["--set", setting]);
        const { code, err } = await task("train", [
          ...["--model", "stacked-lstm", "--data", data, "--out", out, "--quiet"],
          ...more,
        ]);
        assertEquals(code, 1, err);
        assert(message.test(err) && err.trimEnd().split("\n").length === 1, err);
        await assertRejects(() => Deno.stat(out), Deno.errors.NotFound);
      }
    }),
);

/** Weights as numbers, and epochs without the time they took. */
function comparable({ weights, epochs, test }: FitResult<unknown>): unknown {
  const tensors = flatten(weights).map(({ path, leaf }) => [path, (leaf as HostTensor).data]);
  return [tensors, epochs.map((epoch) => ({ ...epoch, seconds: 0 })), test];
}

gpuTest(
  "a training that carries a state goes on to the same bits",
  () =>
    withText(async (_, text) => {
      const base: StackedLstmRunConfig = {
        ...defaultsOf<StackedLstmRunConfig>(stackedLstmTask),
        ...{ dataDir: text, batchSize: 4, sequenceLength: 8, hiddenDim: 12, checkpointStep: 4 },
        ...{ maxEpoch: 2, printStep: 3 },
      };
      const { config, samples } = await stackedLstmTask.load(base, ["train", "validation", "test"]);
      using device = await openDevice();
      const whole = await fit<unknown>(device, config, samples);
      const model = stackedLstmTask.model(config);
      const weights = model.init(randomKey(0));
      const [first] = stackedLstmTask.batches(config, samples.train, randomKey(0));
      const stored = async (checkpoint: Checkpoint): Promise<Checkpoint> => {
        const { fit } = await decodeCheckpoint(
          await encodeCheckpoint(checkpoint, {}),
          "checkpoint",
        );
        return fit(weights, optimizerOf(config).init(weights.params), model.carriedStart!(first));
      };
      let from: Checkpoint | undefined;
      let result: FitResult<unknown> | undefined;
      const places = [3, 10, 1, 6];
      let ended = 0;
      while (result === undefined) {
        const abort = new AbortController();
        try {
          result = await fit<unknown>(device, config, samples, {
            onBatch: (done) => {
              if (done === places[ended]) abort.abort("ended");
            },
            // deno-lint-ignore require-await -- what an event gives
            onCheckpoint: async (checkpoint) => {
              from = checkpoint;
            },
          }, { from, signal: abort.signal });
        } catch (reason) {
          if (reason !== "ended") throw reason;
          ended++;
          from = await stored(from!);
        }
      }
      assertEquals(ended, places.length);
      assertEquals(comparable(result), comparable(whole));
    }),
);

gpuTest(
  "a text whose loss is not finite names step and gradient",
  () =>
    withText(async (_, text) => {
      const base: StackedLstmRunConfig = {
        ...defaultsOf<StackedLstmRunConfig>(stackedLstmTask),
        ...{ dataDir: text, batchSize: 4, sequenceLength: 8, hiddenDim: 12, printStep: 3 },
        ...{ optimizer: "SGD", lr: 10, weightDecay: 1, clipNorm: 1e30 },
      };
      const { config, samples } = await stackedLstmTask.load(base, ["train", "validation", "test"]);
      using device = await openDevice();
      const error = await assertRejects(() => fit(device, config, samples), InputError);
      assert(
        /^training diverged: .* is that of (layers|projection)\./.test(error.message),
        error.message,
      );
    }),
);
