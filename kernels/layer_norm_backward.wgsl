// dx, the gradient of y = gamma n + beta, n = (x - mean) scale, with respect to x
//
//   g[m,h] = dy[m,h] gamma[h]
//   dx[m,h] = scale[m] (g[m,h] - Σ_k g[m,k] / H - n[m,h] Σ_k g[m,k] n[m,k] / H)
//
// binding  access      what                       shape
// 0        uniform     .x: rows M
// 1        read        dy                         [M,H]
// 2        read        x                          [M,H]
// 3        read        mean and scale             [M,2]
// 4        read        gamma                      [H]
// 5        read_write  dx                         [M,H]
//
// A workgroup computes a row, each invocation COUNT columns of it, LANES apart.
// Workgroups: (min(M, 65535), ceil(M / 65535)).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

var<workgroup> parts: array<vec2f, LANES>;

fn total(l: u32, part: vec2f) -> vec2f {
  parts[l] = part;
  workgroupBarrier();
  var sum = vec2f(0.0);
  //# for j in LANES
  sum += parts[$j];
  //# end
  return sum;
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let row = group.y * 65535u + group.x;
  let inside = min(row, size.x - 1u);
  let first = inside * H;
  let mean = statistics[2u * inside];
  let scale = statistics[2u * inside + 1u];
  var sum = vec2f(0.0);
  //# loop i in COUNT
  {
    let h = $i * LANES + l;
    let c = min(h, H - 1u);
    let g = dy[first + c] * gamma[c];
    sum += select(vec2f(0.0), vec2f(g, g * ((x[first + c] - mean) * scale)), h < H);
  }
  //# end
  let means = total(l, sum) / f32(H);
  //# loop i in COUNT
  {
    let h = $i * LANES + l;
    let c = min(h, H - 1u);
    let normal = (x[first + c] - mean) * scale;
    let value = scale * (dy[first + c] * gamma[c] - means.x - normal * means.y);
    if (h < H && row < size.x) {
      dx[first + h] = value;
    }
  }
  //# end
}
