// x becomes dx, the gradient of the mean of -log softmax(x[b])[target[b]] with respect to the logits
//
//   dx[b,v] = (exp(x[b,v] - top[b]) / sum[b] - [v = target[b]]) dy / count, 0 for ignored rows
//
// binding  access      what                                            shape
// 0        uniform     .x: rows B
// 1        read        dy                                              []
// 2        read        target, of either sign                          [B]
// 3        read        top and sum of the rows                         [B,2]
// 4        read        1 / count, 0 if no row counts                   []
// 5        read_write  logits x, become dx                             [B,V]
//
// An invocation computes 4 columns of a row, 64 apart.
// Workgroups: (min(B, 65535), ceil(B / 65535), ceil(V / 256)).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> rows: array<f32>;
@group(0) @binding(4) var<storage, read> factor: array<f32>;
@group(0) @binding(5) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let row = group.y * 65535u + group.x;
  let inside = min(row, size.x - 1u);
  let label = targets[inside];
  let counts = IGNORES == 0u || label != IGNORED;
  let scale = dy[0] * factor[0];
  let top = rows[2u * inside];
  let inverse = 1.0 / rows[2u * inside + 1u];
  //# for j in 4
  {
    let v = group.z * 256u + $j * 64 + l;
    let probability = exp(x[inside * V + min(v, V - 1u)] - top) * inverse;
    let hit = select(0.0, 1.0, v == min(label, V - 1u));
    let value = select(0.0, (probability - hit) * scale, counts);
    if (v < V && row < size.x) {
      x[row * V + v] = value;
    }
  }
  //# end
}
