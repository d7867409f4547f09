// y = f(x0, x1, ...), element by element. f is an operation's formula, which stands with it in
// src/ops, or that of several operations that feed one another (src/plan/fusion.ts)
//
// binding  access      what                                              shape
// 0        span        rows M
// 1        rows        y                                                 [M,N]
// 2 ...    read        each input's elements, or an array                [M,N] or [n]
//
// An invocation computes 4 elements. Workgroups: elements / 256, at most 65535 in x.

//# span at 0: of N
//# rows y at 1: of N
//# inputs at 2: of N
//# include activations
//# include philox

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 4u * (id.y * 65535u * 64u + id.x);
  //# steps
  y_set(i, value, select(0u, min(4u, element_count() - i), i < element_count()));
}
