// dx = dy W, the gradient of y = x Wᵀ with respect to x
//
//   dx[m,k] = Σ_n dy[m,n] W[n,k]
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        uniform     .x: first row N0 of W in this dispatch, .y: 0 to store, 1 to add to dx,
//                      .z: rows of W in this dispatch
// 2        read        dy                            [M,N]
// 3        read_write  dx                            [M,K]
// 4        weights     W, one window of WINDOW rows  [N,K]
//
// An invocation computes 4 neighbouring columns of 8 rows.
// Workgroups: (ceil(K4 / LANES), ceil(M / 8)), K4 = ceil(K / 4).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<uniform> part: vec4u;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
//# weights w at 4: 1 windows of WINDOW rows, K columns

var<workgroup> tile: array<vec4f, TILE>;
var<private> acc: array<vec4f, 8>;
var<private> lane: u32;
var<private> first: u32;

fn accumulate(n: u32) {
  let last = part.z - 1u;
  let w0 = w_0(min(first + 4u * n, last), lane);
  let w1 = w_0(min(first + 4u * n + 1u, last), lane);
  let w2 = w_0(min(first + 4u * n + 2u, last), lane);
  let w3 = w_0(min(first + 4u * n + 3u, last), lane);
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
//# repeat accumulate CHUNK4

// Columns n .. n+3 of row m, counted from N0; zero past the end of the rows or of the part.
fn dy_at(m: u32, n: u32) -> vec4f {
  let i = min(m, size.x - 1u) * N + part.x + n;
  let inside = (vec4u(n) + vec4u(0u, 1u, 2u, 3u) < vec4u(part.z)) & vec4<bool>(m < size.x);
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
  repeat_accumulate();
  workgroupBarrier();
  //# end
  //# for j in 4
  {
    let k = 4u * column4 + $j;
    if (k < K) {
      //# for r in 8
      if (m + $r < size.x) {
        let i = (m + $r) * K + k;
        dx[i] = acc[$r][$j] + select(0.0, dx[i], part.y == 1u);
      }
      //# end
    }
  }
  //# end
}
