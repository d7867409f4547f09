// Scaled dot-product attention of each row to the rows of its own sequence, in every head (Vaswani et
// al. 2017)
//
//   s[k] = SCALE q · k[k]        p[k] = exp(s[k]) / Σ exp(s)        y = Σ_k p[k] v[k]
//
// DROPOUT: p[k] is multiplied by 1 / (1 - rate), or by 0 where word k mod 4 of
// philox(key, (⌊k / 4⌋, row, head, 0)) is below THRESHOLD; k counts from the sequence's first step.
//
// Sums run over 4 keys at a time beside the largest score so far (Milakov, Gimelshein 2018); the scores
// are never stored.
//
// binding  access      what                                              shape
// 0        uniform     .x: rows N, sequence after sequence
// 1        read        first row and row after the last of the sequence  [N,4]
// 2        table       q, k and v beside each other, D = HEADS WIDTH     [N,3D]
// 3        rows        y                                                 [N,D]
// 4        read_write  log Σ exp(s)                                      [N,HEADS]
// 5        read        DROPOUT: key                                      [2]
//
// An invocation computes a row in one head. Workgroups: (ceil(N / 64), 1, HEADS), at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> spans: array<vec4u>;
//# table qkv at 2: of WIDTH
//# rows y at 3: of WIDTH
@group(0) @binding(4) var<storage, read_write> totals: array<f32>;
//# if DROPOUT
@group(0) @binding(5) var<storage, read> key: array<u32>;
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
  let q_$c = SCALE * inside(qkv_get(row * 3u * D + head + 4u * $c), $c);
  var y_$c = vec4f(0.0);
  //# end
  var top = -3.4028234e38;
  var sum = 0.0;
  for (var first = span.x; first < span.y; first += 4u) {
    var scores = vec4f(0.0);
    //# for e in 4
    {
      let at = min(first + $e, span.y - 1u) * 3u * D + D + head;
      //# for c in GROUPS
      scores[$e] += dot(q_$c, inside(qkv_get(at + 4u * $c), $c));
      //# end
    }
    //# end
    let there = vec4u(first) + vec4u(0u, 1u, 2u, 3u) < vec4u(span.y);
    scores = select(vec4f(-3.4028234e38), scores, there);
    let higher = max(top, max(max(scores.x, scores.y), max(scores.z, scores.w)));
    let fade = exp(top - higher);
    var p = select(vec4f(0.0), exp(scores - higher), there);
    sum = sum * fade + dot(p, vec4f(1.0));
    top = higher;
    //# if DROPOUT
    p *= kept((first - span.x) / 4u, i, id.z);
    //# end
    //# for c in GROUPS
    y_$c *= fade;
    //# end
    //# for e in 4
    {
      let at = min(first + $e, span.y - 1u) * 3u * D + 2u * D + head;
      //# for c in GROUPS
      y_$c += p[$e] * inside(qkv_get(at + 4u * $c), $c);
      //# end
    }
    //# end
  }
  //# for c in GROUPS
  y_set(i * D + head + 4u * $c, y_$c / sum, select(0u, min(4u, WIDTH - 4u * $c), i < size.x));
  //# end
  if (i < size.x) {
    totals[i * HEADS + id.z] = top + log(sum);
  }
}
