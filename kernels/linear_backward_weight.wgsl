// dW = dyᵀ x and db, the gradients of y = x Wᵀ + b with respect to W and b
//
//   dW[n,k] = Σ_m dy[m,n] x[m,k]
//   db[n] = Σ_m dy[m,n]
//
// binding  access      what                                     shape
// 0        uniform     .x: first row m of this launch's chunk, .y: rows of the chunk (at most ROWS)
// 1        read        dy                                       [M,N]
// 2        read_write  dW, added to unless the chunk is first   [N,K]
// 3        read_write  db, as dW                                [N]
// 4        read        x                                        [M,K]
//
// Launched once a chunk of rows. An invocation computes 4 neighbouring columns k of 8 rows n.
// Workgroups: (ceil(K4 / LANES), ceil(N / 8)), K4 = ceil(K / 4).

@group(0) @binding(0) var<uniform> chunk: vec4u;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;
@group(0) @binding(3) var<storage, read_write> db: array<f32>;
@group(0) @binding(4) var<storage, read> x: array<f32>;

// tile[2 m + h] holds dy[m, n + 4 h .. n + 4 h + 3].
var<workgroup> tile: array<vec4f, TILE>;
var<private> acc: array<vec4f, 8>;
var<private> bias: array<vec4f, 2>;
var<private> lane: u32;

fn accumulate(m: u32) {
  let i = (chunk.x + min(m, chunk.y - 1u)) * K + 4u * lane;
  let x0 = vec4f(x[i], x[i + 1u], x[i + 2u], x[i + 3u]);
  //# for h in 2
  {
    let a = tile[2u * m + $h];
    bias[$h] += a;
    acc[4 * $h] += a.x * x0;
    acc[4 * $h + 1] += a.y * x0;
    acc[4 * $h + 2] += a.z * x0;
    acc[4 * $h + 3] += a.w * x0;
  }
  //# end
}

fn dy_at(m: u32, n: u32) -> vec4f {
  let i = (chunk.x + min(m, chunk.y - 1u)) * N + n;
  let inside = (vec4u(n) + vec4u(0u, 1u, 2u, 3u) < vec4u(N)) & vec4<bool>(m < chunk.y);
  return select(vec4f(0.0), vec4f(dy[i], dy[i + 1u], dy[i + 2u], dy[i + 3u]), inside);
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let column4 = group.x * LANES + l;
  lane = min(column4, K4 - 1u);
  let n = group.y * 8u;
  //# for r in 8
  acc[$r] = vec4f(0.0);
  //# end
  //# loop i in STAGES
  {
    let q = $i * LANES + l;
    tile[q] = dy_at(q / 2u, n + 4u * (q % 2u));
  }
  //# end
  workgroupBarrier();
  for (var at = 0u; at < ROWS; at++) {
    accumulate(at);
  }
  if (column4 == 0u) {
    //# for r in 8
    if (n + $r < N) {
      db[n + $r] = bias[$r / 4][$r % 4] + select(0.0, db[n + $r], chunk.x > 0u);
    }
    //# end
  }
  //# for j in 4
  {
    let k = 4u * column4 + $j;
    if (k < K) {
      //# for r in 8
      if (n + $r < N) {
        let i = (n + $r) * K + k;
        dw[i] = acc[$r][$j] + select(0.0, dw[i], chunk.x > 0u);
      }
      //# end
    }
  }
  //# end
}
