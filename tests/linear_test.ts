import { tensor } from "../src/core/tensor.ts";
import { normal, randomKey } from "../src/core/random.ts";
import type { Traced } from "../src/graph/graph.ts";
import { linear } from "../src/ops/linear.ts";
import { read } from "../src/plan/device_tensor.ts";
import { run } from "../src/plan/compile.ts";
import { deviceTest } from "./adapter.ts";
import { assertClose } from "./reference/compare.ts";
import * as oracle from "./reference/linear.ts";

const random = (seed: number, n: number): Float32Array =>
  Float32Array.from(normal(randomKey(seed), n));

// Few large sizes: a software adapter takes seconds to compile the straight-line kernels of each.
for (
  const [M, N, K] of [
    [1, 1, 1],
    [7, 3, 5],
    [8, 64, 32],
    [9, 65, 33],
    [33, 131, 67],
    [32, 1187, 128],
    [33, 2500, 20],
    [3, 16500, 9],
    [5, 260, 256],
    [3, 17, 300],
    [2, 5, 1100],
    [130, 40, 12],
    [2051, 3, 5],
  ]
) {
  deviceTest(`linear of [${M},${K}] by [${N},${K}] and its gradients`, async (device) => {
    const x = random(1, M * K), w = random(2, N * K), b = random(3, N), dy = random(4, M * N);
    const f = (x: Traced, w: Traced, b: Traced, dy: Traced): unknown => {
      const y = linear(x, w, b) as Traced;
      const [dx, dw, db] = y.node.operation.vjp!(y.node, [dy]);
      return { y, dx, dw, db };
    };
    const out = await read(
      (run(device, f as never) as (...args: unknown[]) => Record<string, never>)(
        tensor(x, [M, K]),
        tensor(w, [N, K]),
        tensor(b),
        tensor(dy, [M, N]),
      ),
    ) as unknown as Record<string, { data: Float32Array }>;
    const f64 = (a: Float32Array): Float64Array => Float64Array.from(a);
    const y = oracle.linear(f64(x), f64(w), f64(b), M);
    const g = oracle.linearBackward(f64(x), f64(w), f64(dy), M);
    assertClose(out.y.data, y, 1e-5, "y");
    assertClose(out.dx.data, g.dx, 1e-5, "dx");
    assertClose(out.dw.data, g.dweight, 1e-5, "dW");
    assertClose(out.db.data, g.dbias, 1e-5, "db");
  });
}
