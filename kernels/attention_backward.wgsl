// The gradient of attention with respect to q: p as in attention.wgsl, m the factors of dropout or 1
//
//   delta = Σ_k p[k] m[k] (dy · v[k]) = dy · y
//   ds[k] = p[k] (m[k] (dy · v[k]) - delta)        dq = SCALE Σ_k ds[k] k[k]
//
// binding  access      what                                              shape
// 0        uniform     .x: rows N, sequence after sequence
// 1        read        first row and row after the last of the sequence  [N,4]
// 2        table       q, k and v beside each other, D = HEADS WIDTH     [N,3D]
// 3        table       dy                                                [N,D]
// 4        table       y                                                 [N,D]
// 5        read        log Σ exp(s)                                      [N,HEADS]
// 6        rows        dq, the first third of dq, dk and dv              [N,3D]
// 7        read_write  delta                                             [N,HEADS]
// 8        read        DROPOUT: key                                      [2]
//
// An invocation computes a row in one head. Workgroups: (ceil(N / 64), 1, HEADS), at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> spans: array<vec4u>;
//# table qkv at 2: of WIDTH
//# table dy at 3: of WIDTH
//# table y at 4: of WIDTH
@group(0) @binding(5) var<storage, read> totals: array<f32>;
//# rows dqkv at 6: of WIDTH
@group(0) @binding(7) var<storage, read_write> deltas: array<f32>;
//# if DROPOUT
@group(0) @binding(8) var<storage, read> key: array<u32>;
//# include philox
//# end
//# include heads

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let head = id.z * WIDTH;
  let row = min(i, size.x - 1u);
  let span = spans[row];
  let total = totals[row * HEADS + id.z];
  var delta = 0.0;
  //# for c in GROUPS
  let q_$c = SCALE * inside(qkv_get(row * 3u * D + head + 4u * $c), $c);
  let dy_$c = inside(dy_get(row * D + head + 4u * $c), $c);
  delta += dot(dy_$c, inside(y_get(row * D + head + 4u * $c), $c));
  var dq_$c = vec4f(0.0);
  //# end
  for (var first = span.x; first < span.y; first += 4u) {
    var scores = vec4f(0.0);
    var dp = vec4f(0.0);
    //# for e in 4
    {
      let at = min(first + $e, span.y - 1u) * 3u * D + D + head;
      //# for c in GROUPS
      scores[$e] += dot(q_$c, inside(qkv_get(at + 4u * $c), $c));
      dp[$e] += dot(dy_$c, inside(qkv_get(at + D + 4u * $c), $c));
      //# end
    }
    //# end
    //# if DROPOUT
    dp *= kept((first - span.x) / 4u, i, id.z);
    //# end
    let there = vec4u(first) + vec4u(0u, 1u, 2u, 3u) < vec4u(span.y);
    let ds = select(vec4f(0.0), exp(scores - total) * (dp - delta), there);
    //# for e in 4
    {
      let at = min(first + $e, span.y - 1u) * 3u * D + D + head;
      //# for c in GROUPS
      dq_$c += ds[$e] * inside(qkv_get(at + 4u * $c), $c);
      //# end
    }
    //# end
  }
  //# for c in GROUPS
  {
    let count = select(0u, min(4u, WIDTH - 4u * $c), i < size.x);
    dqkv_set(i * 3u * D + head + 4u * $c, SCALE * dq_$c, count);
  }
  //# end
  if (i < size.x) {
    deltas[i * HEADS + id.z] = delta;
  }
}
