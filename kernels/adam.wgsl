// One step of Adam, in place
//
//   d = factors.x g + WEIGHT_DECAY p
//   m = m + (1 - β1) (d - m)
//   v = v - (1 - β2) v + (1 - β2) d²
//   p = p - factors.y m / (sqrt(v) factors.z + EPS)
//
// binding  access      what                               shape
// 0        uniform     factors, of adam_factors.wgsl      [4]
// 1        read        g                                  [S], S a multiple of 4
// 2        read_write  p                                  [S]
// 3        read_write  m                                  [S]
// 4        read_write  v                                  [S]
//
// Constants: NEW1 = 1 - β1, NEW2 = 1 - β2, EPS, WEIGHT_DECAY. S4 = S / 4.
// Workgroups: vec4 / 64, at most 65535 in x. Source: Kingma, Ba, "Adam", 2014.

@group(0) @binding(0) var<uniform> factors: vec4f;
@group(0) @binding(1) var<storage, read> g: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> p: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> v: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let old = p[i];
  let d = factors.x * g[i] + WEIGHT_DECAY * old;
  let m0 = m[i];
  let v0 = v[i];
  let m1 = m0 + NEW1 * (d - m0);
  // d² may overflow where (1 - β2) d² does not.
  let v1 = v0 - NEW2 * v0 + NEW2 * d * d;
  let p1 = old - factors.y * m1 / (sqrt(v1) * factors.z + EPS);
  if (i < S4) {
    m[i] = m1;
    v[i] = v1;
    p[i] = p1;
  }
}
