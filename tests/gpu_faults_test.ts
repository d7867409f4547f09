import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { describeError } from "../src/cli/output.ts";
import { DeviceError, type DeviceFailure } from "../src/core/errors.ts";
import { type HostTensor, tensor } from "../src/core/tensor.ts";
import { flatten } from "../src/core/tree.ts";
import { simulate } from "../src/data/simulate.ts";
import { type OpenDevice, openDevice } from "../src/gpu/device.ts";
import { add } from "../src/ops/binary.ts";
import { compile } from "../src/plan/compile.ts";
import { put, read } from "../src/plan/device_tensor.ts";
import type { Checkpoint } from "../src/train/checkpoint.ts";
import { defaultConfig } from "../src/train/config.ts";
import type { SizedConfig } from "../src/train/data.ts";
import { fit, type FitResult } from "../src/train/fit.ts";

import { task, tinyConfig, writeTown } from "./commands.ts";

const adapter = await navigator.gpu?.requestAdapter();
const software = adapter && /llvmpipe/.test(adapter.info.description || adapter.info.device);

function gpuTest(name: string, test: (device: OpenDevice) => Promise<void>): void {
  if (!adapter) return Deno.test.ignore(`${name}: skipped, no WebGPU adapter`, () => {});
  Deno.test(name, async () => {
    using device = await openDevice() as OpenDevice;
    await test(device);
  });
}

/** The error that a promise ends with, of that kind; a promise that never ends is an error too. */
async function failure(work: Promise<unknown>, kind: DeviceFailure): Promise<DeviceError> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("nothing happened for 20 s")), 20_000);
  try {
    const error = await assertRejects(() => Promise.race([work, promise]), DeviceError);
    assertEquals(error.kind, kind);
    assertEquals(describeError(error), error.message);
    assert(!error.message.includes("\n"), error.message);
    return error;
  } finally {
    clearTimeout(timer);
  }
}

gpuTest("a device that is lost ends what waits for it, and says so ever after", async (device) => {
  const sum = compile(device, add);
  const x = put(device, tensor([1, 2, 3]));
  const pending = read(sum(x, x));
  // Drivers may leave a promise open for ever.
  const endless = device.wait(new Promise(() => {}));
  device.gpu.destroy();
  const first = await failure(pending, "lost");
  assertEquals(
    first.message,
    `${device.adapter.name} was lost (device was lost): try again; if that does not help, update ` +
      "the graphics driver",
  );
  assertEquals((await failure(endless, "lost")).message, first.message);
  assertEquals((await failure(read(x), "lost")).message, first.message);
  assertThrows(() => sum(x, x), DeviceError, first.message);
  assertThrows(() => put(device, tensor([1])), DeviceError, first.message);
  // Another device of the same process is as good as new.
  using other = await openDevice();
  const y = await read(compile(other, add)(tensor([1]), tensor([2]))) as HostTensor;
  assertEquals([...y.data], [3]);
});

gpuTest("a loss that is reported after the work that it ended is still named", async (device) => {
  const x = put(device, tensor([1]));
  device.gpu.destroy();
  await failure(read(x), "lost");
});

gpuTest("a command that the GPU refuses is named, before its results are taken", async (device) => {
  const x = put(device, tensor([1, 2, 3]));
  const target = device.gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ });
  const encoder = device.gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(target, 0, target, 0, 16);
  device.gpu.queue.submit([encoder.finish()]);
  const first = await failure(read(x), "command");
  assert(first.message.startsWith(`${device.adapter.name} could not run a command (`));
  assertEquals((await failure(read(x), "command")).message, first.message);
});

gpuTest("a kernel that is no WGSL is named in one line", async (device) => {
  const x = put(device, tensor([1, 2, 3]));
  device.pipeline("fn main(\n {", ["read"], "broken");
  assertMatch((await failure(read(x), "command")).message, /'broken' parsing error/);
});

gpuTest("work that fails for no reported reason is an error of the GPU", async (device) => {
  const error = await failure(device.wait(Promise.reject(new Error("no\nreason"))), "command");
  assert(
    error.message.startsWith(`${device.adapter.name} did not return its results (no reason):`),
  );
});

gpuTest("a device that is closed ends what waits for it", async (device) => {
  const pending = read(put(device, tensor([1])));
  const endless = device.wait(new Promise(() => {}));
  device[Symbol.dispose]();
  await assertRejects(() => pending, TypeError, "The device is closed");
  await assertRejects(() => endless, TypeError, "The device is closed");
});

gpuTest("an adapter that cannot be opened is named", async () => {
  const { prototype } = GPUAdapter;
  const { requestDevice } = prototype;
  prototype.requestDevice = () => Promise.reject(new DOMException("busy", "OperationError"));
  try {
    assertMatch((await failure(openDevice(), "lost")).message, / cannot be opened \(busy\): /);
  } finally {
    prototype.requestDevice = requestDevice;
  }
});

/**
 * Computes `count` results of 128 MB in a process that may take only 1 GB more than it has, twice;
 * prints the error if there is one. Software adapters take their memory from the process.
 */
