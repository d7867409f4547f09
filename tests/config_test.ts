import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { parse } from "@std/yaml";
import { InputError } from "../src/core/errors.ts";
import {
  type Config,
  dataName,
  dataPath,
  defaultConfig,
  formatConfig,
  formatDefaults,
  parseConfig,
  readConfig,
  withOverrides,
} from "../src/train/config.ts";

const FIXTURES = new URL("../fixtures/configs/", import.meta.url).pathname;

/** The message of the InputError that a YAML text is refused with. */
function refusal(yaml: string): string {
  return assertThrows(() => parseConfig(yaml, "run.yaml"), InputError).message;
}

Deno.test("a file in the reference's form is read as it is", async () => {
  const expected: Config = {
    seed: 7,
    dataDir: "samples/town",
    datasetPrefix: "town_eps50_prev7",
    dataset: "town",
    ifEmbedUser: true,
    ifEmbedTime: true,
    ifEmbedDuration: false,
    batchSize: 16,
    printStep: 10,
    checkpointStep: 200,
    onNan: "stop",
    totalLocNum: 301,
    totalUserNum: 12,
    baseEmbSize: 24,
    embInfo: "all",
    networkName: "lstm",
    lstmHiddenSize: 40,
    lstmNumLayers: 3,
    lstmDropout: 0.1,
    fcDropout: 0.3,
    init: "reference",
    optimizer: "SGD",
    maxEpoch: 20,
    lr: 0.01,
    weightDecay: 0.0005,
    beta1: 0.8,
    beta2: 0.99,
    momentum: 0.95,
    clipNorm: 1,
    numWarmupEpochs: 1,
    numTrainingEpochs: 10,
    patience: 4,
    lrGamma: 0.5,
  };
  assertEquals(await readConfig(`${FIXTURES}reference_form.yaml`), expected);
});

Deno.test("geolife.yaml is the recipe that the reference publishes", async () => {
  const recipe = {
    seed: 42,
    batchSize: 32,
    baseEmbSize: 32,
    lstmHiddenSize: 128,
    lstmNumLayers: 2,
    lstmDropout: 0.2,
    fcDropout: 0.2,
    optimizer: "Adam",
    maxEpoch: 100,
    lr: 1e-3,
    weightDecay: 1e-6,
    beta1: 0.9,
    beta2: 0.999,
    momentum: 0.98,
    numWarmupEpochs: 2,
    numTrainingEpochs: 50,
    patience: 3,
    lrGamma: 0.1,
    clipNorm: 1,
  };
  const config = await readConfig(`${FIXTURES}geolife.yaml`);
  assertEquals({ ...config, ...recipe }, config);
  assertEquals([config.totalLocNum, config.totalUserNum], [1187, 46]);
});

Deno.test("the name that the reference gives the model brings its initial values", () => {
  const initOf = (text: string): string => parseConfig(text, "run.yaml").init;
  assertEquals(initOf("model: {networkName: lstm}"), "reference");
  assertEquals(initOf("model: {networkName: lstm, init: standard}"), "standard");
  assertEquals(initOf("model: {networkName: next_location}"), "standard");
  assertEquals(initOf("seed: 1"), "standard");
});

Deno.test("without keys a configuration has the defaults, and sizes come from the data", () => {
  assertEquals(defaultConfig.totalLocNum, undefined);
  assertEquals(dataPath(defaultConfig), undefined);
  for (const nothing of ["", "# only a comment\n", "model:\n", "dataset_info: {total_loc_num: }"]) {
    assertEquals(parseConfig(nothing, "run.yaml"), defaultConfig);
  }
});

Deno.test("the printed defaults are a configuration with the defaults", () => {
  assertEquals(parseConfig(formatDefaults(), "defaults"), defaultConfig);
});

Deno.test("every key of the reference is among the printed defaults", async () => {
  const reference = parse(await Deno.readTextFile(`${FIXTURES}reference_form.yaml`));
  const printed = formatDefaults();
  for (const [section, keys] of Object.entries(reference as Record<string, unknown>)) {
    if (section === "seed") continue;
    const [, after] = printed.split(`\n${section}:\n`);
    const [block] = after.split("\n\n");
    for (const key of Object.keys(keys as Record<string, unknown>)) {
      assertEquals(new RegExp(`^  (# )?${key}:`, "m").test(block), true, `${section}.${key}`);
    }
  }
});

