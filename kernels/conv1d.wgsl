// y[t,o] = Σ_j z[t + j - PAD, j O + o] in each sequence: a convolution along time, from what each
// row gives to the rows around it
//
// z is zero before a sequence's first step and after its last.
//
// binding  access      what                                              shape
// 0        uniform     .x: packed rows N
// 1        read        row of the step before, 0xffffffff for none       [N]
// 2        read        row of the step after, 0xffffffff for none        [N]
// 3        table       z                                                 [N,(2 PAD + 1) O]
// 4        rows        y                                                 [N,O]
//
// An invocation computes 4 columns of a row. Workgroups: (ceil(N ceil(O / 4) / 64)), at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> previous: array<u32>;
@group(0) @binding(2) var<storage, read> next: array<u32>;
//# table z at 3: of O
//# rows y at 4: of O

const WIDTH: u32 = (2u * PAD + 1u) * O;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let groups = (O + 3u) / 4u;
  let n = i / groups;
  let o = 4u * (i % groups);
  let row = min(n, size.x - 1u);
  var sum = z_get(row * WIDTH + PAD * O + o);
  var before = row;
  var after = row;
  //# for j in PAD
  {
    // At an end the walk stays where it is.
    let left = previous[before];
    let right = next[after];
    let none = vec2<bool>(left == 0xffffffffu, right == 0xffffffffu);
    before = select(left, before, none.x);
    after = select(right, after, none.y);
    sum += select(z_get(before * WIDTH + (PAD - 1u - $j) * O + o), vec4f(0.0), none.x);
    sum += select(z_get(after * WIDTH + (PAD + 1u + $j) * O + o), vec4f(0.0), none.y);
  }
  //# end
  y_set(n * O + o, sum, select(0u, min(4u, O - o), n < size.x));
}
