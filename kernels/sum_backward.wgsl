// dx[m,n] = dy, or dy / (M N) if MEAN
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        dy                            one element
// 2        read_write  dx                            [M,N]
//
// Workgroups: elements / 64, at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  var value = dy[0];
  //# if MEAN
  value /= f32(size.x * N);
  //# end
  if (i < size.x * N) {
    dx[i] = value;
  }
}
