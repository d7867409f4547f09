// The weights of attention, w[b,head,t,k] = p[k] of row t of sequence b, as in attention.wgsl
//
// binding  access      what                                                        shape
// 0        uniform     .x: rows N, sequence after sequence
// 1        read        first row, row after the last, and number of the sequence   [N,4]
// 2        table       q, k and v beside each other, D = HEADS WIDTH               [N,3D]
// 3        read        log Σ exp(s)                                                [N,HEADS]
// 4        read_write  w, zero before                                              [B,HEADS,T,T]
//
// An invocation computes a row in one head. Workgroups: (ceil(N / 64), 1, HEADS), at most 65535 in x.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> spans: array<vec4u>;
//# table qkv at 2: of WIDTH
@group(0) @binding(3) var<storage, read> totals: array<f32>;
@group(0) @binding(4) var<storage, read_write> weights: array<f32>;
//# include heads

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  let head = id.z * WIDTH;
  let row = min(i, size.x - 1u);
  let span = spans[row];
  let total = totals[row * HEADS + id.z];
  let to = ((span.z * HEADS + id.z) * T + row - span.x) * T;
  //# for c in GROUPS
  let q_$c = SCALE * inside(qkv_get(row * 3u * D + head + 4u * $c), $c);
  //# end
  for (var k = span.x; k < span.y; k++) {
    let at = k * 3u * D + D + head;
    var score = 0.0;
    //# for c in GROUPS
    score += dot(q_$c, inside(qkv_get(at + 4u * $c), $c));
    //# end
    if (i < size.x) {
      weights[to + k - span.x] = exp(score - total);
    }
  }
}
