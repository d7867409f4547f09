// One time step of an LSTM's recurrence over packed rows (Hochreiter and Schmidhuber 1997, with the
// forget gate of Gers, Schmidhuber and Cummins 2000; gate order i, f, g, o as in PyTorch)
//
//   z = xw[t] + h[t-1] W_hhᵀ + b_hh                xw[t] = x[t] W_ihᵀ + b_ih
//   i = σ(z_i)   f = σ(z_f)   g = tanh(z_g)   o = σ(z_o)
//   c[t] = f c[t-1] + i g
//   h[t] = o tanh(c[t])
//
// binding  access      what                                              shape
// 0        uniform     .x: first packed row of step t, .y: sequences that have a step t,
//                      .z: first packed row of step t-1, 0xffffffff at the first step
// 1        read        xw                                                [N,4H]
// 2        read        b_hh (not read if BIAS = 0)                       [4H]
// 3        read_write  h                                                 [N,H]
// 4        read_write  c                                                 [N,H]
// 5        read_write  gates: i, f, g, o after their activations         [N,4H]
// 6        read        W_hh                                              [4H,H]
// 7        read        c before the first step (if CELLS = 1, else 0)    [B,H]
//
// The j-th row of a step belongs to the same sequence as the j-th row of the step before. An
// invocation computes one unit, its four gates, of 8 rows.
// Workgroups: (ceil(H / LANES), ceil(rows / 8)). K4 = ceil(H / 4).

@group(0) @binding(0) var<uniform> step: vec4u;
@group(0) @binding(1) var<storage, read> xw: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> h: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;
@group(0) @binding(6) var<storage, read> w: array<f32>;
//# if CELLS
@group(0) @binding(7) var<storage, read> c_initial: array<f32>;
//# end
//# include activations

var<workgroup> tile: array<vec4f, TILE>;
var<private> acc: array<vec4f, 8>;
var<private> unit: u32;
var<private> first: u32;

fn w_at(row: u32, k4: u32) -> vec4f {
  let i = row * H + 4u * k4;
  return vec4f(w[i], w[i + 1u], w[i + 2u], w[i + 3u]);
}

fn accumulate(k: u32) {
  let w0 = w_at(unit, first + k);
  let w1 = w_at(H + unit, first + k);
  let w2 = w_at(2u * H + unit, first + k);
  let w3 = w_at(3u * H + unit, first + k);
  //# for r in 8
  {
    let a = tile[$r * CHUNK4 + k];
    acc[$r] += a.x * vec4f(w0.x, w1.x, w2.x, w3.x);
    acc[$r] += a.y * vec4f(w0.y, w1.y, w2.y, w3.y);
    acc[$r] += a.z * vec4f(w0.z, w1.z, w2.z, w3.z);
    acc[$r] += a.w * vec4f(w0.w, w1.w, w2.w, w3.w);
  }
  //# end
}

// Units k .. k+3 of row j of h[t-1], zero before the first step and past either end.
fn h_at(j: u32, k: u32) -> vec4f {
  let i = select(step.z + min(j, step.y - 1u), 0u, step.z == 0xffffffffu) * H + k;
  let inside = (vec4u(k) + vec4u(0u, 1u, 2u, 3u) < vec4u(H)) &
    vec4<bool>(j < step.y && step.z != 0xffffffffu);
  return select(vec4f(0.0), vec4f(h[i], h[i + 1u], h[i + 2u], h[i + 3u]), inside);
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let u = group.x * LANES + l;
  unit = min(u, H - 1u);
  let j = group.y * 8u;
  var bias = vec4f(0.0);
  //# if BIAS
  bias = vec4f(b[unit], b[H + unit], b[2u * H + unit], b[3u * H + unit]);
  //# end
  //# for r in 8
  {
    let i = (step.x + min(j + $r, step.y - 1u)) * 4u * H + unit;
    acc[$r] = bias + vec4f(xw[i], xw[i + H], xw[i + 2u * H], xw[i + 3u * H]);
  }
  //# end
  //# loop c in CHUNKS
  first = $c * CHUNK4;
  //# loop i in STAGES
  {
    let q = $i * LANES + l;
    tile[q] = h_at(j + q / CHUNK4, 4u * (first + q % CHUNK4));
  }
  //# end
  workgroupBarrier();
  for (var at = 0u; at < CHUNK4; at++) {
    accumulate(at);
  }
  workgroupBarrier();
  //# end
  //# for r in 8
  {
    let row = step.x + j + $r;
    let before = select(step.z + j + $r, 0u, step.z == 0xffffffffu);
    var c_start = 0.0;
    //# if CELLS
    c_start = c_initial[min(j + $r, step.y - 1u) * H + unit];
    //# end
    let c_before = select(c[before * H + unit], c_start, step.z == 0xffffffffu);
    let z = acc[$r];
    let s = sigmoid4(vec4f(z.x, z.y, z.w, 0.0));
    let g = tanh1(z.z);
    let c_now = s.y * c_before + s.x * g;
    let h_now = s.z * tanh1(c_now);
    if (u < H && j + $r < step.y) {
      c[row * H + u] = c_now;
      h[row * H + u] = h_now;
      gates[row * 4u * H + u] = s.x;
      gates[row * 4u * H + H + u] = s.y;
      gates[row * 4u * H + 2u * H + u] = g;
      gates[row * 4u * H + 3u * H + u] = s.z;
    }
  }
  //# end
}
