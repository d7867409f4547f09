// y = x s
//
// binding  access      what                          shape
// 0        span        rows M
// 1        read        x                             [M,N]
// 2        read        s                             one element
// 3        read_write  y                             [M,N]
//
// An invocation computes 4 elements. Workgroups: elements / 256, at most 65535 in x.

//# span at 0: of N
//# elements x at 1: of N
@group(0) @binding(2) var<storage, read> s: array<f32>;
//# rows y at 3: of N

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 4u * (id.y * 65535u * 64u + id.x);
  let value = x_at(i) * s[0];
  y_set(i, value, select(0u, min(4u, element_count() - i), i < element_count()));
}
