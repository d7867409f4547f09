// y = gamma (x - mean) / sqrt(var + eps) + beta, over each row (Ba, Kiros, Hinton 2016)
//
//   mean[m] = Σ_h x[m,h] / H          var[m] = Σ_h (x[m,h] - mean[m])² / H
//
// binding  access      what                                     shape
// 0        uniform     .x: rows M
// 1        read        x                                        [M,H]
// 2        read        gamma                                    [H]
// 3        read        beta                                     [H]
// 4        read_write  y                                        [M,H]
// 5        read_write  mean and scale = 1 / sqrt(var + EPS)     [M,2]
//
// A workgroup computes a row, each invocation COUNT columns of it, LANES apart.
// Workgroups: (min(M, 65535), ceil(M / 65535)).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> statistics: array<f32>;

var<workgroup> parts: array<f32, LANES>;

fn total(l: u32, part: f32) -> f32 {
  parts[l] = part;
  workgroupBarrier();
  var sum = 0.0;
  //# for j in LANES
  sum += parts[$j];
  //# end
  workgroupBarrier();
  return sum;
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let row = group.y * 65535u + group.x;
  let first = min(row, size.x - 1u) * H;
  // Differences to one of the values, so that rows far from zero keep their digits.
  let origin = x[first];
  var sum = 0.0;
  //# loop i in COUNT
  {
    let h = $i * LANES + l;
    sum += select(0.0, x[first + min(h, H - 1u)] - origin, h < H);
  }
  //# end
  let mean = origin + total(l, sum) / f32(H);
  var squares = 0.0;
  //# loop i in COUNT
  {
    let h = $i * LANES + l;
    let d = x[first + min(h, H - 1u)] - mean;
    squares += select(0.0, d * d, h < H);
  }
  //# end
  let scale = 1.0 / sqrt(total(l, squares) / f32(H) + EPS);
  //# loop i in COUNT
  {
    let h = $i * LANES + l;
    let c = min(h, H - 1u);
    let value = gamma[c] * ((x[first + c] - mean) * scale) + beta[c];
    if (h < H && row < size.x) {
      y[first + h] = value;
    }
  }
  //# end
  if (l == 0u && row < size.x) {
    statistics[2u * row] = mean;
    statistics[2u * row + 1u] = scale;
  }
}
