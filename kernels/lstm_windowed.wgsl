// One time step of an LSTM's recurrence, as lstm.wgsl, for software adapters: everything is read
// through uniform windows of 64 KiB, which they gather several times faster than storage
//
//   z = xw[t] + h[t-1] W_hhᵀ + b_hh
//   i = σ(z_i)   f = σ(z_f)   g = tanh(z_g)   o = σ(z_o)
//   c[t] = f c[t-1] + i g
//   h[t] = o tanh(c[t])
//
// binding  access      what                                              shape
// 0        uniform     [0].x: first packed row of the block at step t, .y: its sequences,
//                      .z: 0xffffffff at the first step; [1].x: the block's first sequence
// 1        uniform     .x: first unit of this part
// 2        window      xw, from the block's first row                    [.,4H]
// 3        window      h[t-1], from the block's first sequence           [.,H]
// 4        window      c[t-1], from the block's first sequence           [.,H]
// 5        window      b_hh (not read if BIAS = 0)                       [4H]
// 6        rows        h                                                 [N,H]
// 7        rows        c                                                 [N,H]
// 8        rows        gates: i, f, g, o after their activations         [N,4H]
// 9        rows        h[t], for the step after                          [B,H]
// 10       rows        c[t], for the step after                          [B,H]
// 11...    windows     W_hh, PART rows of each gate from the part's first unit  [4H,H]
// 15       table       c before the first step (if CELLS = 1, else 0)    [B,H]
//
// An invocation computes 4 neighbouring units, all gates, of 8 sequences.
// Workgroups: (ceil(PART / 4 / LANES), ceil(sequences / 8)).

@group(0) @binding(0) var<uniform> step: array<vec4u, 2>;
@group(0) @binding(1) var<uniform> part: vec4u;
//# windows xw at 2: 1 of H
//# windows h_before at 3: 1 of H
//# windows c_before at 4: 1 of H
//# windows b at 5: 1 of H
//# rows h at 6: of H
//# rows c at 7: of H
//# rows gates at 8: of H
//# rows h_state at 9: of H
//# rows c_state at 10: of H
//# windows w at 11: 4 of H
//# if CELLS
//# table c_initial at 15: of H
//# end
//# include activations

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let u = 4u * (group.x * LANES + l);
  let unit = part.x + u;
  let j = group.y * 8u;
  let first = step[0].z == 0xffffffffu;
  let state = start(step[1].x, H) + j * H;
  //# for r in 8
  //# for g in 4
  var z$r$g = vec4f(0.0);
  //# end
  //# end
  // llvmpipe runs a loop of no iterations up to its limit of 65,535: there is always one.
  for (var k = 0u; k < select(H, 1u, first); k += 4u) {
    //# for g in 4
    let i$g = start($g * H + part.x, H) + u * H + k;
    let p$g = inside(w_$g(i$g), k, H);
    let q$g = inside(w_$g(i$g + H), k, H);
    let r$g = inside(w_$g(i$g + 2u * H), k, H);
    let s$g = inside(w_$g(i$g + 3u * H), k, H);
    //# end
    //# for r in 8
    {
      let a = inside(h_before_0(state + $r * H + k), k, H);
      //# for g in 4
      z$r$g += a.x * vec4f(p$g.x, q$g.x, r$g.x, s$g.x);
      z$r$g += a.y * vec4f(p$g.y, q$g.y, r$g.y, s$g.y);
      z$r$g += a.z * vec4f(p$g.z, q$g.z, r$g.z, s$g.z);
      z$r$g += a.w * vec4f(p$g.w, q$g.w, r$g.w, s$g.w);
      //# end
    }
    //# end
  }
  //# for g in 4
  var b$g = vec4f(0.0);
  //# if BIAS
  b$g = b_0($g * H + unit);
  //# end
  //# end
  let units = select(0u, min(4u, H - unit), u < PART && unit < H);
  //# for r in 8
  {
    let row = j + $r;
    let x = start(step[0].x, 4u * H) + row * 4u * H + unit;
    //# for g in 4
    let y$g = select(z$r$g, vec4f(0.0), first);
    //# end
    let i = sigmoid4(y0 + xw_0(x) + b0);
    let f = sigmoid4(y1 + xw_0(x + H) + b1);
    let g = tanh4(y2 + xw_0(x + 2u * H) + b2);
    let o = sigmoid4(y3 + xw_0(x + 3u * H) + b3);
    var c_start = vec4f(0.0);
    //# if CELLS
    c_start = c_initial_get((step[1].x + min(row, step[0].y - 1u)) * H + unit);
    //# end
    let before = select(c_before_0(state + $r * H + unit), c_start, first);
    let c_now = f * before + i * g;
    let h_now = o * tanh4(c_now);
    if (row < step[0].y) {
      let here = (step[0].x + row) * H + unit;
      let gate = (step[0].x + row) * 4u * H + unit;
      let sequence = (step[1].x + row) * H + unit;
      h_set(here, h_now, units);
      c_set(here, c_now, units);
      gates_set(gate, i, units);
      gates_set(gate + H, f, units);
      gates_set(gate + 2u * H, g, units);
      gates_set(gate + 3u * H, o, units);
      h_state_set(sequence, h_now, units);
      c_state_set(sequence, c_now, units);
    }
  }
  //# end
}
