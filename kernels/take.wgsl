// y = rows of a table
//
//   y[n,e] = table[index[n],e]
//
// binding  access      what                                          shape
// 0        uniform     .x: indices N
// 1        uniform     .x: rows V of the table
// 2        read        table                                         [V,E]
// 3        read        index, of either sign; past V: the last row   [N]
// 4        read_write  y                                             [N,E]
//
// Workgroups: elements / 64, at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<uniform> height: vec4u;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> index: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let row = min(index[min(i / E, size.x - 1u)], height.x - 1u);
  let value = table[row * E + i % E];
  if (i < size.x * E) {
    y[i] = value;
  }
}