const starved = (count: number): string =>
  `import { linear, openDevice, put, read, run, tensor } from "./mod.ts";
   import { describeError } from "./src/cli/output.ts";
   using device = await openDevice();
   // So that what every computation needs is there before the limit is.
   const few = tensor([1, 2], [2, 1]);
   await read(run(device, (x) => linear(x, few))(few));
   const status = await Deno.readTextFile("/proc/self/status");
   const most = 1024 * Number(status.match(/VmSize:\\s*(\\d+)/)[1]) + 1e9;
   const limit = ["--pid", String(Deno.pid), "--as=" + most];
   await new Deno.Command("prlimit", { args: limit }).output();
   const x = tensor(new Float32Array(4000), [4000, 1]);
   const large = (x) => Array.from({ length: ${count} }, (_, i) =>
     linear(x, tensor(new Float32Array(8000).fill(i + 1), [8000, 1])));
   for (let i = 0; i < 2; i++) {
     try {
       run(device, large)(x);
       console.log("computed", (await read(put(device, tensor([7])))).data[0]);
     } catch (error) {
       console.log(error.name, error.kind, describeError(error));
     }
   }`;

const outOfMemory = "a GPU without memory left is named, and the program lives on";
if (!software || Deno.build.os !== "linux") {
  Deno.test.ignore(`${outOfMemory}: skipped, needs Mesa's llvmpipe on Linux`, () => {});
} else {
  Deno.test(outOfMemory, async () => {
    const output = async (count: number): Promise<readonly string[]> => {
      const { stdout, stderr } = await new Deno.Command("deno", {
        args: ["eval", "--no-check", starved(count)],
        cwd: new URL("..", import.meta.url),
        // Every thread's arena takes address space, which counts, at a time of its own.
        env: { NO_COLOR: "1", XDG_RUNTIME_DIR: "/tmp", MALLOC_ARENA_MAX: "1" },
      }).output();
      assertEquals(new TextDecoder().decode(stderr), "");
      return new TextDecoder().decode(stdout).trimEnd().split("\n");
    };
    assertEquals(await output(1), ["computed 7", "computed 7"]);
    const [first, second] = await output(8);
    assertMatch(
      first,
      /^DeviceError memory llvmpipe .* has no memory left for [\d.]+ MiB \(.*\): make the batch or the model smaller, or end other programs that use the GPU$/,
    );
    assertEquals(second, first);
  });
}

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
  maxEpoch: 2,
};

/** Weights and scores without the time that they took. */
function comparable({ weights, epochs, test }: FitResult): unknown {
  const tensors = flatten(weights).map(({ path, leaf }) => [path, (leaf as HostTensor).data]);
  return [tensors, epochs.map((epoch) => ({ ...epoch, seconds: 0 })), test];
}

gpuTest("training on a device that is lost goes on from its checkpoint elsewhere", async (lost) => {
  let last: Checkpoint | undefined;
  const losing = fit(lost, config, town, {
    onBatch(done) {
      if (done === 7) lost.gpu.destroy();
    },
    // deno-lint-ignore require-await -- what an event gives
    onCheckpoint: async (checkpoint) => {
      last = checkpoint;
    },
  });
  await failure(losing, "lost");
  assertEquals(last?.progress.step, 4);
  using other = await openDevice();
  const whole = comparable(await fit(other, config, town));
  assertEquals(comparable(await fit(other, config, town, {}, { from: last })), whole);
});

gpuTest("deno task train on a device that is lost names the checkpoint to go on from", async () => {
  const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    const [file, out] = [`${folder}/tiny.yaml`, `${folder}/run`];
    const training = "batch_size: 8, print_step: 5, checkpoint_step: 10";
    await Deno.writeTextFile(file, tinyConfig({ training }));
    const worker = new URL("./faults/lost_worker.ts", import.meta.url).href;
    const { code, stderr } = await new Deno.Command("deno", {
      args: [
        "eval",
        "--no-check",
        `import { trainApart } from "./src/cli/train.ts";
         import { readConfig, withOverrides } from "./src/train/config.ts";
         import { claimRun } from "./src/train/run_directory.ts";
         const [file, data, out, worker] = ${
          JSON.stringify([file, await writeTown(folder), out, worker])
        };
         const config = withOverrides(await readConfig(file), { data });
         const run = { path: await claimRun(config, { out }), config };
         const job = { run, resume: false, quiet: true, json: false, debug: false };
         Deno.exit(await trainApart(job, new URL(worker)));`,
      ],
      cwd: new URL("..", import.meta.url),
      env: { NO_COLOR: "1", XDG_RUNTIME_DIR: "/tmp" },
    }).output();
    const text = new TextDecoder().decode(stderr);
    assertEquals(code, 1, text);
    const [, step] = text.match(
      /^error: .* was lost \(.*\): try again; .*; go on from step (\d+) with deno task train --resume \S+\n$/,
    ) ?? [];
    assert(Number(step) >= 10, text);
    const resumed = await task("train", ["--resume", out]);
    assertEquals(resumed.code, 0, resumed.err);
    assert(resumed.err.includes(`goes on from step ${step}\n`), resumed.err);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
