// One time step of the backward pass of an LSTM's recurrence, from the last step to the first
//
//   dh = dy[t] + dz[t+1] W_hh
//   dc = carry + dh o (1 - tanh²(c[t]))            carry = dc[t+1] f[t+1]
//   dz_i = dc g i (1 - i)      dz_f = dc c[t-1] f (1 - f)
//   dz_g = dc i (1 - g²)       dz_o = dh tanh(c[t]) o (1 - o)
//   carry = dc f
//
// binding  access      what                                              shape
// 0        uniform     .x: first packed row of step t, .y: sequences that have a step t,
//                      .z: first packed row of step t-1, 0xffffffff at the first step,
//                      .w: sequences that have a step t+1
// 1        read        dy, the cotangent of h from outside               [N,H]
// 2        read        c                                                 [N,H]
// 3        read        gates: i, f, g, o                                 [N,4H]
// 4        read_write  carry                                             [B,H]
// 5        read_write  dz                                                [N,4H]
// 6        read        W_hh, each gate's part transposed                 [4,H,H]
// 7        read        cotangent of c from outside, added to dc (if LATER = 1)  [N,H]
// 8        read        c before the first step (if CELLS = 1, else 0)    [B,H]
//
// An invocation computes one unit of 8 rows. The rows of dz[t+1] wait in workgroup memory, CHUNK4
// vec4 of one gate at a time.
// Workgroups: (ceil(H / LANES), ceil(rows / 8)). K4 = ceil(H / 4).

@group(0) @binding(0) var<uniform> step: vec4u;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read> gates: array<f32>;
@group(0) @binding(4) var<storage, read_write> carry: array<f32>;
@group(0) @binding(5) var<storage, read_write> dz: array<f32>;
@group(0) @binding(6) var<storage, read> w: array<f32>;
//# if LATER
@group(0) @binding(7) var<storage, read> dc_outside: array<f32>;
//# end
//# if CELLS
@group(0) @binding(8) var<storage, read> c_initial: array<f32>;
//# end
//# include activations

var<workgroup> tile: array<vec4f, TILE>;
var<private> acc: array<f32, 8>;
var<private> unit: u32;
var<private> first: u32;

fn accumulate(g: u32, n: u32) {
  let i = (g * H + unit) * H + 4u * (first + n);
  let w0 = vec4f(w[i], w[i + 1u], w[i + 2u], w[i + 3u]);
  //# for r in 8
  {
    let a = tile[$r * CHUNK4 + n];
    acc[$r] += a.x * w0.x;
    acc[$r] += a.y * w0.y;
    acc[$r] += a.z * w0.z;
    acc[$r] += a.w * w0.w;
  }
  //# end
}

// Units n .. n+3 of gate g of row j of dz[t+1], zero for sequences that have ended.
fn dz_at(j: u32, g: u32, n: u32) -> vec4f {
  let i = (step.x + select(0u, step.y + j, j < step.w)) * 4u * H + g * H + n;
  let inside = (vec4u(n) + vec4u(0u, 1u, 2u, 3u) < vec4u(H)) & vec4<bool>(j < step.w);
  return select(vec4f(0.0), vec4f(dz[i], dz[i + 1u], dz[i + 2u], dz[i + 3u]), inside);
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let u = group.x * LANES + l;
  unit = min(u, H - 1u);
  let j = group.y * 8u;
  //# for r in 8
  acc[$r] = 0.0;
  //# end
  //# loop g in 4
  //# loop c in CHUNKS
  first = $c * CHUNK4;
  //# loop i in STAGES
  {
    let q = $i * LANES + l;
    tile[q] = dz_at(j + q / CHUNK4, $g, 4u * (first + q % CHUNK4));
  }
  //# end
  workgroupBarrier();
  for (var at = 0u; at < CHUNK4; at++) {
    accumulate($g, at);
  }
  workgroupBarrier();
  //# end
  //# end
  let at_first = step.z == 0xffffffffu;
  //# for r in 8
  {
    let b = min(j + $r, step.y - 1u);
    let here = (step.x + b) * H + unit;
    let gate = (step.x + b) * 4u * H + unit;
    let i = gates[gate];
    let f = gates[gate + H];
    let g = gates[gate + 2u * H];
    let o = gates[gate + 3u * H];
    var c_start = 0.0;
    //# if CELLS
    c_start = c_initial[b * H + unit];
    //# end
    let c_before = select(c[select(step.z + b, 0u, at_first) * H + unit], c_start, at_first);
    let tc = tanh1(c[here]);
    let dh = acc[$r] + dy[here];
    var later = select(0.0, carry[b * H + unit], b < step.w);
    //# if LATER
    later += dc_outside[here];
    //# end
    let dc = later + dh * o * (1.0 - tc * tc);
    if (u < H && j + $r < step.y) {
      carry[b * H + unit] = dc * f;
      dz[gate] = dc * g * i * (1.0 - i);
      dz[gate + H] = dc * c_before * f * (1.0 - f);
      dz[gate + 2u * H] = dc * i * (1.0 - g * g);
      dz[gate + 3u * H] = dh * tc * o * (1.0 - o);
    }
  }
  //# end
}
