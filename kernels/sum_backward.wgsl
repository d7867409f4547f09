// dx[m,n] = dy, or dy / (M N) if MEAN
//
// binding  access      what                          shape
// 0        span        rows M
// 1        read        dy                            one element
// 2        read_write  dx                            [M,N]
//
// An invocation computes 4 elements. Workgroups: elements / 256, at most 65535 in x.

//# span at 0: of N
@group(0) @binding(1) var<storage, read> dy: array<f32>;
//# rows dx at 2: of N

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 4u * (id.y * 65535u * 64u + id.x);
  var value = dy[0];
  //# if MEAN
  value /= f32(element_count());
  //# end
  dx_set(i, vec4f(value), select(0u, min(4u, element_count() - i), i < element_count()));
}
