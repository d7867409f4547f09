// y = gamma (x - mean) / sqrt(var + eps) + beta, over each column (Ioffe, Szegedy 2015)
//
// TRAINING: mean[h] = Σ_m x[m,h] / M and var[h] = Σ_m (x[m,h] - mean[h])² / M, and
//
//   running_mean[h] <- (1 - MOMENTUM) running_mean[h] + MOMENTUM mean[h]
//   running_var[h]  <- (1 - MOMENTUM) running_var[h]  + MOMENTUM var[h] M / (M - 1)
//
// otherwise mean and var are the running ones.
//
// binding  access      what                                              shape
// 0        uniform     .x: rows M
// 1        read        x                                                 [M,H]
// 2        read        gamma                                             [H]
// 3        read        beta                                              [H]
// 4        read_write  running mean (read if not TRAINING)               [H]
// 5        read_write  running variance (read if not TRAINING)           [H]
// 6        read_write  y                                                 [M,H]
// 7        read_write  mean and scale = 1 / sqrt(var + EPS)              [H,2]
//
// SLICES slices take the rows in turn, and their sums are added in order.
// Workgroups: (ceil(H / 8)), of 8 columns by SLICES slices.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
//# if TRAINING
@group(0) @binding(4) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> running_variance: array<f32>;
//# end
//# if EVALUATION
@group(0) @binding(4) var<storage, read> running_mean: array<f32>;
@group(0) @binding(5) var<storage, read> running_variance: array<f32>;
//# end
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> statistics: array<f32>;

//# if TRAINING
var<workgroup> parts: array<f32, 8 * SLICES>;

fn total(l: vec3u, part: f32) -> f32 {
  parts[l.y * 8u + l.x] = part;
  workgroupBarrier();
  var sum = 0.0;
  //# for j in SLICES
  sum += parts[$j * 8 + l.x];
  //# end
  workgroupBarrier();
  return sum;
}
//# end

@compute @workgroup_size(8, SLICES)
fn main(@builtin(local_invocation_id) l: vec3u, @builtin(workgroup_id) group: vec3u) {
  let h = group.x * 8u + l.x;
  let column = min(h, H - 1u);
  var mean = running_mean[column];
  var variance = running_variance[column];
  //# if TRAINING
  let rows = f32(size.x);
  let before = vec2f(mean, variance);
  // Differences to one of the values, so that columns far from zero keep their digits.
  let origin = x[column];
  var sum = 0.0;
  //# loop r in ROUNDS
  //# for u in UNROLL
  {
    let m = ($r * UNROLL + $u) * SLICES + l.y;
    sum += select(0.0, x[min(m, size.x - 1u) * H + column] - origin, m < size.x);
  }
  //# end
  //# end
  mean = origin + total(l, sum) / rows;
  var squares = 0.0;
  //# loop r in ROUNDS
  //# for u in UNROLL
  {
    let m = ($r * UNROLL + $u) * SLICES + l.y;
    let d = x[min(m, size.x - 1u) * H + column] - mean;
    squares += select(0.0, d * d, m < size.x);
  }
  //# end
  //# end
  let all = total(l, squares);
  variance = all / rows;
  let now = vec2f(mean, all / max(rows - 1.0, 1.0));
  let after = (1.0 - MOMENTUM) * before + MOMENTUM * now;
  //# end
  let scale = 1.0 / sqrt(variance + EPS);
  let factor = gamma[column];
  let shift = beta[column];
  //# loop r in ROUNDS
  //# for u in UNROLL
  {
    let m = ($r * UNROLL + $u) * SLICES + l.y;
    let value = factor * ((x[min(m, size.x - 1u) * H + column] - mean) * scale) + shift;
    if (m < size.x && h < H) {
      y[m * H + h] = value;
    }
  }
  //# end
  //# end
  if (l.y == 0u && h < H) {
    statistics[2u * h] = mean;
    statistics[2u * h + 1u] = scale;
    //# if TRAINING
    running_mean[h] = after.x;
    running_variance[h] = after.y;
    //# end
  }
}
