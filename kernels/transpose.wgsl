// y[g,k,n] = x[g,n,k]
//
// binding  access      what                          shape
// 0        read        x                             [G,N,K]
// 1        read_write  y                             [G,K,N]
//
// Workgroups: elements / 64, at most 65535 in x. COUNT = G N K.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let g = i / (N * K);
  let k = i / N % K;
  let n = i % N;
  let value = x[min((g * N + n) * K + k, COUNT - 1u)];
  if (i < COUNT) {
    y[i] = value;
  }
}
