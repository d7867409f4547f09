// y[i] = x[i] SCALE where u[i] >= THRESHOLD, else 0
//
//   u[4c + j] = word j of philox(key, (c, 0, 0, 0))
//   THRESHOLD = rate 2³², SCALE = 1 / (1 - rate)
//
// Backward is the same function of dy: the mask is computed again. Inverted dropout: Srivastava,
// Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014.
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        x                             [M,N]
// 2        read        key                           [2]
// 3        read_write  y                             [M,N]
//
// An invocation computes 4 elements. Workgroups: elements / 256, at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> key: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//# include philox

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let block = id.y * 65535u * 64u + id.x;
  let i = 4u * block;
  let u = philox(vec2u(key[0], key[1]), vec4u(block, 0u, 0u, 0u));
  let scaled = SCALE * vec4f(x[i], x[i + 1u], x[i + 2u], x[i + 3u]);
  let value = select(vec4f(0.0), scaled, u >= vec4u(THRESHOLD));
  //# for j in 4
  if (i + $ju < size.x * N) {
    y[i + $ju] = value[$j];
  }
  //# end
}
