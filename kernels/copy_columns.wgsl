// y[r, FIRST + j] = x[r, FIRST + j + SHIFT] for j < COUNT; 0 where x has no such column
//
// A part of x's columns (slice), a part of y's columns (concat), or zeros around x's (the gradient of
// slice). SHIFT is modulo 2³², so it moves either way.
//
// binding  access      what                          shape
// 0        uniform     .x: rows M
// 1        read        x                             [M OUTER,X_WIDTH]
// 2        read_write  y                             [M OUTER,Y_WIDTH]
//
// Elements are copied as bits, of any type. Workgroups: elements copied / 64, at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let row = i / COUNT;
  let column = FIRST + i % COUNT;
  let source = column + SHIFT;
  let bits = x[row * X_WIDTH + min(source, X_WIDTH - 1u)];
  if (i < size.x * OUTER * COUNT) {
    y[row * Y_WIDTH + column] = select(0u, bits, source < X_WIDTH);
  }
}
