// y = f(x), element by element: one of RELU, SIGMOID and TANH is 1
//
//   RELU     f(x) = max(x, 0), NaN for NaN
//   SIGMOID  f(x) = 1 / (1 + e⁻ˣ)
//   TANH     f(x) = tanh(x)
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        x                             [M,N]
// 2        read_write  y                             [M,N]
//
// Workgroups: elements / 64, at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

//# include activations

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  //# if RELU
  let value = select(x[i], 0.0, x[i] <= 0.0);
  //# end
  //# if SIGMOID
  let value = sigmoid4(vec4f(x[i])).x;
  //# end
  //# if TANH
  let value = tanh1(x[i]);
  //# end
  if (i < size.x * N) {
    y[i] = value;
  }
}
