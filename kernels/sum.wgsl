// y[g] = Σ x[i] over the i of group g, 1024 consecutive ones
//
// A stage of a sum. The first reads the elements, each later one the results of the one before, of
// which there are SPAN times fewer than elements, until one is left. MEAN divides by the number of
// elements, for the last stage of a mean.
//
// binding  access      what                          shape
// 0        uniform     .x: rows M of the elements
// 1        read        x                             [ceil(M N / SPAN)]
// 2        read_write  y                             [ceil(M N / SPAN / 1024)]
//
// Workgroups: one for each element of y, at most 65535 in x. The order of additions is fixed: 16 by
// each invocation, then a tree of 64.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let elements = size.x * N;
  let count = (elements - 1u) / SPAN + 1u;
  let g = group.y * 65535u + group.x;
  var sum = 0.0;
  //# for j in 16
  {
    let i = g * 1024u + $j * 64u + l;
    sum += select(0.0, x[min(i, count - 1u)], i < count);
  }
  //# end
  sums[l] = sum;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half /= 2u) {
    if (l < half) {
      sums[l] += sums[l + half];
    }
    workgroupBarrier();
  }
  if (l == 0u && g * 1024u < count) {
    //# if MEAN
    sums[0] /= f32(elements);
    //# end
    y[g] = sums[0];
  }
}
