// y = x Wᵀ + b, as linear.wgsl, for software adapters: everything is read as images
//
//   y[m,n] = b[n] + Σ_k x[m,k] W[n,k]
//
// binding  access      what                                                     shape
// 0        uniform     .x: first row of this launch, .y: its rows, .w: first element of y that is bound
// 1        uniform     .x: N, .y: K, .z: first column n of this launch, .w: its columns
// 2        image       x                                                        [M,K]
// 3        image       W, from the first column's row on                        [.,K]
// 4        image       b (not read if BIAS = 0)                                 [N]
// 5        rows        y, from that element on                                  [M,N]
//
// An invocation computes 4 neighbouring columns in each of GROUPS groups, of ROWS rows.
// FOURS_N and FOURS_K are 4 if N and K are multiples of 4, else 1.
// Workgroups: (ceil(columns / (32 GROUPS)), ceil(rows / ROWS)).

@group(0) @binding(0) var<uniform> rows: vec4u;
@group(0) @binding(1) var<uniform> sizes: vec4u;
//# image x at 2: of FOURS_K
//# image w at 3: of FOURS_K
//# image b at 4: of 4
//# rows y at 5: of FOURS_N

@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let N = opaque(sizes.x, l);
  let K = opaque(sizes.y, l);
  let column = 32u * GROUPS * group.x + 4u * l;
  let m = ROWS * group.y;
  let first = rows.x;
  //# for r in ROWS
  //# for g in GROUPS
  var y$r$g = vec4f(0.0);
  //# end
  //# end
  for (var k = 0u; k < K; k += 4u) {
    //# for g in GROUPS
    let i$g = (column + 32u * $g) * K + k;
    let p$g = inside(w_at(i$g), k, K, FOURS_K);
    let q$g = inside(w_at(i$g + K), k, K, FOURS_K);
    let r$g = inside(w_at(i$g + 2u * K), k, K, FOURS_K);
    let s$g = inside(w_at(i$g + 3u * K), k, K, FOURS_K);
    //# end
    //# for r in ROWS
    {
      let a = inside(x_at((first + m + $r) * K + k), k, K, FOURS_K);
      //# for g in GROUPS
      y$r$g += a.x * vec4f(p$g.x, q$g.x, r$g.x, s$g.x);
      y$r$g += a.y * vec4f(p$g.y, q$g.y, r$g.y, s$g.y);
      y$r$g += a.z * vec4f(p$g.z, q$g.z, r$g.z, s$g.z);
      y$r$g += a.w * vec4f(p$g.w, q$g.w, r$g.w, s$g.w);
      //# end
    }
    //# end
  }
  //# for g in GROUPS
  {
    let n = sizes.z + column + 32u * $g;
    if (column + 32u * $g < sizes.w) {
      var bias = vec4f(0.0);
      //# if BIAS
      bias = b_at(n);
      //# end
      let columns = min(4u, sizes.w - column - 32u * $g);
      //# for r in ROWS
      if (m + $r < rows.y) {
        y_set((first + m + $r) * N + n - rows.w, y$r$g + bias, columns);
      }
      //# end
    }
  }
  //# end
}
