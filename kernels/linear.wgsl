// y = x Wᵀ + b
//
//   y[m,n] = b[n] + Σ_k x[m,k] W[n,k]
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        x                             [M,K]
// 2        read        b (not read if BIAS = 0)      [N]
// 3        read_write  y                             [M,N]
// 4        read        W                             [N,K]
//
// An invocation computes 4 columns, j WINDOW + lane, of 8 rows, WINDOW = ceil(N / 4). The rows of x wait in workgroup
// memory, CHUNK4 vec4 of each at a time, CHUNKS times.
// Workgroups: (ceil(WINDOW / LANES), ceil(M / 8)).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> w: array<f32>;

var<workgroup> tile: array<vec4f, TILE>;
var<private> acc: array<vec4f, 8>;
var<private> lane: u32;
var<private> first: u32;

fn w_at(row: u32, k4: u32) -> vec4f {
  let i = row * K + 4u * k4;
  return vec4f(w[i], w[i + 1u], w[i + 2u], w[i + 3u]);
}

fn accumulate(k: u32) {
  let w0 = w_at(lane, first + k);
  let w1 = w_at(WINDOW + lane, first + k);
  let w2 = w_at(2u * WINDOW + lane, first + k);
  let w3 = w_at(3u * WINDOW + lane, first + k);
  //# for r in 8
  {
    let a = tile[$r * CHUNK4 + k];
    acc[$r] += a.x * vec4f(w0.x, w1.x, w2.x, w3.x);
    acc[$r] += a.y * vec4f(w0.y, w1.y, w2.y, w3.y);
    acc[$r] += a.z * vec4f(w0.z, w1.z, w2.z, w3.z);
    acc[$r] += a.w * vec4f(w0.w, w1.w, w2.w, w3.w);
  }
  //# end
}

// Columns k .. k+3 of row m, zero past either end.
fn x_at(m: u32, k: u32) -> vec4f {
  let i = min(m, size.x - 1u) * K + k;
  let inside = (vec4u(k) + vec4u(0u, 1u, 2u, 3u) < vec4u(K)) & vec4<bool>(m < size.x);
  return select(vec4f(0.0), vec4f(x[i], x[i + 1u], x[i + 2u], x[i + 3u]), inside);
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let column = group.x * LANES + l;
  lane = min(column, WINDOW - 1u);
  let m = group.y * 8u;
  var bias = vec4f(0.0);
  //# if BIAS
  bias = vec4f(
    b[lane],
    b[min(WINDOW + lane, N - 1u)],
    b[min(2u * WINDOW + lane, N - 1u)],
    b[min(3u * WINDOW + lane, N - 1u)],
  );
  //# end
  //# for r in 8
  acc[$r] = bias;
  //# end
  //# loop c in CHUNKS
  first = $c * CHUNK4;
  //# loop i in STAGES
  {
    let q = $i * LANES + l;
    tile[q] = x_at(m + q / CHUNK4, 4u * (first + q % CHUNK4));
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
    let n = $j * WINDOW + column;
    if (column < WINDOW && n < N) {
      //# for r in 8
      if (m + $r < size.x) {
        y[(m + $r) * N + n] = acc[$r][$j];
      }
      //# end
    }
  }
  //# end
}
