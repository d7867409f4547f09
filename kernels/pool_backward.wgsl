// The gradient of each sequence's mean or maximum over time: one of MEAN and MAX is 1
//
//   MEAN  dx[t,h] = dy[b,h] / T_b
//   MAX   dx[t,h] = dy[b,h] in the row source[b,h], 0 in others
//
// binding  access      what                                              shape
// 0        uniform     .x: sequences B
// 1        read        row of each sequence's first step                 [B]
// 2        read        row of the step after, 0xffffffff for none        [N]
// 3        table       dy                                                [B,H]
// 4        rows        dx                                                [N,H]
// 5        read        MAX: source                                       [B,H]
//
// An invocation walks one sequence for 4 columns. Workgroups: (ceil(B ceil(H / 4) / 64)), at most
// 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> firsts: array<u32>;
@group(0) @binding(2) var<storage, read> next: array<u32>;
//# table dy at 3: of H
//# rows dx at 4: of H
//# if MAX
@group(0) @binding(5) var<storage, read> sources: array<u32>;
//# end

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let groups = (H + 3u) / 4u;
  let b = i / groups;
  let h = 4u * (i % groups);
  let sequence = min(b, size.x - 1u);
  let count = select(0u, min(4u, H - h), b < size.x);
  let first = firsts[sequence];
  let given = dy_get(sequence * H + h);
  //# if MEAN
  var steps = 0.0;
  for (var row = first; row != 0xffffffffu; row = next[row]) {
    steps += 1.0;
  }
  let value = given / steps;
  //# end
  //# if MAX
  var source = vec4u(0u);
  //# for j in 4
  source[$j] = sources[sequence * H + min(h + $j, H - 1u)];
  //# end
  //# end
  for (var row = first; row != 0xffffffffu; row = next[row]) {
    //# if MAX
    let value = select(vec4f(0.0), given, source == vec4u(row));
    //# end
    dx_set(row * H + h, value, count);
  }
}
