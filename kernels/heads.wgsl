// What the attention kernels share.

const D: u32 = HEADS * WIDTH;

// Columns 4c .. 4c+3 of a head, zero past its end.
fn inside(v: vec4f, c: u32) -> vec4f {
  let here = vec4u(4u * c) + vec4u(0u, 1u, 2u, 3u) < vec4u(WIDTH);
  return select(v, select(vec4f(0.0), v, here), WIDTH % 4u != 0u);
}

//# if DROPOUT
// Factors of the weights of keys 4c .. 4c+3 of a row's sequence.
fn kept(c: u32, row: u32, head: u32) -> vec4f {
  let u = philox(vec2u(key[0], key[1]), vec4u(c, row, head, 0u));
  return select(vec4f(0.0), vec4f(KEEP), u >= vec4u(THRESHOLD));
}
//# end
