// y = softmax of each row
//
//   y[b,v] = exp(x[b,v] - max_u x[b,u]) / Σ_w exp(x[b,w] - max_u x[b,u])
//
// binding  access      what                       shape
// 0        uniform     .x: rows B
// 1        read        logits x                   [B,V]
// 2        read_write  y                          [B,V]
//
// A workgroup computes a row, each invocation COUNT columns of it, LANES apart.
// Workgroups: (min(B, 65535), ceil(B / 65535)).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> parts: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let row = group.y * 65535u + group.x;
  let first = min(row, size.x - 1u) * V;
  var top = -3.4028234e38;
  //# loop i in COUNT
  top = max(top, x[first + min($i * LANES + l, V - 1u)]);
  //# end
  parts[l] = top;
  workgroupBarrier();
  //# for j in LANES
  top = max(top, parts[$j]);
  //# end
  workgroupBarrier();
  var part = 0.0;
  //# loop i in COUNT
  {
    let v = $i * LANES + l;
    part += select(0.0, exp(x[first + min(v, V - 1u)] - top), v < V);
  }
  //# end
  parts[l] = part;
  workgroupBarrier();
  var sum = 0.0;
  //# for j in LANES
  sum += parts[$j];
  //# end
  let inverse = 1.0 / sum;
  //# loop i in COUNT
  {
    let v = $i * LANES + l;
    let value = exp(x[first + min(v, V - 1u)] - top) * inverse;
    if (v < V && row < size.x) {
      y[row * V + v] = value;
    }
  }
  //# end
}
