import { assert, assertEquals } from "@std/assert";
import {
  defaultConfig,
  formatStages,
  type HostTensor,
  linear,
  type Model,
  nextLocation,
  randomKey,
  read,
  run,
  simulate,
  stage,
  tensor,
  traceForward,
} from "../mod.ts";
import { deviceTest } from "./adapter.ts";
import { gpuTest, task } from "./commands.ts";

const town = simulate({ people: 3, days: 30 });
const config = {
  ...defaultConfig,
  totalLocNum: town.totalLocNum,
  totalUserNum: town.totalUserNum,
  baseEmbSize: 6,
  lstmHiddenSize: 10,
};

deviceTest("a trace ends in what the forward pass gives, and has its stages", async (device) => {
  const model = nextLocation(config);
  const { params, statistics } = model.init(randomKey(1));
  const batch = model.batch(town.train.slice(0, 5));
  const stages = await traceForward(device, model, { params, statistics }, batch, { values: 3 });
  const { logits } = await read(run(device, model.forward)(params, batch, { statistics }));
  const last = stages.at(-1)!;
  assertEquals([last.name, last.shape], ["output.logits", [5, town.totalLocNum]]);
  assertEquals(last.first, [...logits.data.slice(0, 3)]);
  assertEquals([last.min, last.max], [Math.min(...logits.data), Math.max(...logits.data)]);
  const visits = town.train.slice(0, 5).reduce((sum, { X }) => sum + X.length, 0);
  const shapes = new Map(stages.map(({ name, shape }) => [name, shape]));
  assertEquals(shapes.get("batch.location"), [visits]);
  assertEquals(shapes.get("embedded visits"), [visits, 6]);
  assertEquals(shapes.get("LSTM"), [visits, 10]);
  assertEquals(shapes.get("last output of the LSTM"), [5, 10]);
});

deviceTest(
  "a trace counts values that are not finite and leaves them out of the range",
  async (device) => {
    const weight = tensor([1, 0, 0, 1], [2, 2]);
    const model = {
      forward: (params: { weight: HostTensor }, batch: { x: HostTensor }) => ({
        y: stage("copied", linear(batch.x, params.weight)),
        statistics: {},
      }),
    } as unknown as Model<{ weight: HostTensor }, object, { x: HostTensor }>;
    const batch = { x: tensor([3, -2, 7, NaN], [2, 2]) };
    const stages = await traceForward(device, model, { params: { weight }, statistics: {} }, batch);
    const { min, max, notFinite } = stages.find(({ name }) => name === "batch.x")!;
    assertEquals({ min, max, notFinite }, { min: -2, max: 7, notFinite: 1 });
    const [heading, ...lines] = formatStages(stages).split("\n");
    assert(heading.startsWith("stage"));
    assertEquals(lines.length, stages.length);
    assert(lines[0].endsWith("(1 not finite)"), lines[0]);
  },
);

gpuTest("deno task trace prints the stages of a model, a configuration or a run", async () => {
  const { code, out, err } = await task("trace", ["--model", "next-location", "--batch", "2"]);
  assertEquals([code, err], [0, ""]);
  assert(/^LSTM +f32\[\d+,64\]/m.test(out), out);
  const neither = await task("trace", []);
  assertEquals([neither.code, neither.out], [2, ""]);
});
