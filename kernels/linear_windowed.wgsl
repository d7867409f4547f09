// y = x Wᵀ + b, as linear.wgsl, for software adapters: everything is read through uniform windows
//
//   y[m,n] = b[n] + Σ_k x[m,k] W[n,k]
//
// binding  access      what                                                     shape
// 0        uniform     .x: first row of the chunk, .y: its rows
// 1        uniform     .x: first column of this part
// 2        window      x, from the chunk's first row                            [.,K]
// 3        read        b (not read if BIAS = 0)                                 [N]
// 4        rows        y                                                        [M,N]
// 5...     windows     W, 4 times WINDOW rows from the part's first column on   [N,K]
//
// An invocation computes 4 neighbouring columns in each window, of 8 rows.
// Workgroups: (ceil(WINDOW / 4 / LANES), ceil(rows / 8)).

@group(0) @binding(0) var<uniform> chunk: array<vec4u, 2>;
@group(0) @binding(1) var<uniform> part: vec4u;
//# windows x at 2: 1 of K
@group(0) @binding(3) var<storage, read> b: array<f32>;
//# rows y at 4: of N
//# windows w at 5: 4 of K

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let column = 4u * (group.x * LANES + l);
  let m = group.y * 8u;
  let at = start(chunk[0].x, K) + m * K;
  //# for r in 8
  //# for g in 4
  var y$r$g = vec4f(0.0);
  //# end
  //# end
  for (var k = 0u; k < K; k += 4u) {
    //# for g in 4
    let i$g = start(part.x + $g * WINDOW, K) + column * K + k;
    let p$g = inside(w_$g(i$g), k, K);
    let q$g = inside(w_$g(i$g + K), k, K);
    let r$g = inside(w_$g(i$g + 2u * K), k, K);
    let s$g = inside(w_$g(i$g + 3u * K), k, K);
    //# end
    //# for r in 8
    {
      let a = inside(x_0(at + $r * K + k), k, K);
      //# for g in 4
      y$r$g += a.x * vec4f(p$g.x, q$g.x, r$g.x, s$g.x);
      y$r$g += a.y * vec4f(p$g.y, q$g.y, r$g.y, s$g.y);
      y$r$g += a.z * vec4f(p$g.z, q$g.z, r$g.z, s$g.z);
      y$r$g += a.w * vec4f(p$g.w, q$g.w, r$g.w, s$g.w);
      //# end
    }
    //# end
  }
  //# for g in 4
  {
    let n = part.x + $g * WINDOW + column;
    if (column < WINDOW && n < N) {
      var bias = vec4f(0.0);
      //# if BIAS
      let last = N - 1u;
      bias = vec4f(b[n], b[min(n + 1u, last)], b[min(n + 2u, last)], b[min(n + 3u, last)]);
      //# end
      let columns = min(min(4u, N - n), WINDOW - column);
      //# for r in 8
      if (m + $r < chunk[0].y) {
        y_set((chunk[0].x + m + $r) * N + n, y$r$g + bias, columns);
      }
      //# end
    }
  }
  //# end
}
