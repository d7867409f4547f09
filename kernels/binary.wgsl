// y = a + b, a - b or a b, element by element: one of ADD, SUB and MUL is 1
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        a                             [M,N]
// 2        read        b                             [M,N]
// 3        read_write  y                             [M,N]
//
// Workgroups: elements / 64, at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  //# if ADD
  let value = a[i] + b[i];
  //# end
  //# if SUB
  let value = a[i] - b[i];
  //# end
  //# if MUL
  let value = a[i] * b[i];
  //# end
  if (i < size.x * N) {
    y[i] = value;
  }
}