Deno.test("a written configuration is read back the same", async () => {
  const odd = {
    weightDecay: 1e-12,
    lr: 1 / 3,
    seed: 2 ** 53 - 1,
    dataDir: "a: #b",
    dataset: "007",
  };
  for (
    const config of [
      defaultConfig,
      await readConfig(`${FIXTURES}reference_form.yaml`),
      await readConfig(`${FIXTURES}tiny.yaml`),
      { ...defaultConfig, ...odd },
    ]
  ) {
    assertEquals(parseConfig(formatConfig(config), "run.yaml"), config);
  }
});

Deno.test("errors name the file, the key and what is allowed", () => {
  assertEquals(
    refusal("model: {lstm_hiden_size: 64}"),
    "run.yaml: unknown key model.lstm_hiden_size; did you mean model.lstm_hidden_size?",
  );
  assertEquals(
    refusal("training: {lr: 0.1}"),
    "run.yaml: unknown key training.lr; it belongs at optimiser.lr",
  );
  assertEquals(refusal("lr: 0.1"), "run.yaml: unknown key lr; it belongs at optimiser.lr");
  assertEquals(
    refusal("optimizer: {lr: 0.1}"),
    "run.yaml: unknown section optimizer; did you mean optimiser?",
  );
  assertEquals(
    refusal("model: {lstm_hidden_size: 1025}"),
    "run.yaml: model.lstm_hidden_size is 1025; allowed: a whole number from 1 to 1024",
  );
  assertEquals(
    refusal("optimiser: {lr: fast}"),
    'run.yaml: optimiser.lr is "fast"; allowed: a number above 0, up to 10',
  );
  assertEquals(
    refusal("model: {networkName: mhsa}"),
    'run.yaml: model.networkName is "mhsa"; allowed: lstm or next_location or sequence_ensemble or stacked_lstm or sequence_classifier',
  );
  assertEquals(
    refusal("training: {if_embed_poi: true}"),
    "run.yaml: training.if_embed_poi is true; allowed: only false (there is no POI input)",
  );
  assertEquals(refusal("model: 3"), "run.yaml: model holds 3; it must hold keys with values");
});

Deno.test("values of the wrong type or out of range are refused", () => {
  const wrong = [
    "seed: -1",
    "seed: 1.5",
    'seed: "1"',
    "seed: true",
    "seed:",
    "dataset_info: {total_loc_num: 1}",
    "dataset_info: {total_loc_num: 200001}",
    "dataset_info: {total_user_num: 0}",
    "training: {batch_size: 0}",
    "training: {batch_size: 1025}",
    'training: {if_embed_user: "yes"}',
    "training: {if_embed_time: 1}",
    "training: {verbose: 2}",
    "training: {debug: true}",
    "training: {day_selection: weekdays}",
    "training: {num_workers: -1}",
    "embedding: {base_emb_size: 0}",
    "embedding: {emb_info: hour}",
    "embedding: {base_emb_size: [8]}",
    "model: {lstm_num_layers: 0}",
    "model: {lstm_dropout: 1}",
    "model: {fc_dropout: -0.1}",
    "model: {init: xavier}",
    "optimiser: {optimizer: RMSprop}",
    "optimiser: {lr: 0}",
    "optimiser: {lr: .nan}",
    "optimiser: {lr: .inf}",
    "optimiser: {weight_decay: -1.0e-6}",
    "optimiser: {beta1: 1}",
    "optimiser: {momentum: 0}",
    "optimiser: {clip_norm: 0}",
    "optimiser: {max_epoch: 0}",
    "optimiser: {patience: 0}",
    "optimiser: {lr_gamma: 0}",
    "optimiser: {lr_step_size: 2}",
    "data: {data_dir: 5}",
    "data: {data_dir: 2020-01-01}",
    'data: {data_dir: ""}',
  ];
  for (const yaml of wrong) {
    const message = refusal(yaml);
    assertEquals(/^run\.yaml: [\w.]+ is .+; allowed: .+$/.test(message), true, message);
  }
});

Deno.test("ends of the ranges are allowed", () => {
  for (const size of [1, 1024]) {
    const yaml = `embedding: {base_emb_size: ${size}}\nmodel: {lstm_hidden_size: ${size}}\n` +
      `training: {batch_size: ${size}}`;
    const config = parseConfig(yaml, "run.yaml");
    assertEquals([config.baseEmbSize, config.lstmHiddenSize, config.batchSize], [size, size, size]);
  }
  for (const locations of [2, 200_000]) {
    const config = parseConfig(`dataset_info: {total_loc_num: ${locations}}`, "run.yaml");
    assertEquals(config.totalLocNum, locations);
  }
});

