// sums[FIRST + group] = (Σ g², Σ (2⁻⁶⁰ g)²) over the 8192 elements of a workgroup
//
// binding  access      what                          shape
// 0        span        vec4 of the window
// 1        elements    g, a window of the slab       [S], S a multiple of 4
// 2        read_write  sums of the whole slab        [...]
//
// The second sum stays finite where the first overflows (norms from 2⁶⁴ up); elements below 2²⁰ count
// as 0 in it.
// An invocation sums 32 vec4 of its workgroup, then the invocations' sums are added pairwise, always
// in the same order. Workgroups: ceil(S / 8192), at most 65535 in x. N = 4.

//# span at 0: of N
//# elements g at 1: of N
@group(0) @binding(2) var<storage, read_write> sums: array<vec2f>;

var<workgroup> part: array<vec2f, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) id: vec3u) {
  let group = id.y * 65535u + id.x;
  var sum = vec4f(0.0);
  var scaled = vec4f(0.0);
  for (var k = 0u; k < 32u; k++) {
    let i = 4u * ((group * 32u + k) * 64u + l);
    let x = select(vec4f(0.0), g_at(i), i < element_count());
    // The squares of small elements would be subnormal, which CPUs compute a hundred times slower.
    let y = select(x * 0x1p-60, vec4f(0.0), abs(x) < vec4f(0x1p20));
    sum += x * x;
    scaled += y * y;
  }
  part[l] = vec2f((sum.x + sum.y) + (sum.z + sum.w), (scaled.x + scaled.y) + (scaled.z + scaled.w));
  //# for k in 6
  workgroupBarrier();
  {
    // Every invocation adds, so that no access is inside control flow.
    let pair = part[l] + part[(l + (32u >> $ku)) % 64u];
    workgroupBarrier();
    part[l] = pair;
  }
  //# end
  if (l == 0u && group * 8192u < element_count()) {
    sums[FIRST + group] = part[0];
  }
}
