// dx = dy W, the gradient of y = x Wᵀ with respect to x
//
//   dx[m,k] = Σ_n dy[m,n] W[n,k]
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        dy                            [M,N]
// 2        read_write  dx                            [M,K]
// 3        read        W                             [N,K]
//
// An invocation computes 4 neighbouring columns of 8 rows.
// Workgroups: (ceil(K4 / LANES), ceil(M / 8)), K4 = ceil(K / 4).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<storage, read> w: array<f32>;

var<workgroup> tile: array<vec4f, TILE>;
var<private> acc: array<vec4f, 8>;
var<private> lane: u32;
var<private> first: u32;

fn w_at(row: u32) -> vec4f {
  let i = min(row, N - 1u) * K + 4u * lane;
  return vec4f(w[i], w[i + 1u], w[i + 2u], w[i + 3u]);
}

fn accumulate(n: u32) {
  let w0 = w_at(first + 4u * n);
  let w1 = w_at(first + 4u * n + 1u);
  let w2 = w_at(first + 4u * n + 2u);
  let w3 = w_at(first + 4u * n + 3u);
  //# for r in 8
  {
    let a = tile[$r * CHUNK4 + n];
    acc[$r] += a.x * w0;
    acc[$r] += a.y * w1;
    acc[$r] += a.z * w2;
    acc[$r] += a.w * w3;
  }
  //# end
}

// Columns n .. n+3 of row m, zero past either end.
fn dy_at(m: u32, n: u32) -> vec4f {
  let i = min(m, size.x - 1u) * N + n;
  let inside = (vec4u(n) + vec4u(0u, 1u, 2u, 3u) < vec4u(N)) & vec4<bool>(m < size.x);
  return select(vec4f(0.0), vec4f(dy[i], dy[i + 1u], dy[i + 2u], dy[i + 3u]), inside);
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let column4 = group.x * LANES + l;
  lane = min(column4, K4 - 1u);
  let m = group.y * 8u;
  //# for r in 8
  acc[$r] = vec4f(0.0);
  //# end
  //# loop c in CHUNKS
  first = $c * CHUNK4 * 4u;
  //# loop i in STAGES
  {
    let q = $i * LANES + l;
    tile[q] = dy_at(m + q / CHUNK4, first + 4u * (q % CHUNK4));
  }
  //# end
  workgroupBarrier();
  for (var at = 0u; at < CHUNK4; at++) {
    accumulate(at);
  }
  workgroupBarrier();
  //# end
  //# for j in 4
  {
    let k = 4u * column4 + $j;
    if (k < K) {
      //# for r in 8
      if (m + $r < size.x) {
        dx[(m + $r) * K + k] = acc[$r][$j];
      }
      //# end
    }
  }
  //# end
}
