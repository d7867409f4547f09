/**
 * Models of sequences by the commands, on small files.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { readSafetensors } from "../src/train/safetensors.ts";
import { gpuTest, inFolder, task } from "./commands.ts";

/** Sequences whose first feature rises or falls, 5 apart from 1000 and far wider than the second. */
const series = Array.from({ length: 60 }, (_, i) => {
  const slope = i % 2 === 0 ? 5 : -5, steps = 3 + i % 4;
  return {
    id: `s${i}`,
    label: slope > 0 ? "up" : "down",
    target: 2 * slope + steps,
    values: Array.from({ length: steps }, (_, t) => [1000 + slope * t + i % 3, 0.01 * (i % 5)]),
  };
});
const csv = (answer: "label" | "target"): string =>
  `sequence,first,second,${answer}\n` +
  series.flatMap((one) => one.values.map((row) => `${one.id},${row.join(",")},${one[answer]}\n`))
    .join("");

/** What a command said, which must be a success. */
async function json(...args: Parameters<typeof task>): Promise<Record<string, unknown>> {
  const { code, out, err } = await task(...args);
  assertEquals(code, 0, err);
  return JSON.parse(out);
}

const small = {
  classifier: ["--model", "sequence-classifier", "--set", "training.batch_size=8"],
  ensemble: [
    ...["--model", "sequence-ensemble", "--set", "training.batch_size=8"],
    ...["--set", "model.hidden_dim=12", "--set", "model.num_heads=2"],
    ...["--set", "model.num_lstm_layers=2", "--set", "model.dropout=0"],
    ...["--set", "optimiser.lr=0.02"],
  ],
};

for (const [name, options] of Object.entries(small)) {
  gpuTest(
    `sequence ${name}: classes are learned, judged and predicted by name`,
    () =>
      inFolder(async (folder) => {
        const data = `${folder}/series.csv`, run = `${folder}/run`;
        await Deno.writeTextFile(data, csv("label"));
        const trained = await json("train", [
          ...options,
          ...["--data", data, "--out", run, "--epochs", "6", "--json", "--quiet"],
        ]);
        // The sign of a slope is there to be learned; half of the sequences rise.
        assertEquals([trained.count, trained.accuracy], [12, 100]);
        const { accuracy } = (trained.baselines as Record<string, { accuracy: number }>)
          .most_frequent;
        assertEquals(accuracy, 50);
        const again = await json("evaluate", ["--run", run, "--json"]);
        assertEquals([again.accuracy, again.confusion], [trained.accuracy, trained.confusion]);

        const asked = `${folder}/asked.jsonl`;
        await Deno.writeTextFile(
          asked,
          [{ id: "new", values: [[1000, 0], [1005, 0], [1010, 0]] }, {
            id: "newer",
            values: [[1000, 0], [995, 0]],
          }].map((one) => JSON.stringify(one)).join("\n"),
        );
        const { out } = await task("predict", ["--run", run, "--input", asked, "--json"]);
        const answers = out.trim().split("\n").map((line) => JSON.parse(line));
        assertEquals(answers.map(({ sequence, classes }) => [sequence, classes[0].class]), [
          ["new", "up"],
          ["newer", "down"],
        ]);
        const { importance } = await json("evaluate", ["--run", run, "--json", "--importance"]);
        const changes = importance as { feature: string; change: number }[];
        // Only the first feature tells the classes apart.
        assertEquals(changes.map(({ feature }) => feature), ["first", "second"]);
        assert(changes[0].change > 10 * changes[1].change, JSON.stringify(changes));
        const { out: traced, code } = await task("trace", ["--run", run, "--batch", "2"]);
        assertEquals(code, 0);
        assert(traced.includes("batch.values"), traced);
        const inspected = await json("inspect", ["--run", run, "--json"]);
        const { tensors } = await readSafetensors(`${run}/best.safetensors`);
        const stored = [...tensors].filter(([name]) => !/running_|num_batches/.test(name));
        assertEquals(inspected.total, stored.reduce((sum, [, { data }]) => sum + data.length, 0));
      }),
  );
}

