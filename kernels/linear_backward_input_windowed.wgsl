// dx = dy W, as linear_backward_input.wgsl, for software adapters: everything is read through uniform
// windows
//
//   dx[m,k] = Σ_n dy[m,n] W[n,k]
//
// binding  access      what                                                  shape
// 0        uniform     .x: first row of the chunk, .y: its rows
// 1        uniform     .x: first row of W in this part
// 2        window      dy, from the chunk's first row                        [.,N]
// 3        rows        dx; parts but the first add to it                     [M,K]
// 4...     windows     W, DEEP times WINDOW rows from the part's first row on   [N,K]
//
// An invocation computes GROUPS times 4 neighbouring columns of 8 rows.
// Workgroups: (ceil(K / (4 GROUPS) / LANES), ceil(rows / 8)).

@group(0) @binding(0) var<uniform> chunk: array<vec4u, 2>;
@group(0) @binding(1) var<uniform> part: vec4u;
//# windows dy at 2: 1 of N
//# rows dx at 3: of K
//# windows w at 4: DEEP of K

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let k = 4u * GROUPS * (group.x * LANES + l);
  let m = group.y * 8u;
  let at = start(chunk[0].x, N) + m * N;
  //# for r in 8
  //# for q in GROUPS
  var dx$r$q = vec4f(0.0);
  //# end
  //# end
  //# for g in DEEP
  {
    let first = part.x + $g * WINDOW;
    let count = min(N - first, WINDOW);
    for (var n = 0u; n < count; n += 4u) {
      //# for q in GROUPS
      let i$q = start(first, K) + n * K + k + 4u * $q;
      let p$q = w_$g(i$q);
      let q$q = below(w_$g(i$q + K), first + n + 1u, N);
      let r$q = below(w_$g(i$q + 2u * K), first + n + 2u, N);
      let s$q = below(w_$g(i$q + 3u * K), first + n + 3u, N);
      //# end
      //# for r in 8
      {
        let a = inside(dy_0(at + $r * N + first + n), first + n, N);
        //# for q in GROUPS
        dx$r$q += a.x * p$q;
        dx$r$q += a.y * q$q;
        dx$r$q += a.z * r$q;
        dx$r$q += a.w * s$q;
        //# end
      }
      //# end
    }
  }
  //# end
  //# for q in GROUPS
  {
    let column = k + 4u * $q;
    if (column < K) {
      //# for r in 8
      if (m + $r < chunk[0].y) {
        let i = (chunk[0].x + m + $r) * K + column;
        var sum = dx$r$q;
        if (part.x > 0u) {
          sum += dx_get(i);
        }
        dx_set(i, sum, min(4u, K - column));
      }
      //# end
    }
  }
  //# end
}
