// Philox4x32-10: 4 random words of a key and a counter, as src/core/random.ts computes them. Salmon,
// Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".

// The high words of the products, from products of halves.
fn philox_multiply_high(a: vec2u, b: vec2u) -> vec2u {
  let a_low = a & vec2u(0xffffu);
  let a_high = a >> vec2u(16u);
  let b_low = b & vec2u(0xffffu);
  let b_high = b >> vec2u(16u);
  let middle = a_high * b_low + ((a_low * b_low) >> vec2u(16u));
  let middle2 = a_low * b_high + (middle & vec2u(0xffffu));
  return a_high * b_high + (middle >> vec2u(16u)) + (middle2 >> vec2u(16u));
}

fn philox(key: vec2u, counter: vec4u) -> vec4u {
  let multiplier = vec2u(0xd2511f53u, 0xcd9e8d57u);
  var k = key;
  var c = counter;
  for (var round = 0u; round < 10u; round++) {
    let high = philox_multiply_high(multiplier, c.xz);
    let low = multiplier * c.xz;
    c = vec4u(high.y ^ c.y ^ k.x, low.y, high.x ^ c.w ^ k.y, low.x);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
