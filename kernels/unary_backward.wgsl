// dx = f'(x) dy, from y = f(x): one of RELU, SIGMOID and TANH is 1
//
//   RELU     dx = dy where y > 0, else 0
//   SIGMOID  dx = y (1 - y) dy
//   TANH     dx = (1 - y²) dy
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        y                             [M,N]
// 2        read        dy                            [M,N]
// 3        read_write  dx                            [M,N]
//
// Workgroups: elements / 64, at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  //# if RELU
  let value = select(0.0, dy[i], y[i] > 0.0);
  //# end
  //# if SIGMOID
  let value = y[i] * (1.0 - y[i]) * dy[i];
  //# end
  //# if TANH
  let value = (1.0 - y[i] * y[i]) * dy[i];
  //# end
  if (i < size.x * N) {
    dx[i] = value;
  }
}
