// keys[i] = the first two words of philox(key, (i, 0, 0, 1))
//
// binding  access      what                          shape
// 0        uniform     .x: number of keys M
// 1        read        key                           [2]
// 2        read_write  keys, each in 64 words        [M,64]
//
// Words 2 to 63 of a row are padding that lets each key be bound alone; they are left as they are.
// Workgroups: keys / 64, at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> key: array<u32>;
@group(0) @binding(2) var<storage, read_write> keys: array<u32>;

//# include philox

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let words = philox(vec2u(key[0], key[1]), vec4u(i, 0u, 0u, 1u));
  if (i < size.x) {
    keys[i * 64u] = words.x;
    keys[i * 64u + 1u] = words.y;
  }
}
