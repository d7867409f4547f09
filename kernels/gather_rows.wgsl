// y[p] = x[index[p]], 0 where there is none
//
// binding  access      what                                              shape
// 0        uniform     .x: rows M of y
// 1        read        index, 0xffffffff for none                        [M]
// 2        read        x                                                 [.,H]
// 3        rows        y                                                 [M,H]
//
// An invocation copies 4 elements. Workgroups: (ceil(M ceil(H / 4) / 64), 1) while that is at most 65535, then as many in y as it takes.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> index: array<u32>;
//# table x at 2: of H
//# rows y at 3: of H

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let groups = (H + 3u) / 4u;
  let p = i / groups;
  let k = 4u * (i % groups);
  let source = index[min(p, size.x - 1u)];
  let none = source == 0xffffffffu;
  let value = select(x_get(select(source, 0u, none) * H + k), vec4f(0.0), none);
  y_set(p * H + k, value, select(0u, min(4u, H - k), p < size.x));
}
