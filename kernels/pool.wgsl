// Each sequence's mean or maximum over time: one of MEAN and MAX is 1
//
//   MEAN  y[b,h] = Σ_t x[t,h] / T_b
//   MAX   y[b,h] = max_t x[t,h], NaN if there is one; source[b,h] is the row of the first maximum
//
// binding  access      what                                              shape
// 0        uniform     .x: sequences B
// 1        read        row of each sequence's first step                 [B]
// 2        read        row of the step after, 0xffffffff for none        [N]
// 3        table       x                                                 [N,H]
// 4        rows        y                                                 [B,H]
// 5        read_write  MAX: source                                       [B,H]
//
// An invocation walks one sequence for 4 columns. Workgroups: (ceil(B ceil(H / 4) / 64)), at most
// 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> firsts: array<u32>;
@group(0) @binding(2) var<storage, read> next: array<u32>;
//# table x at 3: of H
//# rows y at 4: of H
//# if MAX
@group(0) @binding(5) var<storage, read_write> sources: array<u32>;

// By the bits: compilers may take a number to equal itself.
fn is_nan(v: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(v) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}
//# end

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let groups = (H + 3u) / 4u;
  let b = i / groups;
  let h = 4u * (i % groups);
  let count = select(0u, min(4u, H - h), b < size.x);
  let first = firsts[min(b, size.x - 1u)];
  var value = x_get(first * H + h);
  //# if MEAN
  var steps = 1.0;
  //# end
  //# if MAX
  var source = vec4u(first);
  //# end
  for (var row = next[first]; row != 0xffffffffu; row = next[row]) {
    let here = x_get(row * H + h);
    //# if MEAN
    value += here;
    steps += 1.0;
    //# end
    //# if MAX
    let found = ((here > value) | is_nan(here)) & !is_nan(value);
    value = select(value, here, found);
    source = select(source, vec4u(row), found);
    //# end
  }
  //# if MEAN
  value /= steps;
  //# end
  y_set(b * H + h, value, count);
  //# if MAX
  //# for j in 4
  if ($j < count) {
    sources[b * H + h + $j] = source[$j];
  }
  //# end
  //# end
}