Deno.test("values that contradict each other are refused", () => {
  assertEquals(
    refusal("data: {dataset_prefix: town}").startsWith("run.yaml: data.dataset_prefix needs"),
    true,
  );
  assertEquals(
    refusal("optimiser: {num_warmup_epochs: 6, num_training_epochs: 5}"),
    "run.yaml: optimiser.num_warmup_epochs is 6; allowed: at most num_training_epochs, 5",
  );
});

Deno.test("text that is no YAML, or no mapping, is refused in one line", () => {
  for (
    const yaml of [
      "a: [1",
      "seed: 1\nseed: 2",
      "- a\n- b",
      "hello",
      "a: b: c",
      "x: !!js/function 'y'",
    ]
  ) {
    const message = refusal(yaml);
    assertEquals(message.startsWith("run.yaml: "), true, message);
    assertEquals(message.includes("\n"), false, message);
  }
});

Deno.test("values that hold themselves, unfold without end or nest deeply are described short", () => {
  assertEquals(
    refusal("seed: &a [1, *a]"),
    "run.yaml: seed is [1,[...]]; allowed: a whole number from 0",
  );
  // Nine to the power of thirty elements, if all aliases were unfolded.
  const laughs = Array.from(
    { length: 30 },
    (_, i) => `  - &a${i} [${i === 0 ? "ha" : `*a${i - 1}, `.repeat(9)}]`,
  );
  assertEquals(
    refusal(`optimiser:\n${laughs.join("\n")}`),
    "run.yaml: optimiser holds [[...],[...],[...],[...],[...],[...],[...],[...],...]; " +
      "it must hold keys with values",
  );
  const deep = refusal("seed: " + "[".repeat(20_000) + "]".repeat(20_000));
  assertEquals(/^run\.yaml: [^\n]{10,100}$/.test(deep), true, deep);
});

Deno.test("keys and texts with line breaks, or very long, stay on one short line", () => {
  assertEquals(
    refusal('"a\\nb\\u2028c": 1'),
    "run.yaml: unknown key a?b?c; `deno task train --defaults` lists the keys",
  );
  assertEquals(refusal(`${"k".repeat(1000)}: 1`).length < 200, true);
  assertEquals(refusal(`x: !<${"t".repeat(1000)}> 1`).length < 300, true);
  assertEquals(refusal(`seed: "${"t".repeat(1000)}"`).length < 200, true);
});

Deno.test("files far larger than a configuration, or without an end, are refused", async () => {
  const text = refusal("# " + "x".repeat(2 ** 16));
  assertEquals(text, "run.yaml: is no configuration: it has more than 65536 characters");
  await assertRejects(() => readConfig("/dev/zero"), InputError, "more than 65536 characters");
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, Uint8Array.of(0xff, 0xfe, 0x73, 0));
    await assertRejects(() => readConfig(path), InputError, "no text in UTF-8");
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a file that cannot be read is refused in one line", async () => {
  await assertRejects(
    () => readConfig(`${FIXTURES}none.yaml`),
    InputError,
    "there is no such configuration file",
  );
  await assertRejects(() => readConfig(FIXTURES), InputError, "cannot read the configuration");
});

Deno.test("the command line overrides seed, epochs and data", () => {
  const config = parseConfig("data: {data_dir: d, dataset_prefix: p, dataset: n}", "run.yaml");
  assertEquals(withOverrides(config, {}), config);
  const changed = withOverrides(config, { seed: 1, epochs: 2 });
  assertEquals(changed, { ...config, seed: 1, maxEpoch: 2 });
  assertThrows(() => withOverrides(config, { epochs: 0 }), InputError, "allowed: a whole number");
  // A path is found again whole, whether it ends in a folder or in the start of file names.
  for (
    const [data, path] of [
      ["x/y/pre", "x/y/pre"],
      ["x/y/", "x/y"],
      ["pre", "./pre"],
      [
        "/pre",
        "/pre",
      ],
      ["../shared", "../shared"],
      [".", "./."],
      ["/", "/"],
    ]
  ) {
    const other = withOverrides(config, { data });
    assertEquals(dataPath(other), path);
    assertEquals(parseConfig(formatConfig(other), "run.yaml"), other);
  }
});

Deno.test("runs are named after their data", () => {
  const name = (yaml: string): string => dataName(parseConfig(yaml, "run.yaml"));
  assertEquals(name(""), "simulated");
  assertEquals(name("data: {dataset: geo life/2}"), "geo_life_2");
  assertEquals(name("data: {data_dir: d, dataset_prefix: p}"), "p");
  assertEquals(name("data: {data_dir: ../some/folder/}"), "folder");
});
