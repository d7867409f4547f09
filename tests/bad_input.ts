/**
 * Inputs that the commands must refuse with one clear line, for the test and for the report.
 *
 * @module
 */
import { type StartOptions, type task, tinyConfig, writeTown } from "./commands.ts";

/** A command line that cannot work. */
export interface BadInput {
  /** What is wrong. */
  readonly what: string;
  readonly task: Parameters<typeof task>[0];
  readonly args: readonly string[];
  readonly start?: StartOptions;
  /** What the line must name: file, key or place, and the way out. */
  readonly names: readonly string[];
  /** 1, or 2 where the command line itself is wrong. */
  readonly code: 1 | 2;
  /** Whether steps were made before it failed: what they wrote stays. */
  readonly leavesRun?: boolean;
}

const noAdapter = { VK_DRIVER_FILES: "/none", DENO_WEBGPU_BACKEND: "vulkan" };
const pickles = new URL("../fixtures/pickles/", import.meta.url);

/**
 * Every bad input.
 *
 * @param folder Where their files are written.
 * @param run A finished run whose hidden size is 8.
 */
export async function badInputs(folder: string, run: string): Promise<readonly BadInput[]> {
  const town = await writeTown(folder);
  const [first, second, ...others] = (await Deno.readTextFile(`${town}_train.jsonl`)).split("\n");
  const write = async (name: string, content: string | Uint8Array): Promise<string> => {
    const path = `${folder}/${name}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await (typeof content === "string"
      ? Deno.writeTextFile(path, content)
      : Deno.writeFile(path, content));
    return path;
  };
  /** A data set whose training file is another. */
  const data = async (name: string, train: string | Uint8Array, end = "jsonl"): Promise<string> => {
    for (const split of ["validation", "test"]) {
      await write(`${name}/town_${split}.${end}`, `${first}\n`);
    }
    await write(`${name}/town_train.${end}`, train);
    return `${folder}/${name}/town`;
  };
  /** The training samples, the second of them changed. */
  const changed = (change: (sample: Record<string, unknown>) => unknown): string => {
    const sample = JSON.parse(second);
    return [first, JSON.stringify({ ...sample, ...change(sample) as object }), ...others].join(
      "\n",
    );
  };
  const config = (name: string, sections: Readonly<Record<string, string>>): Promise<string> =>
    write(`${name}.yaml`, tinyConfig(sections));

  const tiny = await write("tiny.yaml", tinyConfig());
  const wider = await config("wider", {
    model: "lstm_hidden_size: 16, lstm_num_layers: 1",
    dataset_info: "total_loc_num: 30, total_user_num: 4",
  });
  const deeper = await config("deeper", {
    model: "lstm_hidden_size: 8, lstm_num_layers: 2",
    dataset_info: "total_loc_num: 30, total_user_num: 4",
  });
  const pickle = await Deno.readFile(new URL("samples_protocol4_numpy1.pk", pickles));
  const weights = await Deno.readFile(`${run}/best.safetensors`);
  const unfinished = `${folder}/unfinished`;
  await write("unfinished/config.yaml", await Deno.readTextFile(`${run}/config.yaml`));

  const train = (what: string, names: readonly string[], args: readonly string[]): BadInput => ({
    what,
    task: "train",
    args: ["--config", tiny, "--data", town, "--out", `${folder}/out`, ...args],
    names,
    code: 1,
  });
  const trainOn = async (
    what: string,
    names: readonly string[],
    content: string | Uint8Array,
    end?: string,
  ): Promise<BadInput> =>
    train(what, names, ["--data", await data(what.replaceAll(" ", "_"), content, end)]);
  const trainBy = async (
    what: string,
    names: readonly string[],
    sections: Readonly<Record<string, string>>,
  ): Promise<BadInput> =>
    train(what, names, ["--config", await config(what.replaceAll(" ", "_"), sections)]);
  const other = (
    what: string,
    name: BadInput["task"],
    args: readonly string[],
    names: readonly string[],
    { code = 1, start }: { readonly code?: 1 | 2; readonly start?: StartOptions } = {},
  ): BadInput => ({ what, task: name, args, names, code, start });
  const wrongly = (name: BadInput["task"], args: readonly string[], names: string[]): BadInput =>
    other(
      `${name} ${args.join(" ").replaceAll(run, "run").replaceAll(`${folder}/`, "")}`,
      name,
      args,
      names,
      { code: 2 },
    );

  return [
    { ...train("no adapter", ["no WebGPU adapter", "mesa"], []), start: { env: noAdapter } },
    other("no adapter to evaluate", "evaluate", ["--run", run, "--data", town], ["adapter"], {
      start: { env: noAdapter },
    }),
    other("no adapter to predict", "predict", ["--run", run], ["no WebGPU adapter"], {
      start: { env: noAdapter, stdin: first },
    }),

    train("missing data file", ["none_train", "no such file"], ["--data", `${folder}/none`]),
    train("folder without samples", ["holds no samples", "PREFIX_train"], ["--data", unfinished]),
    await trainOn("truncated pickle", ["town_train.pk"], pickle.subarray(0, 400), "pk"),
    await trainOn(
      "pickle that runs code",
      ["town_train.pk", "system"],
      await Deno.readFile(new URL("refused_os_system_5.pk", pickles)),
      "pk",
    ),
    await trainOn("pickle of something else", ["town_train.pk"], "not a pickle", "pk"),
    await trainOn("truncated gzip", ["town_train.jsonl.gz"], Uint8Array.of(31, 139, 8), "jsonl.gz"),
    await trainOn("empty file", ["town_train.jsonl", "no sample"], ""),
    await trainOn("line cut short", ["line 2", "no JSON"], `${first}\n${second.slice(0, 50)}`),
    await trainOn("empty sequence", ["line 2", "X is empty"], changed(() => ({ X: [] }))),
    await trainOn(
      "NaN in the data",
      ["line 2", "dur_X", "NaN"],
      [first, second.replace(/("dur_X":\[)[^,\]]*/, "$1NaN")].join("\n"),
    ),
    await trainOn(
      "lists of other lengths",
      ["line 2", "weekday_X"],
      changed(() => ({ weekday_X: [1] })),
    ),
    await trainOn("sample without Y", ["line 2", "Y"], changed(() => ({ Y: undefined }))),
    await trainOn(
      "negative location",
      ["line 2", "X[0]", "-3"],
      changed(({ X }) => ({ X: [-3, ...X as number[]].slice(0, -1) })),
    ),
    await trainBy("location past total_loc_num", [
      "town_train.jsonl",
      "train with total_loc_num 30",
    ], {
      dataset_info: "total_loc_num: 5",
    }),
    await trainBy("user past total_user_num", [
      "town_train.jsonl",
      "train with total_user_num 4",
    ], {
      dataset_info: "total_user_num: 2",
    }),

    train("missing configuration", ["none.yaml", "no such"], ["--config", `${folder}/none.yaml`]),
    train("configuration that is a folder", [folder], ["--config", folder]),
    train("broken YAML", ["broken.yaml", "YAML"], [
      "--config",
      await write("broken.yaml", "model: {lstm_hidden_size: 8\n"),
    ]),
    await trainBy("unknown YAML key", [
      "unknown_YAML_key.yaml",
      "lstm_hiden_size",
      "lstm_hidden_size",
    ], {
      model: "lstm_hiden_size: 8",
    }),
    await trainBy("value of the wrong type", ["lstm_hidden_size", "whole number"], {
      model: "lstm_hidden_size: big",
    }),
    await trainBy("value out of range", ["optimiser.lr", "up to 10"], { optimiser: "lr: 1.0e+30" }),
    await trainBy("values that contradict", ["num_warmup_epochs", "num_training_epochs"], {
      optimiser: "num_warmup_epochs: 9, num_training_epochs: 3",
    }),
    await trainBy("batch larger than the data", ["batch_size is 1000", "161"], {
      training: "batch_size: 1000",
    }),
    await trainBy("batch of one", ["batch_size is 1", "at least 2"], { training: "batch_size: 1" }),
    {
      ...await trainBy(
        "loss that is no longer finite",
        ["diverged", "step", "lower optimiser.lr"],
        {
          training: "batch_size: 8, print_step: 1",
          optimiser: "optimizer: SGD, lr: 10, clip_norm: 1.0e+30, num_warmup_epochs: 0",
        },
      ),
      leavesRun: true,
    },

    train("directory of a run", [unfinished, "--resume", "--out"], ["--out", unfinished]),
    train("directory with files", [folder, "already holds", "--out"], ["--out", folder]),
    other("resuming a run without a checkpoint", "train", ["--resume", unfinished], [
      unfinished,
      "no checkpoint to go on from",
    ]),
    other("resuming a folder that is no run", "train", ["--resume", folder], [
      "not a run directory",
    ]),
    train("read-only run directory", ["/proc/run", "--out"], ["--out", "/proc/run"]),
    train("file in the way of the run directory", [tiny, "--out"], ["--out", `${tiny}/run`]),

    other("weights of another hidden size", "evaluate", [
      ...["--weights", `${run}/best.safetensors`, "--config", wider, "--data", town],
    ], ["best.safetensors", "lstm.weight_ih_l0", "configuration"]),
    other("weights of fewer layers", "predict", [
      ...["--weights", `${run}/best.safetensors`, "--config", deeper],
    ], ["best.safetensors", "lstm.weight_ih_l1", "configuration"]),
    other("configuration without sizes", "predict", [
      ...["--weights", `${run}/best.safetensors`, "--config", tiny],
    ], ["tiny.yaml", "total_loc_num"]),
    other("truncated weights", "inspect", [
      ...["--weights", await write("cut.safetensors", weights.subarray(0, -100))],
    ], ["cut.safetensors"]),
    other("missing weights", "inspect", ["--weights", `${folder}/none.safetensors`], [
      "none.safetensors",
      "no such",
    ]),
    other("run that has no weights yet", "evaluate", ["--run", unfinished, "--data", town], [
      "best.safetensors",
      "no weights yet",
    ]),
    other("folder that is no run", "predict", ["--run", folder], ["not a run directory"]),
    other("samples of other locations", "predict", ["--run", run], [
      "standard input",
      "sample 0",
      "total_loc_num",
    ], {
      start: { stdin: first.replace(/"X":\[\d+/, '"X":[30') },
    }),
    other("no sample on standard input", "predict", ["--run", run], [
      "standard input",
      "no sample",
    ]),
    other("missing samples", "predict", ["--run", run, "--input", `${folder}/none.jsonl`], [
      "none.jsonl",
      "no such file",
    ]),

    wrongly("train", ["--epoch", "3"], ["unknown option --epoch", "--epochs"]),
    wrongly("train", ["--epochs", "0"], ["--epochs is 0", "from 1"]),
    wrongly("train", ["--seed", "x"], ["--seed is x", "whole number"]),
    wrongly("train", ["--config"], ["--config needs a value"]),
    wrongly("train", ["extra"], ["unexpected argument extra"]),
    wrongly("evaluate", ["--run", run, "--split", "all"], ["--split is all", "validation"]),
    wrongly("evaluate", ["--run", run, "--weights", `${run}/best.safetensors`], ["either --run"]),
    wrongly("predict", [], ["either --run"]),
    wrongly("predict", ["--run", run, "--top", "0"], ["--top is 0", "from 1"]),
    wrongly("inspect", ["--run", run, "--config", tiny], ["one of"]),
  ];
}
