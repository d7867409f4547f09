// One time step of an LSTM's recurrence, as lstm.wgsl, for software adapters: what many invocations
// read is read as images, what one reads through uniform windows of 64 KiB
//
//   z = xw[t] + h[t-1] W_hhᵀ + b_hh
//   i = σ(z_i)   f = σ(z_f)   g = tanh(z_g)   o = σ(z_o)
//   c[t] = f c[t-1] + i g
//   h[t] = o tanh(c[t])
//
// binding  access      what                                              shape
// 0        uniform     [0].x: first packed row of the block at step t, .y: its sequences,
//                      .z: 0xffffffff at the first step; [1].x: the block's first sequence
// 1        image       xw                                                [N,4H]
// 2        image       W_hh, each gate's part transposed                 [4,H,H]
// 3        image       b_hh (not read if BIAS = 0)                       [4H]
// 4        image       h[t-1], rows of H rounded up to fours             [B,H]
// 5        image       h[t], for the step after                          [B,H]
// 6        window      c[t-1], from the block's first sequence           [.,H]
// 7        rows        c[t], for the step after                          [B,H]
// 8        rows        h                                                 [N,H]
// 9        rows        c                                                 [N,H]
// 10       rows        gates: i, f, g, o after their activations         [N,4H]
// 11       table       c before the first step (if CELLS = 1, else 0)    [B,H]
//
// An invocation computes 4 neighbouring units, all gates, of 8 sequences.
// Workgroups: (ceil(H / 32), ceil(sequences / 8)).

@group(0) @binding(0) var<uniform> step: array<vec4u, 2>;
//# image xw at 1: of H
//# image w at 2: of H
//# image b at 3: of H
//# image h_before at 4: of 4
//# image out h_state at 5
//# windows c_before at 6: 1 of H
//# rows c_state at 7: of H
//# rows h at 8: of H
//# rows c at 9: of H
//# rows gates at 10: of H
//# if CELLS
//# table c_initial at 11: of H
//# end
//# include activations

const WIDTH = (H + 3u) / 4u * 4u;

@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let unit = 4u * (group.x * 8u + l);
  let j = group.y * 8u;
  let sequence = step[1].x + j;
  let first = opaque(step[0].z, l) == 0xffffffffu;
  //# for r in 8
  //# for g in 4
  var z$r$g = vec4f(0.0);
  //# end
  //# end
  // llvmpipe runs a loop of no iterations up to its limit of 65,535: there is always one.
  for (var k = 0u; k < select(H, 1u, first); k += 4u) {
    //# for g in 4
    let i$g = ($g * H + k) * H + unit;
    let p$g = w_at(i$g);
    let q$g = below(w_at(i$g + H), k + 1u, H, H);
    let r$g = below(w_at(i$g + 2u * H), k + 2u, H, H);
    let s$g = below(w_at(i$g + 3u * H), k + 3u, H, H);
    //# end
    //# for r in 8
    {
      let a = h_before_at((sequence + $r) * WIDTH + k);
      //# for g in 4
      z$r$g += a.x * p$g;
      z$r$g += a.y * q$g;
      z$r$g += a.z * r$g;
      z$r$g += a.w * s$g;
      //# end
    }
    //# end
  }
  //# for g in 4
  var b$g = vec4f(0.0);
  //# if BIAS
  b$g = b_at($g * H + unit);
  //# end
  //# end
  let units = select(0u, min(4u, H - unit), unit < H);
  //# for r in 8
  {
    let row = j + $r;
    let here = step[0].x + row;
    let x = here * 4u * H + unit;
    //# for g in 4
    let y$g = select(z$r$g, vec4f(0.0), first);
    //# end
    let i = sigmoid4(y0 + xw_at(x) + b0);
    let f = sigmoid4(y1 + xw_at(x + H) + b1);
    let g = tanh4(y2 + xw_at(x + 2u * H) + b2);
    let o = sigmoid4(y3 + xw_at(x + 3u * H) + b3);
    var c_start = vec4f(0.0);
    //# if CELLS
    c_start = c_initial_get((step[1].x + min(row, step[0].y - 1u)) * H + unit);
    //# end
    let place = start(step[1].x, H) + row * H + unit;
    let before = select(c_before_0(place), c_start, first);
    let c_now = f * before + i * g;
    let h_now = o * tanh4(c_now);
    if (row < step[0].y) {
      let gate = here * 4u * H + unit;
      h_set(here * H + unit, h_now, units);
      c_set(here * H + unit, c_now, units);
      gates_set(gate, i, units);
      gates_set(gate + H, f, units);
      gates_set(gate + 2u * H, g, units);
      gates_set(gate + 3u * H, o, units);
      c_state_set((sequence + $r) * H + unit, c_now, units);
      if (units > 0u) {
        h_state_put((sequence + $r) * WIDTH + unit, inside(h_now, unit, H, H));
      }
    }
  }
  //# end
}
