import { assertEquals } from "@std/assert";
import { read, relu, run, scale, stage, stages, sum, type Tensor, tensor } from "../mod.ts";
import { deviceTest } from "./adapter.ts";

deviceTest("stages are named tensors in order, those of one name numbered", async (device) => {
  const fn = (x: Tensor): Tensor => {
    const doubled = stage("scaled", scale(x, 2));
    return sum(relu(stage("scaled", scale(doubled, -1))));
  };
  const { result, stages: named } = await read(run(device, stages(fn))(tensor([-1, 3])));
  assertEquals(Object.keys(named), ["scaled", "scaled 2"]);
  assertEquals([...named.scaled.data], [-2, 6]);
  assertEquals([...named["scaled 2"].data], [2, -6]);
  assertEquals(result.data[0], 2);
});

deviceTest(
  "outside of stages a stage is its tensor, and nested ones keep theirs",
  async (device) => {
    const inner = (x: Tensor): Tensor => stage("inner", scale(x, 3));
    const outer = (x: Tensor) => {
      const { result, stages: named } = stages(inner)(x);
      return [stage("outer", result), named] as const;
    };
    assertEquals([...(await read(run(device, inner)(tensor([2])))).data], [6]);
    const { result: [, within], stages: named } = await read(
      run(device, stages(outer))(tensor([2])),
    );
    assertEquals([Object.keys(within), Object.keys(named)], [["inner"], ["outer"]]);
  },
);
