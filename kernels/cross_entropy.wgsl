// Step 1 of -log softmax: the largest logit of a piece of each row, and the sum of exponentials
//
//   top[b,c] = max_{v in piece c} x[b,v]          sum[b,c] = Σ_{v in piece c} exp(x[b,v] - top[b,c])
//
// binding  access      what                       shape
// 0        uniform     .x: rows B
// 1        read        logits x                   [B,V]
// 2        read_write  top and sum                [B,PIECES,2]
//
// A workgroup computes a piece of LANES COUNT columns, each invocation COUNT of them, LANES apart.
// Workgroups: (min(B, 65535), ceil(B / 65535), PIECES).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> pieces: array<f32>;

var<workgroup> parts: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let row = group.y * 65535u + group.x;
  let first = min(row, size.x - 1u) * V;
  let start = group.z * COUNT * LANES + l;
  // Columns past the end repeat the last one of the row, which changes no maximum.
  var top = -3.4028234e38;
  //# loop i in COUNT
  top = max(top, x[first + min(start + $i * LANES, V - 1u)]);
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
    let v = start + $i * LANES;
    part += select(0.0, exp(x[first + min(v, V - 1u)] - top), v < V);
  }
  //# end
  parts[l] = part;
  workgroupBarrier();
  var sum = 0.0;
  //# for j in LANES
  sum += parts[$j];
  //# end
  if (l == 0u && row < size.x) {
    let at = 2u * (row * PIECES + group.z);
    pieces[at] = top;
    pieces[at + 1u] = sum;
  }
}
