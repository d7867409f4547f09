// y = f(x), element by element: one of RELU, SIGMOID and TANH is 1
//
//   RELU     f(x) = max(x, 0), NaN for NaN
//   SIGMOID  f(x) = 1 / (1 + e⁻ˣ)
//   TANH     f(x) = tanh(x)
//
// binding  access      what                          shape
// 0        span        rows M
// 1        read        x                             [M,N]
// 2        read_write  y                             [M,N]
//
// An invocation computes 4 elements. Workgroups: elements / 256, at most 65535 in x.

//# span at 0: of N
//# elements x at 1: of N
//# include activations
//# rows y at 2: of N

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 4u * (id.y * 65535u * 64u + id.x);
  let x = x_at(i);
  //# if RELU
  let value = select(x, vec4f(0.0), x <= vec4f(0.0));
  //# end
  //# if SIGMOID
  let value = sigmoid4(x);
  //# end
  //# if TANH
  let value = tanh4(x);
  //# end
  y_set(i, value, select(0u, min(4u, element_count() - i), i < element_count()));
}
