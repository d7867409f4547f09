// y[g,k,n] = x[g,n,k], as transpose.wgsl, for software adapters: x is read as an image
//
// binding  access      what                                              shape
// 0        image       x, N and K multiples of 4                         [G,N,K]
// 1        read_write  y                                                 [G,K,N]
//
// An invocation turns 4 x 4 elements. Workgroups: elements / 1024, at most 65535 in x. COUNT = G N K.

//# image x at 0: of K
//# rows y at 1: of N

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let n = 4u * (i % (N / 4u));
  let k = 4u * (i / (N / 4u) % (K / 4u));
  let g = i / (N / 4u) / (K / 4u);
  let source = (g * N + n) * K + k;
  let a = x_at(source);
  let b = x_at(source + K);
  let c = x_at(source + 2u * K);
  let d = x_at(source + 3u * K);
  let place = (g * K + k) * N + n;
  let count = select(0u, 4u, 16u * i < COUNT);
  y_set(place, vec4f(a.x, b.x, c.x, d.x), count);
  y_set(place + N, vec4f(a.y, b.y, c.y, d.y), count);
  y_set(place + 2u * N, vec4f(a.z, b.z, c.z, d.z), count);
  y_set(place + 3u * N, vec4f(a.w, b.w, c.w, d.w), count);
}
