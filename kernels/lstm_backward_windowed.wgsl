// One time step of the backward pass of an LSTM's recurrence, as lstm_backward.wgsl, for software
// adapters: everything is read through uniform windows of 64 KiB
//
//   dh = dy[t] + dz[t+1] W_hh
//   dc = carry + dh o (1 - tanh²(c[t]))            carry = dc[t+1] f[t+1]
//   dz_i = dc g i (1 - i)      dz_f = dc c[t-1] f (1 - f)
//   dz_g = dc i (1 - g²)       dz_o = dh tanh(c[t]) o (1 - o)
//   carry = dc f
//
// binding  access      what                                              shape
// 0        uniform     [0].x: first packed row of the block at step t, .y: its sequences,
//                      .z: first packed row at the step before, 0xffffffff at the first step,
//                      .w: sequences that have a step t+1; [1].x: the block's first sequence
// 1        uniform     .x: first unit of this part
// 2        window      dy, the cotangent of h from outside, from the block's first row   [.,H]
// 3        window      c, from the block's first row                     [.,H]
// 4        window      c, from the block's first row at the step before  [.,H]
// 5        window      gates: i, f, g, o, from the block's first row     [.,4H]
// 6        window      dz[t+1], from the block's first sequence          [.,4H]
// 7        window      carry of t+1, from the block's first sequence     [.,H]
// 8        rows        dz                                                [N,4H]
// 9        rows        dz, for the step before                           [B,4H]
// 10       rows        carry, for the step before                        [B,H]
// 11...    windows     W_hh, each gate's part transposed, PART rows from the part's first unit  [4,H,H]
// 15       table       cotangent of c from outside, added to dc (if LATER = 1)  [N,H]
// 16       table       c before the first step (if CELLS = 1, else 0)    [B,H]
// 17       rows        carry of the first step, the cotangent of 16 (if CELLS = 1)  [B,H]
//
// An invocation computes 4 GROUPS neighbouring units of 8 sequences.
// Workgroups: (ceil(PART / (4 GROUPS) / LANES), ceil(sequences / 8)).

@group(0) @binding(0) var<uniform> step: array<vec4u, 2>;
@group(0) @binding(1) var<uniform> part: vec4u;
//# windows dy at 2: 1 of H
//# windows c at 3: 1 of H
//# windows c_before at 4: 1 of H
//# windows gates at 5: 1 of H
//# windows dz_later at 6: 1 of H
//# windows carry_later at 7: 1 of H
//# rows dz at 8: of H
//# rows dz_state at 9: of H
//# rows carry_state at 10: of H
//# windows w at 11: 4 of H
//# if LATER
//# table dc_outside at 15: of H
//# end
//# if CELLS
//# table c_initial at 16: of H
//# rows dc_initial at 17: of H
//# end
//# include activations

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let u = 4u * GROUPS * (group.x * LANES + l);
  let j = group.y * 8u;
  let state = start(step[1].x, 4u * H) + j * 4u * H;
  //# for r in 8
  //# for q in GROUPS
  var dh$r$q = vec4f(0.0);
  //# end
  //# end
  //# for g in 4
  // llvmpipe runs a loop of no iterations up to its limit of 65,535: there is always one.
  for (var n = 0u; n < select(1u, H, j < step[0].w); n += 4u) {
    //# for q in GROUPS
    let i$q = start($g * H + part.x, H) + (u + 4u * $q) * H + n;
    let p$q = inside(w_$g(i$q), n, H);
    let q$q = inside(w_$g(i$q + H), n, H);
    let r$q = inside(w_$g(i$q + 2u * H), n, H);
    let s$q = inside(w_$g(i$q + 3u * H), n, H);
    //# end
    //# for r in 8
    {
      let a = inside(dz_later_0(state + ($r * 4u + $g) * H + n), n, H);
      //# for q in GROUPS
      dh$r$q += a.x * vec4f(p$q.x, q$q.x, r$q.x, s$q.x);
      dh$r$q += a.y * vec4f(p$q.y, q$q.y, r$q.y, s$q.y);
      dh$r$q += a.z * vec4f(p$q.z, q$q.z, r$q.z, s$q.z);
      dh$r$q += a.w * vec4f(p$q.w, q$q.w, r$q.w, s$q.w);
      //# end
    }
    //# end
  }
  //# end
  let first = step[0].z == 0xffffffffu;
  //# for q in GROUPS
  {
    let unit = part.x + u + 4u * $q;
    let units = select(0u, min(4u, H - unit), u + 4u * $q < PART && unit < H);
    //# for r in 8
    {
      let row = j + $r;
      let now = start(step[0].x, H) + row * H + unit;
      let at = start(step[0].x, 4u * H) + row * 4u * H + unit;
      let i = gates_0(at);
      let f = gates_0(at + H);
      let g = gates_0(at + 2u * H);
      let o = gates_0(at + 3u * H);
      var c_start = vec4f(0.0);
      //# if CELLS
      c_start = c_initial_get((step[1].x + min(row, step[0].y - 1u)) * H + unit);
      //# end
      let c_old = select(
        c_before_0(start(step[0].z, H) + row * H + unit), c_start, first);
      let tc = tanh4(c_0(now));
      let goes_on = row < step[0].w;
      let dh = dy_0(now) + select(vec4f(0.0), dh$r$q, goes_on);
      var later = select(
        vec4f(0.0), carry_later_0(start(step[1].x, H) + row * H + unit), goes_on);
      //# if LATER
      later += dc_outside_get((step[0].x + min(row, step[0].y - 1u)) * H + unit);
      //# end
      let dc = later + dh * o * (1.0 - tc * tc);
      if (row < step[0].y) {
        let gate = (step[0].x + row) * 4u * H + unit;
        let sequence = step[1].x + row;
        let dz_i = dc * g * i * (1.0 - i);
        let dz_f = dc * c_old * f * (1.0 - f);
        let dz_g = dc * i * (1.0 - g * g);
        let dz_o = dh * tc * o * (1.0 - o);
        dz_set(gate, dz_i, units);
        dz_set(gate + H, dz_f, units);
        dz_set(gate + 2u * H, dz_g, units);
        dz_set(gate + 3u * H, dz_o, units);
        dz_state_set(sequence * 4u * H + unit, dz_i, units);
        dz_state_set(sequence * 4u * H + H + unit, dz_f, units);
        dz_state_set(sequence * 4u * H + 2u * H + unit, dz_g, units);
        dz_state_set(sequence * 4u * H + 3u * H + unit, dz_o, units);
        carry_state_set(sequence * H + unit, dc * f, units);
        //# if CELLS
        dc_initial_set(sequence * H + unit, dc * f, select(0u, units, first));
        //# end
      }
    }
    //# end
  }
  //# end
}
