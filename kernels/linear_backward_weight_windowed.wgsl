// dW = dyᵀ x and db, as linear_backward_weight.wgsl, for software adapters: everything is read through
// uniform windows
//
//   dW[n,k] = Σ_m dy[m,n] x[m,k]
//   db[n] = Σ_m dy[m,n]
//
// binding  access      what                                                     shape
// 0        uniform     .x: first row m of the chunk, .y: its rows
// 1        window      x, from the chunk's first row                            [.,K]
// 2        rows        dW, added to unless the chunk is first and ADD = 0       [N,K]
// 3        rows        db, as dW                                                [N]
// 4...     windows     dy, DEEP times WINDOW rows from the chunk's first row    [.,N]
//
// Launched once a chunk of rows. An invocation computes GROUPS times 4 neighbouring columns k of TALL
// times 4 rows n. Workgroups: (ceil(K / (4 GROUPS) / LANES), ceil(N / (4 TALL))).

@group(0) @binding(0) var<uniform> chunk: array<vec4u, 2>;
//# windows x at 1: 1 of K
//# rows dw at 2: of K
//# rows db at 3: of N
//# windows dy at 4: DEEP of N

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let k = 4u * GROUPS * (group.x * LANES + l);
  let n = 4u * TALL * group.y;
  //# for e in TALL
  var bias$e = vec4f(0.0);
  //# for q in GROUPS
  var p$e$q = vec4f(0.0);
  var q$e$q = vec4f(0.0);
  var r$e$q = vec4f(0.0);
  var s$e$q = vec4f(0.0);
  //# end
  //# end
  //# for d in DEEP
  {
    let first = $d * WINDOW;
    let x_row = start(chunk[0].x, K) + first * K + k;
    let dy_row = start(chunk[0].x + first, N) + n;
    // llvmpipe runs a loop of no iterations up to its limit of 65,535: there is always one.
    let here = first < chunk[0].y;
    let count = select(1u, min(chunk[0].y - first, WINDOW), here);
    for (var m = 0u; m < count; m += 4u) {
      //# for v in 4
      let row$v = min(m + $vu, count - 1u);
      let inside$v = here && m + $vu < count;
      //# for q in GROUPS
      let x$v$q = select(vec4f(0.0), x_0(x_row + row$v * K + 4u * $q), here);
      //# end
      //# end
      //# for e in TALL
      {
        //# for v in 4
        let a$v = select(vec4f(0.0), dy_$d(dy_row + row$v * N + 4u * $e), inside$v);
        //# end
        bias$e += a0 + a1 + a2 + a3;
        //# for q in GROUPS
        p$e$q += a0.x * x0$q + a1.x * x1$q + a2.x * x2$q + a3.x * x3$q;
        q$e$q += a0.y * x0$q + a1.y * x1$q + a2.y * x2$q + a3.y * x3$q;
        r$e$q += a0.z * x0$q + a1.z * x1$q + a2.z * x2$q + a3.z * x3$q;
        s$e$q += a0.w * x0$q + a1.w * x1$q + a2.w * x2$q + a3.w * x3$q;
        //# end
      }
      //# end
    }
  }
  //# end
  if (k == 0u) {
    //# for e in TALL
    {
      let row = n + 4u * $e;
      if (row < N) {
        if (ADD + chunk[0].x > 0u) {
          bias$e += db_get(row);
        }
        db_set(row, bias$e, min(4u, N - row));
      }
    }
    //# end
  }
  //# for q in GROUPS
  if (k + 4u * $q < K) {
    //# for e in TALL
    add(n + 4u * $e, k + 4u * $q, p$e$q);
    add(n + 4u * $e + 1u, k + 4u * $q, q$e$q);
    add(n + 4u * $e + 2u, k + 4u * $q, r$e$q);
    add(n + 4u * $e + 3u, k + 4u * $q, s$e$q);
    //# end
  }
  //# end
}

fn add(n: u32, k: u32, part: vec4f) {
  if (n < N) {
    var sum = part;
    if (ADD + chunk[0].x > 0u) {
      sum += dw_get(n * K + k);
    }
    dw_set(n * K + k, sum, min(4u, K - k));
  }
}
