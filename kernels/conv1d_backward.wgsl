// dz[t, j O + o] = dy[t + PAD - j, o] in each sequence, 0 where there is no such step: the gradient of
// y[t,o] = Σ_j z[t + j - PAD, j O + o]
//
// binding  access      what                                              shape
// 0        uniform     .x: packed rows N
// 1        read        row of the step before, 0xffffffff for none       [N]
// 2        read        row of the step after, 0xffffffff for none        [N]
// 3        table       dy                                                [N,O]
// 4        rows        dz                                                [N,(2 PAD + 1) O]
//
// An invocation writes 4 columns for every j. Workgroups: (ceil(N ceil(O / 4) / 64)), at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> previous: array<u32>;
@group(0) @binding(2) var<storage, read> next: array<u32>;
//# table dy at 3: of O
//# rows dz at 4: of O

const WIDTH: u32 = (2u * PAD + 1u) * O;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let groups = (O + 3u) / 4u;
  let n = i / groups;
  let o = 4u * (i % groups);
  let row = min(n, size.x - 1u);
  let count = select(0u, min(4u, O - o), n < size.x);
  let first = n * WIDTH + o;
  dz_set(first + PAD * O, dy_get(row * O + o), count);
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
    let from_before = select(dy_get(before * O + o), vec4f(0.0), none.x);
    let from_after = select(dy_get(after * O + o), vec4f(0.0), none.y);
    dz_set(first + (PAD + 1u + $j) * O, from_before, count);
    dz_set(first + (PAD - 1u - $j) * O, from_after, count);
  }
  //# end
}