gpuTest(
  "sequence ensemble: numbers are predicted in the units of the data",
  () =>
    inFolder(async (folder) => {
      const data = `${folder}/series.csv`, run = `${folder}/run`;
      await Deno.writeTextFile(data, csv("target"));
      const trained = await json("train", [
        ...small.ensemble,
        ...["--data", data, "--out", run, "--epochs", "6", "--json", "--quiet"],
      ]);
      const mean = (trained.baselines as Record<string, Record<string, number>>).mean;
      // Targets are -10 or 10 and 3 to 6 more: guessing their mean errs by 10 or so.
      assert(mean.mae > 9 && mean.mae < 11, JSON.stringify(mean));
      assert(trained.r2 as number > 0.9, JSON.stringify(trained));
      const { out } = await task("predict", ["--run", run, "--input", data, "--json"]);
      const [first] = out.split("\n").map((line) => line && JSON.parse(line));
      assertEquals(first.sequence, "s0");
      assert(Math.abs(first.values.target - 13) < 5, out.slice(0, 200));
      const refused = await task("train", [
        ...small.classifier,
        ...["--data", data, "--out", `${folder}/other`],
      ]);
      assertEquals(refused.code, 1);
      assert(refused.err.includes("sequence_classifier tells classes apart"), refused.err);
    }),
);

gpuTest(
  "sequence files that cannot be used are answered with one line",
  () =>
    inFolder(async (folder) => {
      const run = `${folder}/run`, good = `${folder}/good.csv`;
      await Deno.writeTextFile(good, csv("label"));
      await json("train", [
        ...small.classifier,
        ...["--data", good, "--out", run, "--epochs", "1", "--json", "--quiet"],
      ]);
      const write = async (name: string, content: string | Uint8Array): Promise<string> => {
        const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
        await Deno.writeFile(`${folder}/${name}`, bytes);
        return `${folder}/${name}`;
      };
      const lines = csv("label").split("\n");
      const training: readonly (readonly [string, string | Uint8Array, RegExp])[] = [
        ["ragged.csv", lines.toSpliced(3, 1, "s0,1,2").join("\n"), /line 4/],
        [
          "text.csv",
          lines.toSpliced(3, 1, "s0,one,2,up").join("\n"),
          /line 4.*first.*"one".*number/,
        ],
        ["empty.csv", "", /empty/],
        ["latin1.csv", Uint8Array.of(0x73, 0xe9, 0x0a), /UTF-8/],
        ["nan.csv", lines.toSpliced(3, 1, "s0,NaN,2,up").join("\n"), /line 4.*NaN/],
        ["no_name.csv", csv("label").replace("sequence", "series"), /no column "?sequence/],
        [
          "no_answer.csv",
          csv("label").replace("label", "kind"),
          /line 2: kind is "up", not a number/,
        ],
        ["ragged.jsonl", '{"values": [[1, 2], [3]], "label": 1}\n', /line 1/],
        ["broken.json", '{"sequences": [[1, 2]', /JSON/],
      ];
      for (const [name, content, message] of training) {
        const out = `${folder}/refused`;
        const { code, err } = await task("train", [
          ...small.classifier,
          ...["--data", await write(name, content), "--out", out, "--quiet"],
        ]);
        assertEquals(code, 1, `${name}: ${err}`);
        assert(err.startsWith("error: ") && err.trimEnd().split("\n").length === 1, err);
        assert(message.test(err), `${name}: ${err}`);
        await assertRejects(() => Deno.stat(out), Deno.errors.NotFound);
      }
      const asked: readonly (readonly [string, string, RegExp])[] = [
        ["unseen.csv", lines.toSpliced(3, 1, "s0,1000,0,sideways").join("\n"), /sideways/],
        ["fewer.csv", "sequence,first\na,1\n", /no column "?second/],
        ["narrow.jsonl", '{"values": [[1], [2]]}\n', /line 1/],
      ];
      for (const [name, content, message] of asked) {
        const { code, out, err } = await task("predict", [
          ...["--run", run, "--input", await write(name, content)],
        ]);
        assertEquals([code, out], [1, ""], `${name}: ${err}`);
        assert(message.test(err) && err.trimEnd().split("\n").length === 1, `${name}: ${err}`);
      }
    }),
);

gpuTest(
  "a sequence longer than the ensemble takes is named before training",
  () =>
    inFolder(async (folder) => {
      const data = `${folder}/long.csv`, out = `${folder}/refused`;
      const row = (_: unknown, t: number): string => `s3,${t},0,down\n`;
      await Deno.writeTextFile(data, csv("label") + Array.from({ length: 4998 }, row).join(""));
      const { code, err } = await task("train", [
        ...small.ensemble,
        ...["--data", data, "--out", out, "--quiet"],
      ]);
      // The sequence had 6 steps.
      assertEquals(
        [code, err],
        [
          1,
          `error: ${data}: sequence s3 has 5004 steps, and the model takes at most 5000: cut it into ` +
          "shorter ones\n",
        ],
      );
      await assertRejects(() => Deno.stat(out), Deno.errors.NotFound);
    }),
);
