// y[p] = x[previous step of p], 0 at a sequence's first step
//
// binding  access      what                                              shape
// 0        uniform     .x: packed rows N
// 1        read        previous, 0xffffffff at a first step              [N]
// 2        read        x                                                 [N,H]
// 3        read_write  y                                                 [N,H]
//
// Workgroups: (ceil(N H / 64), 1) while that is at most 65535, then as many in y as it takes.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> previous: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let p = min(i / H, size.x - 1u);
  let before = previous[p];
  let value = select(x[select(before, 0u, before == 0xffffffffu) * H + i % H], 0.0,
    before == 0xffffffffu);
  if (i < size.x * H) {
    y[i] = value;
  }
}
