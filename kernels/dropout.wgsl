// y[i] = x[i] KEEP where u[i] >= THRESHOLD, else x[i] 0, so that NaN and infinity are not hidden
//
//   u[4c + j] = word j of philox(key, (c, 0, 0, 0))
//   THRESHOLD = rate 2³², KEEP = 1 / (1 - rate)
//
// Backward is the same function of dy: the mask is computed again. Inverted dropout: Srivastava,
// Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014.
//
// binding  access      what                          shape
// 0        span        rows M
// 1        read        x                             [M,N]
// 2        read        key                           [2]
// 3        read_write  y                             [M,N]
//
// An invocation computes 4 elements. Workgroups: elements / 256, at most 65535 in x.

//# span at 0: of N
//# elements x at 1: of N
@group(0) @binding(2) var<storage, read> key: array<u32>;
//# include philox
//# rows y at 3: of N

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 4u * (id.y * 65535u * 64u + id.x);
  let block = i / 4u;
  let u = philox(vec2u(key[0], key[1]), vec4u(block, 0u, 0u, 0u));
  let value = x_at(i) * select(vec4f(0.0), vec4f(KEEP), u >= vec4u(THRESHOLD));
  y_set(i, value, select(0u, min(4u, element_count() - i), i < element_count()));
}
