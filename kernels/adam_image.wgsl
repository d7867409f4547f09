// One step of Adam, as adam.wgsl, for software adapters: everything is read as images, which are
// copies made before
//
//   d = factors.x g + WEIGHT_DECAY p
//   m = m + (1 - β1) (d - m)
//   v = v - (1 - β2) v + (1 - β2) d²
//   p = p - factors.y m / (sqrt(v) factors.z + EPS)
//
// binding  access      what                               shape
// 0        span        vec4 of the window
// 1        uniform     factors, of adam_factors.wgsl      [4]
// 2        elements    g                                  [S], S a multiple of 4
// 3        elements    p before                           [S]
// 4        elements    m before                           [S]
// 5        elements    v before                           [S]
// 6        read_write  p                                  [S]
// 7        read_write  m                                  [S]
// 8        read_write  v                                  [S]
//
// Constants: NEW1 = 1 - β1, NEW2 = 1 - β2, EPS, WEIGHT_DECAY. N = 4.
// Workgroups: vec4 / 64, at most 65535 in x.

//# span at 0: of N
@group(0) @binding(1) var<uniform> factors: vec4f;
//# elements g at 2: of N
//# elements p_old at 3: of N
//# elements m_old at 4: of N
//# elements v_old at 5: of N
//# rows p at 6: of N
//# rows m at 7: of N
//# rows v at 8: of N

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 4u * (id.y * 65535u * 64u + id.x);
  let p0 = p_old_at(i);
  let d = factors.x * g_at(i) + WEIGHT_DECAY * p0;
  let m0 = m_old_at(i);
  let v0 = v_old_at(i);
  let m1 = m0 + NEW1 * (d - m0);
  // d² may overflow where (1 - β2) d² does not.
  let v1 = v0 - NEW2 * v0 + NEW2 * d * d;
  let p1 = p0 - factors.y * m1 / (sqrt(v1) * factors.z + EPS);
  let count = select(0u, 4u, i < element_count());
  p_set(i, p1, count);
  m_set(i, m1, count);
  v_set(i, v1, count);
}
