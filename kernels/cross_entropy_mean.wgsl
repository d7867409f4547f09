// Step 2 of -log softmax: a row's pieces together, and the mean over the rows that count
//
//   top[b] = max_c top[b,c]          sum[b] = Σ_c sum[b,c] exp(top[b,c] - top[b])
//   loss = Σ_b (top[b] - x[b,target[b]] + log sum[b]) / count, over the count rows b whose target is
//   not IGNORED; 0 if there are none
//
// binding  access      what                                            shape
// 0        uniform     .x: rows B
// 1        read        logits x                                        [B,V]
// 2        read        target, of either sign                          [B]
// 3        read        top and sum of the pieces                       [B,PIECES,2]
// 4        read_write  loss                                            []
// 5        read_write  top and sum of the rows                         [B,2]
// 6        read_write  1 / count, 0 if no row counts                   []
//
// Workgroups: 1. Each invocation takes every LANES-th row.

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> pieces: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> rows: array<f32>;
@group(0) @binding(6) var<storage, read_write> factor: array<f32>;

var<workgroup> parts: array<vec2f, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32) {
  var part = vec2f(0.0);
  for (var row = l; row < size.x; row += LANES) {
    let first = 2u * row * PIECES;
    var top = pieces[first];
    for (var c = 1u; c < PIECES; c++) {
      top = max(top, pieces[first + 2u * c]);
    }
    var sum = 0.0;
    for (var c = 0u; c < PIECES; c++) {
      sum += pieces[first + 2u * c + 1u] * exp(pieces[first + 2u * c] - top);
    }
    rows[2u * row] = top;
    rows[2u * row + 1u] = sum;
    let label = targets[row];
    let value = top - x[row * V + min(label, V - 1u)] + log(sum);
    part += select(vec2f(value, 1.0), vec2f(0.0), IGNORES > 0u && label == IGNORED);
  }
  parts[l] = part;
  workgroupBarrier();
  var total = vec2f(0.0);
  //# for j in LANES
  total += parts[$j];
  //# end
  let scale = select(0.0, 1.0 / max(total.y, 1.0), total.y > 0.0);
  if (l == 0u) {
    loss[0] = total.x * scale;
    factor[0] = scale;
  }
}
