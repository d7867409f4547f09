// The gradients of y = gamma n + beta, n = (x - mean) scale, mean and scale one of each column
//
//   dgamma[h] = Σ_m dy[m,h] n[m,h]          dbeta[h] = Σ_m dy[m,h]
//   dx[m,h] = gamma[h] scale[h] dy[m,h]
//
// TRAINING, as mean and scale depend on x:
//
//   dx[m,h] = gamma[h] scale[h] (dy[m,h] - dbeta[h] / M - n[m,h] dgamma[h] / M)
//
// binding  access      what                       shape
// 0        uniform     .x: rows M
// 1        read        dy                         [M,H]
// 2        read        x                          [M,H]
// 3        read        mean and scale             [H,2]
// 4        read        gamma                      [H]
// 5        read_write  dx                         [M,H]
// 6        read_write  dgamma                     [H]
// 7        read_write  dbeta                      [H]
//
// SLICES slices take the rows in turn, and their sums are added in order.
// Workgroups: (ceil(H / 8)), of 8 columns by SLICES slices.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(7) var<storage, read_write> dbeta: array<f32>;

var<workgroup> sums: array<vec2f, 8 * SLICES>;

@compute @workgroup_size(8, SLICES)
fn main(@builtin(local_invocation_id) l: vec3u, @builtin(workgroup_id) group: vec3u) {
  let h = group.x * 8u + l.x;
  let column = min(h, H - 1u);
  let mean = statistics[2u * column];
  let scale = statistics[2u * column + 1u];
  let factor = gamma[column] * scale;
  var sum = vec2f(0.0);
  //# loop r in ROUNDS
  //# for u in UNROLL
  {
    let m = ($r * UNROLL + $u) * SLICES + l.y;
    let i = min(m, size.x - 1u) * H + column;
    let normal = (x[i] - mean) * scale;
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
  var means = vec2f(0.0);
  //# if TRAINING
  means = total / f32(size.x);
  //# end
  //# loop r in ROUNDS
  //# for u in UNROLL
  {
    let m = ($r * UNROLL + $u) * SLICES + l.y;
    let i = min(m, size.x - 1u) * H + column;
    let normal = (x[i] - mean) * scale;
    let value = factor * (dy[i] - means.y - normal * means.x);
    if (m < size.x && h < H) {
      dx[m * H + h] = value;
    }
  }
  //# end
  //# end
  if (l.y == 0u && h < H) {
    dgamma[h] = total.x;
    dbeta[h] = total.y;
  }
}
