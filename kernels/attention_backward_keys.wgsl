// The gradients of attention with respect to k and v: sums over the rows i of the key's sequence, with
// p, m, delta and ds as in attention_backward.wgsl
//
//   dk = SCALE Σ_i ds[i] q[i]        dv = Σ_i p[i] m[i] dy[i]
//
// binding  access      what                                              shape
// 0        uniform     .x: rows N, sequence after sequence
// 1        read        first row and row after the last of the sequence  [N,4]
// 2        table       q, k and v beside each other, D = HEADS WIDTH     [N,3D]
// 3        table       dy                                                [N,D]
// 4        read        log Σ exp(s)                                      [N,HEADS]
// 5        read        delta                                             [N,HEADS]
// 6        rows        dk and dv, the later thirds of dq, dk and dv      [N,3D]
// 7        read        DROPOUT: key                                      [2]
//
// An invocation computes a key in one head. Workgroups: (ceil(N / 64), 1, HEADS), at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> spans: array<vec4u>;
//# table qkv at 2: of WIDTH
//# table dy at 3: of WIDTH
@group(0) @binding(4) var<storage, read> totals: array<f32>;
@group(0) @binding(5) var<storage, read> deltas: array<f32>;
//# rows dqkv at 6: of WIDTH
//# if DROPOUT
@group(0) @binding(7) var<storage, read> key: array<u32>;
//# include philox
//# end
//# include heads

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let head = id.z * WIDTH;
  let row = min(i, size.x - 1u);
  let span = spans[row];
  //# for c in GROUPS
  let k_$c = SCALE * inside(qkv_get(row * 3u * D + D + head + 4u * $c), $c);
  let v_$c = inside(qkv_get(row * 3u * D + 2u * D + head + 4u * $c), $c);
  var dk_$c = vec4f(0.0);
  var dv_$c = vec4f(0.0);
  //# end
  for (var query = span.x; query < span.y; query++) {
    let at = query * 3u * D + head;
    var score = 0.0;
    var dp = 0.0;
    //# for c in GROUPS
    let q_$c = inside(qkv_get(at + 4u * $c), $c);
    let dy_$c = inside(dy_get(query * D + head + 4u * $c), $c);
    score += dot(q_$c, k_$c);
    dp += dot(dy_$c, v_$c);
    //# end
    let p = exp(score - totals[query * HEADS + id.z]);
    var weight = p;
    //# if DROPOUT
    let keep = kept((row - span.x) / 4u, query, id.z)[(row - span.x) % 4u];
    weight *= keep;
    dp *= keep;
    //# end
    let ds = SCALE * p * (dp - deltas[query * HEADS + id.z]);
    //# for c in GROUPS
    dk_$c += ds * q_$c;
    dv_$c += weight * dy_$c;
    //# end
  }
  //# for c in GROUPS
  {
    let count = select(0u, min(4u, WIDTH - 4u * $c), i < size.x);
    dqkv_set(i * 3u * D + D + head + 4u * $c, dk_$c, count);
    dqkv_set(i * 3u * D + 2u * D + head + 4u * $c, dv_$c, count);
  }
  //# end
}
