import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { constant, linearWarmupDecay } from "../src/optim/schedules.ts";

Deno.test("warm-up and decay have the rates of the GeoLife recipe", () => {
  // 232 batches an epoch, 2 epochs of warm-up, 50 in all: the table of the walkthrough.
  const rate = linearWarmupDecay({ peak: 1e-3, warmupSteps: 464, totalSteps: 11600 });
  assertEquals(rate(0), 0);
  assertAlmostEquals(rate(1), 1e-3 / 464, 1e-18);
  assertAlmostEquals(rate(232), 5e-4, 1e-18);
  assertEquals(rate(464), 1e-3);
  assertAlmostEquals(rate(6032), 5e-4, 1e-18); // Half way from 464 to 11600.
  assertEquals(rate(11600), 0);
  assertEquals(rate(20000), 0);
});

Deno.test("warm-up and decay equal PyTorch's LambdaLR with the formula of transformers", () => {
  // torch 1.13: [opt.step(), sched.step()] over peak 0.8, 3 warm-up steps, 8 in all.
  const printed = [
    0,
    0.26666666666666666,
    0.5333333333333333,
    0.8,
    0.6400000000000001,
    0.48,
    0.32000000000000006,
    0.16000000000000003,
    0,
    0,
  ];
  const rate = linearWarmupDecay({ peak: 0.8, warmupSteps: 3, totalSteps: 8 });
  printed.forEach((expected, step) => assertAlmostEquals(rate(step), expected, 1e-15));
});

Deno.test("no warm-up starts at the peak, no decay ends at once", () => {
  assertEquals(linearWarmupDecay({ peak: 2, warmupSteps: 0, totalSteps: 4 })(0), 2);
  assertEquals(linearWarmupDecay({ peak: 2, warmupSteps: 4, totalSteps: 4 })(4), 0);
  assertEquals(linearWarmupDecay({ peak: 2, warmupSteps: 0, totalSteps: 0 })(0), 0);
});

Deno.test("a constant rate is constant, and wrong options are refused", () => {
  assertEquals([0, 1, 1e9].map(constant(0.25)), [0.25, 0.25, 0.25]);
  assertThrows(() => constant(-1), RangeError, "rate");
  assertThrows(() => constant(NaN), RangeError);
  const warmup = { peak: 1, warmupSteps: 1.5, totalSteps: 4 };
  assertThrows(() => linearWarmupDecay(warmup), RangeError, "warmupSteps");
  assertThrows(() => linearWarmupDecay({ ...warmup, warmupSteps: 1, totalSteps: -1 }), RangeError);
});
