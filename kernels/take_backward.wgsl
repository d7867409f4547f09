// dTable, the gradient of y[n,e] = table[index[n],e] with respect to the table
//
//   dTable[v,e] = Σ_{n: index[n] = v} dy[n,e]
//
// binding  access      what                                                shape
// 0        uniform     .x: segments S, the different indices
// 1        uniform     .x: rows V of the table
// 2        read        dy                                                  [N,E]
// 3        read        order: positions n, sorted by index                 [N]
// 4        read        starts: first of each segment in order, then N      [S+1]
// 5        read        ids: index of each segment                          [S]
// 6        read_write  dTable, zero before                                 [V,E]
//
// A workgroup sums one segment: SLICES slices take its rows in turn, UNROLL at a time, and the
// slices' sums are added in order.
// Workgroups: (min(S, 65535), ceil(S / 65535), ceil(E / COLUMNS)).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<uniform> height: vec4u;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read> starts: array<u32>;
@group(0) @binding(5) var<storage, read> ids: array<u32>;
@group(0) @binding(6) var<storage, read_write> dtable: array<f32>;

var<workgroup> sums: array<f32, COLUMNS * SLICES>;

@compute @workgroup_size(COLUMNS, SLICES)
fn main(@builtin(local_invocation_id) l: vec3u, @builtin(workgroup_id) group: vec3u) {
  let s = group.y * 65535u + group.x;
  let segment = min(s, size.x - 1u);
  let e = group.z * COLUMNS + l.x;
  let column = min(e, E - 1u);
  let id = ids[segment];
  let end = starts[segment + 1u];
  var sum = 0.0;
  for (var i = starts[segment] + l.y * UNROLL; i < end; i += SLICES * UNROLL) {
    //# for u in UNROLL
    sum += select(0.0, dy[order[min(i + $u, end - 1u)] * E + column], i + $u < end);
    //# end
  }
  sums[l.y * COLUMNS + l.x] = sum;
  workgroupBarrier();
  var total = 0.0;
  //# for j in SLICES
  total += sums[$j * COLUMNS + l.x];
  //# end
  if (l.y == 0u && e < E && s < size.x && id < height.x) {
    dtable[id * E + e] = total;
  }
}
