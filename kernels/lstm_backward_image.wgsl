// One time step of the backward pass of an LSTM's recurrence, as lstm_backward.wgsl, for software
// adapters: what many invocations read is read as images, what one reads through uniform windows
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
// 1        image       dy, the cotangent of h from outside               [N,H]
// 2        image       c                                                 [N,H]
// 3        image       gates: i, f, g, o                                 [N,4H]
// 4        image       W_hh                                              [4H,H]
// 5        image       dz[t+1], each gate's H rounded up to fours        [B,4,H]
// 6        image       dz, for the step before                           [B,4,H]
// 7        window      carry of t+1, from the block's first sequence     [.,H]
// 8        rows        carry, for the step before                        [B,H]
// 9        rows        dz                                                [N,4H]
// 10       table       cotangent of c from outside, added to dc (if LATER = 1)  [N,H]
// 11       table       c before the first step (if CELLS = 1, else 0)    [B,H]
// 12       rows        carry of the first step, the cotangent of 11 (if CELLS = 1)  [B,H]
//
// An invocation computes 4 neighbouring units in each of GROUPS groups, of 8 sequences.
// Workgroups: (ceil(H / (32 GROUPS)), ceil(sequences / 8)).

@group(0) @binding(0) var<uniform> step: array<vec4u, 2>;
//# image dy at 1: of H
//# image c at 2: of H
//# image gates at 3: of H
//# image w at 4: of H
//# image dz_later at 5: of 4
//# image out dz_state at 6
//# windows carry_later at 7: 1 of H
//# rows carry_state at 8: of H
//# rows dz at 9: of H
//# if LATER
//# table dc_outside at 10: of H
//# end
//# if CELLS
//# table c_initial at 11: of H
//# rows dc_initial at 12: of H
//# end
//# include activations

const WIDTH = (H + 3u) / 4u * 4u;

@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let column = 32u * GROUPS * group.x + 4u * l;
  let j = group.y * 8u;
  let sequence = step[1].x + j;
  //# for r in 8
  //# for q in GROUPS
  var dh$r$q = vec4f(0.0);
  //# end
  //# end
  //# for g in 4
  // llvmpipe runs a loop of no iterations up to its limit of 65,535: there is always one.
  for (var n = 0u; n < select(1u, H, j < step[0].w); n += 4u) {
    //# for q in GROUPS
    let i$q = ($g * H + n) * H + column + 32u * $q;
    let p$q = w_at(i$q);
    let q$q = below(w_at(i$q + H), n + 1u, H, H);
    let r$q = below(w_at(i$q + 2u * H), n + 2u, H, H);
    let s$q = below(w_at(i$q + 3u * H), n + 3u, H, H);
    //# end
    //# for r in 8
    {
      let a = dz_later_at(((sequence + $r) * 4u + $g) * WIDTH + n);
      //# for q in GROUPS
      dh$r$q += a.x * p$q;
      dh$r$q += a.y * q$q;
      dh$r$q += a.z * r$q;
      dh$r$q += a.w * s$q;
      //# end
    }
    //# end
  }
  //# end
  let first = opaque(step[0].z, l) == 0xffffffffu;
  //# for q in GROUPS
  {
    let unit = column + 32u * $q;
    let units = select(0u, min(4u, H - unit), unit < H);
    //# for r in 8
    {
      let row = j + $r;
      let here = (step[0].x + row) * H + unit;
      let at = (step[0].x + row) * 4u * H + unit;
      let i = gates_at(at);
      let f = gates_at(at + H);
      let g = gates_at(at + 2u * H);
      let o = gates_at(at + 3u * H);
      var c_start = vec4f(0.0);
      //# if CELLS
      c_start = c_initial_get((step[1].x + min(row, step[0].y - 1u)) * H + unit);
      //# end
      let c_old = select(c_at((step[0].z + row) * H + unit), c_start, first);
      let tc = tanh4(c_at(here));
      let goes_on = row < step[0].w;
      let dh = dy_at(here) + select(vec4f(0.0), dh$r$q, goes_on);
      var later = select(
        vec4f(0.0), carry_later_0(start(step[1].x, H) + row * H + unit), goes_on);
      //# if LATER
      later += dc_outside_get((step[0].x + min(row, step[0].y - 1u)) * H + unit);
      //# end
      let dc = later + dh * o * (1.0 - tc * tc);
      if (row < step[0].y) {
        let dz_i = dc * g * i * (1.0 - i);
        let dz_f = dc * c_old * f * (1.0 - f);
        let dz_g = dc * i * (1.0 - g * g);
        let dz_o = dh * tc * o * (1.0 - o);
        dz_set(at, dz_i, units);
        dz_set(at + H, dz_f, units);
        dz_set(at + 2u * H, dz_g, units);
        dz_set(at + 3u * H, dz_o, units);
        if (units > 0u) {
          let place = (sequence + $r) * 4u * WIDTH + unit;
          dz_state_put(place, inside(dz_i, unit, H, H));
          dz_state_put(place + WIDTH, inside(dz_f, unit, H, H));
          dz_state_put(place + 2u * WIDTH, inside(dz_g, unit, H, H));
          dz_state_put(place + 3u * WIDTH, inside(dz_o, unit, H, H));
        }
        carry_state_set((sequence + $r) * H + unit, dc * f, units);
        //# if CELLS
        dc_initial_set((sequence + $r) * H + unit, dc * f, select(0u, units, first));
        //# end
      }
    }
    //# end
  }
  //# end
}
