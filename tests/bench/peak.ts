/**
 * The adapter's arithmetic peak: multiply-adds in registers, nothing else.
 *
 * @module
 */

/** A form of the kernel. */
interface PeakShape {
  readonly type: "f32" | "vec4f";
  /** Sums that do not wait for each other. */
  readonly accumulators: number;
  /** Multiply-adds of each that are written out. */
  readonly written: number;
  /** Times that these are repeated; 1 is a straight line. */
  readonly loops: number;
  readonly workgroup: number;
}

/** What a form reached. */
export interface PeakResult {
  readonly shape: string;
  readonly gflops: number;
}

const shape = (
  type: "f32" | "vec4f",
  accumulators: number,
  written: number,
  loops: number,
  workgroup = 64,
): PeakShape => ({ type, accumulators, written, loops, workgroup });

const SHAPES: readonly PeakShape[] = [
  shape("vec4f", 3, 16, 1),
  shape("vec4f", 8, 16, 1),
  shape("vec4f", 3, 4, 256),
  shape("vec4f", 4, 4, 256),
  shape("vec4f", 8, 4, 256),
  shape("vec4f", 8, 4, 256, 256),
  shape("f32", 12, 8, 128),
  shape("f32", 16, 4, 256),
];

/** Its WGSL; a lane's values differ, so that none is computed once for several. */
function source({ type, accumulators, written, loops, workgroup }: PeakShape): string {
  const sums = Array.from({ length: accumulators }, (_, i) => `c${i}`);
  const vector = (x: string): string =>
    type === "f32" ? x : `vec4f(${[0, 1, 2, 3].map((i) => `${x} + ${i}e-3`).join(", ")})`;
  const round = sums.map((c) => `    ${c} = fma(${c}, a, b);`).join("\n");
  const total = sums.join(" + ");
  const body = Array.from({ length: written }, () => round).join("\n");
  return `
@group(0) @binding(0) var<uniform> x: vec4f;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(${workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let lane = f32(id.x) * 1e-9;
  let a = ${vector("(lane + x.x)")};
  let b = ${vector("(lane + x.y)")};
  ${sums.map((c, i) => `var ${c} = ${vector(`(lane + ${i}.0)`)};`).join("\n  ")}
  ${loops > 1 ? `for (var k = 0u; k < ${loops}u; k++) {` : "{"}
${body}
  }
  let sum = ${type === "f32" ? total : `dot(${total}, vec4f(1.0))`};
  // Without the max LLVM makes a straight line's vectors scalars, inside the loop of the store.
  y[id.x % 65536u] = max(sum, -1e30);
}`;
}

/** Measures every form; the best is the peak. */
export async function measurePeak(): Promise<readonly PeakResult[]> {
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw new Error("there is no WebGPU adapter");
  const timed = adapter.features.has("timestamp-query");
  const device = await adapter.requestDevice({
    requiredFeatures: timed ? ["timestamp-query"] : [],
  });
  const { STORAGE, UNIFORM, COPY_DST, COPY_SRC, MAP_READ, QUERY_RESOLVE } = GPUBufferUsage;
  const x = device.createBuffer({ size: 16, usage: UNIFORM | COPY_DST });
  device.queue.writeBuffer(x, 0, Float32Array.of(0.5, 0.25, 0, 0));
  const y = device.createBuffer({ size: 4 * 65536, usage: STORAGE });
  const times = device.createBuffer({ size: 16, usage: QUERY_RESOLVE | COPY_SRC });
  const staging = device.createBuffer({ size: 16, usage: MAP_READ | COPY_DST });
  const querySet = timed ? device.createQuerySet({ type: "timestamp", count: 2 }) : undefined;

  /** Milliseconds of a dispatch of so many workgroups. */
  async function time(
    pipeline: GPUComputePipeline,
    group: GPUBindGroup,
    count: number,
  ): Promise<number> {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass(
      querySet && {
        timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
      },
    );
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(count);
    pass.end();
    if (querySet) encoder.resolveQuerySet(querySet, 0, 2, times, 0);
    encoder.copyBufferToBuffer(times, 0, staging, 0, 16);
    const start = performance.now();
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const wall = performance.now() - start;
    const [began, ended] = new BigUint64Array(staging.getMappedRange().slice(0));
    staging.unmap();
    return querySet ? Number(ended - began) / 1e6 : wall;
  }

  const results: PeakResult[] = [];
  for (const form of SHAPES) {
    const { type, accumulators, written, loops, workgroup } = form;
    const pipeline = device.createComputePipeline({
      layout: "auto",
      compute: { module: device.createShaderModule({ code: source(form) }), entryPoint: "main" },
    });
    const group = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [x, y].map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
    // Long enough that starting it, and the wait where there are no timestamps, do not matter.
    const enough = timed ? 10 : 200;
    let count = 16;
    await time(pipeline, group, count);
    while (count < 65535 && await time(pipeline, group, count) < enough) {
      count = Math.min(65535, 4 * count);
    }
    let best = Infinity;
    for (let i = 0; i < 6; i++) best = Math.min(best, await time(pipeline, group, count));
    const lanes = type === "f32" ? 1 : 4;
    const flop = 2 * lanes * accumulators * written * loops * workgroup * count;
    results.push({
      shape: `${accumulators} ${type} sums, ${written} written out` +
        (loops > 1 ? `, ${loops} times` : "") + `, workgroups of ${workgroup}`,
      gflops: flop / best / 1e6,
    });
  }
  device.destroy();
  return results;
}
