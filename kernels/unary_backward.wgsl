// dx = f'(x) dy, from y = f(x): one of RELU, SIGMOID and TANH is 1
//
//   RELU     dx = 0 where y <= 0, else dy
//   SIGMOID  dx = y (1 - y) dy
//   TANH     dx = (1 - y²) dy
//
// binding  access      what                          shape
// 0        span        rows M
// 1        read        y                             [M,N]
// 2        read        dy                            [M,N]
// 3        read_write  dx                            [M,N]
//
// An invocation computes 4 elements. Workgroups: elements / 256, at most 65535 in x.

//# span at 0: of N
//# elements y at 1: of N
//# elements dy at 2: of N
//# rows dx at 3: of N

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 4u * (id.y * 65535u * 64u + id.x);
  let y = y_at(i);
  //# if RELU
  let value = select(dy_at(i), vec4f(0.0), y <= vec4f(0.0));
  //# end
  //# if SIGMOID
  let value = y * (1.0 - y) * dy_at(i);
  //# end
  //# if TANH
  let value = (1.0 - y * y) * dy_at(i);
  //# end
  dx_set(i, value, select(0u, min(4u, element_count() - i), i < element_count()));
}
