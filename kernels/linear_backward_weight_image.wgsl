// dW = dyᵀ x and db, as linear_backward_weight.wgsl, for software adapters: everything is read as images
//
//   dW[n,k] = Σ_m dy[m,n] x[m,k]
//   db[n] = Σ_m dy[m,n]
//
// binding  access      what                                                     shape
// 0        uniform     .x: first row m of the chunk, .y: its rows
// 1        uniform     .x: N, .y: K
// 2        image       x                                                        [M,K]
// 3        image       dy                                                       [M,N]
// 4        rows        dW, added to unless the chunk is first and ADD = 0       [N,K]
// 5        rows        db, as dW                                                [N]
//
// Launched once a chunk of rows. An invocation computes 4 neighbouring columns k in each of GROUPS
// groups, of 16 rows n. FOURS_N and FOURS_K are 4 if N and K are multiples of 4, else 1.
// Workgroups: (ceil(K / (32 GROUPS)), ceil(N / 16)).

@group(0) @binding(0) var<uniform> chunk: vec4u;
@group(0) @binding(1) var<uniform> sizes: vec4u;
//# image x at 2: of FOURS_K
//# image dy at 3: of FOURS_N
//# rows dw at 4: of FOURS_K
//# rows db at 5: of FOURS_N

@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let N = opaque(sizes.x, l);
  let K = opaque(sizes.y, l);
  let start = opaque(chunk.x, l);
  let k = 32u * GROUPS * group.x + 4u * l;
  let n = 16u * group.y;
  //# for e in 4
  var bias$e = vec4f(0.0);
  //# for g in GROUPS
  var p$e$g = vec4f(0.0);
  var q$e$g = vec4f(0.0);
  var r$e$g = vec4f(0.0);
  var s$e$g = vec4f(0.0);
  //# end
  //# end
  let last = start + chunk.y - 1u;
  for (var m = start; m <= last; m += 4u) {
    //# for v in 4
    let row$v = min(m + $vu, last);
    //# for g in GROUPS
    let x$v$g = x_at(row$v * K + k + 32u * $g);
    //# end
    //# end
    //# for e in 4
    {
      //# for v in 4
      let a$v = select(vec4f(0.0), dy_at(row$v * N + n + 4u * $e), m + $vu <= last);
      //# end
      bias$e += a0 + a1 + a2 + a3;
      //# for g in GROUPS
      p$e$g += a0.x * x0$g + a1.x * x1$g + a2.x * x2$g + a3.x * x3$g;
      q$e$g += a0.y * x0$g + a1.y * x1$g + a2.y * x2$g + a3.y * x3$g;
      r$e$g += a0.z * x0$g + a1.z * x1$g + a2.z * x2$g + a3.z * x3$g;
      s$e$g += a0.w * x0$g + a1.w * x1$g + a2.w * x2$g + a3.w * x3$g;
      //# end
    }
    //# end
  }
  if (k == 0u) {
    //# for e in 4
    {
      let row = n + 4u * $e;
      if (row < N) {
        if (ADD + start > 0u) {
          bias$e += db_get(row);
        }
        db_set(row, bias$e, min(4u, N - row));
      }
    }
    //# end
  }
  //# for g in GROUPS
  if (k + 32u * $g < K) {
    //# for e in 4
    add(n + 4u * $e, k + 32u * $g, p$e$g, N, K, start);
    add(n + 4u * $e + 1u, k + 32u * $g, q$e$g, N, K, start);
    add(n + 4u * $e + 2u, k + 32u * $g, r$e$g, N, K, start);
    add(n + 4u * $e + 3u, k + 32u * $g, s$e$g, N, K, start);
    //# end
  }
  //# end
}

fn add(n: u32, k: u32, part: vec4f, N: u32, K: u32, start: u32) {
  if (n < N) {
    var sum = part;
    if (ADD + start > 0u) {
      sum += dw_get(n * K + k);
    }
    dw_set(n * K + k, sum, min(4u, K - k));
  }
}
