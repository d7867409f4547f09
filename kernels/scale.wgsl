// y = x s
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        x                             [M,N]
// 2        read        s                             one element
// 3        read_write  y                             [M,N]
//
// Workgroups: elements / 64, at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> s: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let value = x[i] * s[0];
  if (i < size.x * N) {
    y[i] = value;
  }
}
