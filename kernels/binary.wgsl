// y = a + b, a - b or a b, element by element: one of ADD, SUB and MUL is 1
//
// binding  access      what                          shape
// 0        span        rows M
// 1        read        a                             [M,N]
// 2        read        b                             [M,N]
// 3        read_write  y                             [M,N]
//
// An invocation computes 4 elements. Workgroups: elements / 256, at most 65535 in x.

//# span at 0: of N
//# elements a at 1: of N
//# elements b at 2: of N
//# rows y at 3: of N

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 4u * (id.y * 65535u * 64u + id.x);
  //# if ADD
  let value = a_at(i) + b_at(i);
  //# end
  //# if SUB
  let value = a_at(i) - b_at(i);
  //# end
  //# if MUL
  let value = a_at(i) * b_at(i);
  //# end
  y_set(i, value, select(0u, min(4u, element_count() - i), i < element_count()));
}
