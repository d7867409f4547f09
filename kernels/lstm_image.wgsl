// Time steps of an LSTM's recurrence, as lstm.wgsl, for software adapters: a workgroup takes ROWS
// sequences through all steps, since a launch for each step costs more there than the step itself
//
//   z = xw[t] + h[t-1] W_hhᵀ + b_hh
//   i = σ(z_i)   f = σ(z_f)   g = tanh(z_g)   o = σ(z_o)
//   c[t] = f c[t-1] + i g
//   h[t] = o tanh(c[t])
//
// binding  access      what                                              shape
// 0        uniform     .x: first step of this launch, .y: step after its last, .z: sequences B,
//                      .w: first element of the gates that is bound
// 1        read        for each step its first packed row, its sequences, and two more   vec4u [T]
// 2        image       xw                                                [N,4H]
// 3        image       W_hh, each gate's part transposed                 [4,H,H]
// 4        image       b_hh (not read if BIAS = 0)                       [4H]
// 5        exchange    h of the last two steps                           [B/ROWS,2,ROWS,H]
// 6        rows        c after this launch's last step, for the next     [B,H]
// 7        rows        h                                                 [N,H]
// 8        rows        c                                                 [N,H]
// 9        rows        gates, from that element on: i, f, g, o after their activations  [N,4H]
// 10       counter     sequences that are taken
// 11       table       c before the first step (if CELLS = 1, else 0)    [B,H]
//
// B is rounded up to a multiple of ROWS. An invocation computes 4 neighbouring units in each of
// GROUPS groups, all gates.
// Workgroups: at least ceil(sequences at the first step / ROWS).

@group(0) @binding(0) var<uniform> launch: vec4u;
@group(0) @binding(1) var<storage, read> steps: array<vec4u>;
//# image xw at 2: of H
//# image w at 3: of H
//# image b at 4: of H
//# exchange h_last at 5: of H
//# rows c_last at 6: of 4
//# rows h at 7: of H
//# rows c at 8: of H
//# rows gates at 9: of H
//# counter at 10
//# if CELLS
//# table c_initial at 11: of H
//# end
//# include activations

const WIDTH = (H + 3u) / 4u * 4u;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(num_workgroups) groups: vec3u) {
  let j = ROWS * take_number(l, groups.x);
  //# for q in GROUPS
  let unit$q = 4u * ($q * LANES + l);
  let units$q = select(0u, min(4u, H - unit$q), unit$q < H);
  //# for g in 4
  var b$g$q = vec4f(0.0);
  //# if BIAS
  b$g$q = b_at($g * H + unit$q);
  //# end
  //# end
  //# for r in ROWS
  var c$r$q = select(vec4f(0.0), c_last_get((j + $r) * WIDTH + unit$q), launch.x > 0u);
  //# if CELLS
  c$r$q = select(c$r$q, c_initial_get(min(j + $r, steps[0].y - 1u) * H + unit$q), launch.x == 0u);
  //# end
  //# end
  //# end
  for (var t = launch.x; t < launch.y; t++) {
    let step = steps[t];
    if (step.y <= j) {
      break;
    }
    let before = (2u * j + (t + 1u) % 2u * ROWS) * H;
    let now = (2u * j + t % 2u * ROWS) * H;
    //# for r in ROWS
    //# for g in 4
    //# for q in GROUPS
    var z$r$g$q = vec4f(0.0);
    //# end
    //# end
    //# end
    if (t > 0u) {
      for (var k = 0u; k < H; k += 4u) {
        //# for g in 4
        //# for q in GROUPS
        let i$g$q = ($g * H + k) * H + unit$q;
        let p$g$q = w_at(i$g$q);
        let q$g$q = below(w_at(i$g$q + H), k + 1u, H, H);
        let r$g$q = below(w_at(i$g$q + 2u * H), k + 2u, H, H);
        let s$g$q = below(w_at(i$g$q + 3u * H), k + 3u, H, H);
        //# end
        //# end
        //# for r in ROWS
        {
          let a = inside(h_last_at(before + $r * H + k), k, H, H);
          //# for g in 4
          //# for q in GROUPS
          z$r$g$q += a.x * p$g$q;
          z$r$g$q += a.y * q$g$q;
          z$r$g$q += a.z * r$g$q;
          z$r$g$q += a.w * s$g$q;
          //# end
          //# end
        }
        //# end
      }
    }
    //# for q in GROUPS
    //# for r in ROWS
    {
      let here = step.x + j + $r;
      let x = here * 4u * H + unit$q;
      let i = sigmoid4(z$r0$q + xw_at(x) + b0$q);
      let f = sigmoid4(z$r1$q + xw_at(x + H) + b1$q);
      let g = tanh4(z$r2$q + xw_at(x + 2u * H) + b2$q);
      let o = sigmoid4(z$r3$q + xw_at(x + 3u * H) + b3$q);
      c$r$q = f * c$r$q + i * g;
      let h_now = o * tanh4(c$r$q);
      if (j + $r < step.y) {
        h_set(here * H + unit$q, h_now, units$q);
        c_set(here * H + unit$q, c$r$q, units$q);
        let gate = x - launch.w;
        gates_set(gate, i, units$q);
        gates_set(gate + H, f, units$q);
        gates_set(gate + 2u * H, g, units$q);
        gates_set(gate + 3u * H, o, units$q);
        h_last_put(now + $r * H + unit$q, h_now, units$q);
      }
    }
    //# end
    //# end
    workgroupBarrier();
  }
  //# for q in GROUPS
  //# for r in ROWS
  if (j + $r < launch.z) {
    c_last_set((j + $r) * WIDTH + unit$q, c$r$q, units$q);
  }
  //# end
  //# end
}
