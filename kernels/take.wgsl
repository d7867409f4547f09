// y = rows of a table
//
//   y[n,e] = table[index[n],e]
//
// binding  access      what                                          shape
// 0        uniform     .x: indices N
// 1        uniform     .x: rows V of the table
// 2        read        table                                         [V,E]
// 3        read        index, of either sign; past V: the last row   [N]
// 4        rows        y                                             [N,E]
//
// An invocation copies 4 elements. Workgroups: (ceil(N ceil(E / 4) / 64)), at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<uniform> height: vec4u;
//# table table at 2: of E
@group(0) @binding(3) var<storage, read> index: array<u32>;
//# rows y at 4: of E

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let groups = (E + 3u) / 4u;
  let n = i / groups;
  let e = 4u * (i % groups);
  let row = min(index[min(n, size.x - 1u)], height.x - 1u);
  let value = table_get(row * E + e);
  y_set(n * E + e, value, select(0u, min(4u, E - e), n < size.x));
}
