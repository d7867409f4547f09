// y[n] = Σ_m x[m,n]
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        x                             [M,N]
// 2        read_write  y                             [N]
//
// An invocation sums one column of the rows of its slice, and the slices' sums are added in order.
// Workgroups: (ceil(N / 8)), of 8 columns by SLICES slices.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> sums: array<f32, 8 * SLICES>;

@compute @workgroup_size(8, SLICES)
fn main(@builtin(local_invocation_id) l: vec3u, @builtin(workgroup_id) group: vec3u) {
  let n = min(group.x * 8u + l.x, N - 1u);
  let rows = (size.x + SLICES - 1u) / SLICES;
  let end = min((l.y + 1u) * rows, size.x);
  var sum = 0.0;
  for (var m = l.y * rows; m < end; m++) {
    sum += x[m * N + n];
  }
  sums[l.y * 8u + l.x] = sum;
  workgroupBarrier();
  if (l.y == 0u && group.x * 8u + l.x < N) {
    var total = 0.0;
    for (var s = 0u; s < SLICES; s++) {
      total += sums[s * 8u + l.x];
    }
    y[n] = total;
  }
}
