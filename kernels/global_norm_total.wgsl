// norm = sqrt(Σ sums), of the sums that did not overflow
//
// binding  access      what                          shape
// 0        read        sums, of global_norm.wgsl     [GROUPS]
// 1        read_write  norm                          []
//
// An invocation adds every 64th sum, the first one then adds the invocations' sums in order.
// Workgroups: 1.

@group(0) @binding(0) var<storage, read> sums: array<vec2f>;
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;

var<workgroup> part: array<vec2f, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) l: u32) {
  var sum = vec2f(0.0);
  for (var i = l; i < GROUPS; i += 64u) {
    sum += sums[i];
  }
  part[l] = sum;
  workgroupBarrier();
  if (l == 0u) {
    var total = vec2f(0.0);
    for (var i = 0u; i < 64u; i++) {
      total += part[i];
    }
    // The plain sum is below 2¹²⁰ exactly when the scaled one is below 1.
    if (total.y < 1.0) {
      norm[0] = sqrt(total.x);
    } else {
      norm[0] = sqrt(total.y) * 0x1p60;
    }
  }
}
