// dx = dy W, as linear_backward_input.wgsl, for software adapters: everything is read as images
//
//   dx[m,k] = Σ_n dy[m,n] W[n,k]
//
// binding  access      what                                                     shape
// 0        uniform     .x: rows M
// 1        uniform     .x: N, .y: K
// 2        image       dy                                                       [M,N]
// 3        image       W                                                        [N,K]
// 4        rows        dx                                                       [M,K]
//
// An invocation computes 4 neighbouring columns in each of GROUPS groups, of ROWS rows.
// FOURS_N and FOURS_K are 4 if N and K are multiples of 4, else 1.
// Workgroups: (ceil(K / (32 GROUPS)), ceil(M / ROWS)).

@group(0) @binding(0) var<uniform> rows: vec4u;
@group(0) @binding(1) var<uniform> sizes: vec4u;
//# image dy at 2: of FOURS_N
//# image w at 3: of FOURS_K
//# rows dx at 4: of FOURS_K

@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let N = opaque(sizes.x, l);
  let K = opaque(sizes.y, l);
  let column = 32u * GROUPS * group.x + 4u * l;
  let m = ROWS * group.y;
  //# for r in ROWS
  //# for g in GROUPS
  var dx$r$g = vec4f(0.0);
  //# end
  //# end
  for (var n = 0u; n < N; n += 4u) {
    //# for g in GROUPS
    let i$g = n * K + column + 32u * $g;
    let p$g = w_at(i$g);
    let q$g = below(w_at(i$g + K), n + 1u, N, FOURS_N);
    let r$g = below(w_at(i$g + 2u * K), n + 2u, N, FOURS_N);
    let s$g = below(w_at(i$g + 3u * K), n + 3u, N, FOURS_N);
    //# end
    //# for r in ROWS
    {
      let a = inside(dy_at((m + $r) * N + n), n, N, FOURS_N);
      //# for g in GROUPS
      dx$r$g += a.x * p$g;
      dx$r$g += a.y * q$g;
      dx$r$g += a.z * r$g;
      dx$r$g += a.w * s$g;
      //# end
    }
    //# end
  }
  //# for g in GROUPS
  {
    let k = column + 32u * $g;
    if (k < K) {
      //# for r in ROWS
      if (m + $r < rows.x) {
        dx_set((m + $r) * K + k, dx$r$g, min(4u, K - k));
      }
      //# end
    }
  }
  //# end
}
