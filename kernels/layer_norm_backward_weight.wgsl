// The gradients of y = gamma n + beta, n = (x - mean) scale, with respect to gamma and beta
//
//   dgamma[h] = Σ_m dy[m,h] n[m,h]          dbeta[h] = Σ_m dy[m,h]
//
// binding  access      what                       shape
// 0        uniform     .x: rows M
// 1        read        dy                         [M,H]
// 2        read        x                          [M,H]
// 3        read        mean and scale             [M,2]
// 4        read_write  dgamma                     [H]
// 5        read_write  dbeta                      [H]
//
// SLICES slices take the rows in turn, and their sums are added in order.
// Workgroups: (ceil(H / 8)), of 8 columns by SLICES slices.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(5) var<storage, read_write> dbeta: array<f32>;

var<workgroup> sums: array<vec2f, 8 * SLICES>;

@compute @workgroup_size(8, SLICES)
fn main(@builtin(local_invocation_id) l: vec3u, @builtin(workgroup_id) group: vec3u) {
  let h = group.x * 8u + l.x;
  let column = min(h, H - 1u);
  var sum = vec2f(0.0);
  //# loop r in ROUNDS
  //# for u in UNROLL
  {
    let m = ($r * UNROLL + $u) * SLICES + l.y;
    let row = min(m, size.x - 1u);
    let i = row * H + column;
    let normal = (x[i] - statistics[2u * row]) * statistics[2u * row + 1u];
    sum += select(vec2f(0.0), vec2f(dy[i] * normal, dy[i]), m < size.x);
  }
  //# end
  //# end
  sums[l.y * 8u + l.x] = sum;
  workgroupBarrier();
  var total = vec2f(0.0);
  //# for j in SLICES
  total += sums[$j * 8 + l.x];
  //# end
  if (l.y == 0u && h < H) {
    dgamma[h] = total.x;
    dbeta[h] = total.y;
  }
}
