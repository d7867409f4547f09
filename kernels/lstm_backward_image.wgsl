// Time steps of the backward pass of an LSTM's recurrence, from the last to the first, as
// lstm_backward.wgsl, for software adapters: a workgroup takes ROWS sequences through all steps
//
//   dh = dy[t] + dz[t+1] W_hh
//   dc = carry + dh o (1 - tanh²(c[t]))            carry = dc[t+1] f[t+1]
//   dz_i = dc g i (1 - i)      dz_f = dc c[t-1] f (1 - f)
//   dz_g = dc i (1 - g²)       dz_o = dh tanh(c[t]) o (1 - o)
//   carry = dc f
//
// binding  access      what                                              shape
// 0        uniform     .x: first step of this launch, .y: step after its last, .z: sequences B,
//                      .w: first element of dz that is bound
// 1        read        for each step its first packed row, its sequences, the first row of the step
//                      before, and the sequences that have a step after   vec4u [T]
// 2        image       dy, the cotangent of h from outside               [N,H]
// 3        image       c                                                 [N,H]
// 4        image       gates: i, f, g, o                                 [N,4H]
// 5        image       W_hh                                              [4H,H]
// 6        exchange    dz of the last two steps                          [B/ROWS,2,ROWS,4,H]
// 7        rows        carry after this launch's first step, for the next  [B,H]
// 8        rows        dz, from that element on                          [N,4H]
// 9        counter     sequences that are taken
// 10       table       cotangent of c from outside, added to dc (if LATER = 1)  [N,H]
// 11       table       c before the first step (if CELLS = 1, else 0)    [B,H]
// 12       rows        carry of the first step, the cotangent of 11 (if CELLS = 1)  [B,H]
//
// B is rounded up to a multiple of ROWS. An invocation computes 4 neighbouring units in each of
// GROUPS groups.
// Workgroups: at least ceil(sequences at the launch's first step / ROWS).

@group(0) @binding(0) var<uniform> launch: vec4u;
@group(0) @binding(1) var<storage, read> steps: array<vec4u>;
//# image dy at 2: of H
//# image c at 3: of H
//# image gates at 4: of H
//# image w at 5: of H
//# exchange dz_last at 6: of H
//# rows carry_last at 7: of 4
//# rows dz at 8: of H
//# counter at 9
//# if LATER
//# table dc_outside at 10: of H
//# end
//# if CELLS
//# table c_initial at 11: of H
//# rows dc_initial at 12: of H
//# end
//# include activations

const WIDTH = (H + 3u) / 4u * 4u;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(num_workgroups) groups: vec3u) {
  let j = ROWS * take_number(l, groups.x);
  // Of what the step after this launch's last one left, as many are of use.
  let goes_on = steps[launch.y - 1u].w;
  //# for q in GROUPS
  let unit$q = 4u * ($q * LANES + l);
  let units$q = select(0u, min(4u, H - unit$q), unit$q < H);
  //# for r in ROWS
  var carry$r$q = select(
    vec4f(0.0), carry_last_get((j + $r) * WIDTH + unit$q), j + $r < goes_on);
  //# end
  //# end
  var end = launch.y;
  for (; end > launch.x + 1u; end--) {
    if (steps[end - 1u].y > j) {
      break;
    }
  }
  for (; end > launch.x; end--) {
    let t = end - 1u;
    let step = steps[t];
    let later = (2u * j + (t + 1u) % 2u * ROWS) * 4u * H;
    let now = (2u * j + t % 2u * ROWS) * 4u * H;
    //# for q in GROUPS
    //# for r in ROWS
    var dh$r$q = vec4f(0.0);
    //# end
    //# end
    if (step.w > j) {
      for (var n = 0u; n < 4u * H; n += 4u) {
        //# for q in GROUPS
        let i$q = n * H + unit$q;
        let p$q = w_at(i$q);
        let q$q = w_at(i$q + H);
        let r$q = w_at(i$q + 2u * H);
        let s$q = w_at(i$q + 3u * H);
        //# end
        //# for r in ROWS
        {
          let a = dz_last_at(later + $r * 4u * H + n);
          //# for q in GROUPS
          dh$r$q += a.x * p$q;
          dh$r$q += a.y * q$q;
          dh$r$q += a.z * r$q;
          dh$r$q += a.w * s$q;
          //# end
        }
        //# end
      }
    }
    //# for q in GROUPS
    //# for r in ROWS
    {
      let row = j + $r;
      let here = (step.x + row) * H + unit$q;
      let at = (step.x + row) * 4u * H + unit$q;
      let i = gates_at(at);
      let f = gates_at(at + H);
      let g = gates_at(at + 2u * H);
      let o = gates_at(at + 3u * H);
      var c_start = vec4f(0.0);
      //# if CELLS
      c_start = c_initial_get(min(row, step.y - 1u) * H + unit$q);
      //# end
      let c_old = select(c_at((step.z + row) * H + unit$q), c_start, t == 0u);
      let tc = tanh4(c_at(here));
      let dh = dy_at(here) + select(vec4f(0.0), dh$r$q, row < step.w);
      var dc = carry$r$q + dh * o * (1.0 - tc * tc);
      //# if LATER
      dc += dc_outside_get((step.x + min(row, step.y - 1u)) * H + unit$q);
      //# end
      if (row < step.y) {
        let dz_i = dc * g * i * (1.0 - i);
        let dz_f = dc * c_old * f * (1.0 - f);
        let dz_g = dc * i * (1.0 - g * g);
        let dz_o = dh * tc * o * (1.0 - o);
        let gate = at - launch.w;
        dz_set(gate, dz_i, units$q);
        dz_set(gate + H, dz_f, units$q);
        dz_set(gate + 2u * H, dz_g, units$q);
        dz_set(gate + 3u * H, dz_o, units$q);
        let place = now + $r * 4u * H + unit$q;
        dz_last_put(place, dz_i, units$q);
        dz_last_put(place + H, dz_f, units$q);
        dz_last_put(place + 2u * H, dz_g, units$q);
        dz_last_put(place + 3u * H, dz_o, units$q);
        carry$r$q = dc * f;
      }
    }
    //# end
    //# end
    workgroupBarrier();
  }
  //# for q in GROUPS
  //# for r in ROWS
  if (j + $r < launch.z) {
    carry_last_set((j + $r) * WIDTH + unit$q, carry$r$q, units$q);
  }
  //# if CELLS
  if (launch.x == 0u && j + $r < steps[0].y) {
    dc_initial_set((j + $r) * H + unit$q, carry$r$q, units$q);
  }
  //# end
  //# end
  //# end
}
