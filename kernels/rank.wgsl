// The place of each row's target in the order of the logits, and the place 1
//
//   rank[b] = 1 + #{v: x[b,v] > x[b,t]} + #{v < t: x[b,v] = x[b,t]}, t = target[b]
//   prediction[b] = the smallest v of the largest x[b,v]
//
// With a NaN in the row, rank[b] = V; NaN are the smallest for the prediction.
//
// binding  access      what                       shape
// 0        uniform     .x: rows B
// 1        read        bits of the logits x       [B,V]
// 2        read        target                     [B]
// 3        read_write  rank                       [B]
// 4        read_write  prediction                 [B]
//
// A workgroup takes a row, each invocation COUNT columns of it, LANES apart. Numbers are compared by
// their bits, as adapters may assume that there are no NaN.
// Workgroups: (min(B, 65535), ceil(B / 65535)).

@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> ranks: array<u32>;
@group(0) @binding(4) var<storage, read_write> predictions: array<u32>;

// .x: logits before the target's, .y: NaN logits, .z: key of the largest, .w: its column.
var<workgroup> parts: array<vec4u, LANES>;

// A number that orders as the float with these bits; -0 is 0, NaN are 0u.
fn key(bits: u32) -> u32 {
  let order = select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
  return select(order, 0u, (bits & 0x7fffffffu) > 0x7f800000u);
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) l: u32, @builtin(workgroup_id) group: vec3u) {
  let row = group.y * 65535u + group.x;
  let inside = min(row, size.x - 1u);
  let first = inside * V;
  let label = min(targets[inside], V - 1u);
  let own = key(x[first + label]);
  var part = vec4u(0u, 0u, 0u, min(l, V - 1u));
  //# loop i in COUNT
  {
    let v = $i * LANES + l;
    let k = key(x[first + min(v, V - 1u)]);
    let before = v < V && (k > own || (k == own && v < label));
    part.x += select(0u, 1u, before);
    part.y += select(0u, 1u, k == 0u);
    let better = k > part.z && v < V;
    part.z = select(part.z, k, better);
    part.w = select(part.w, v, better);
  }
  //# end
  parts[l] = part;
  workgroupBarrier();
  var all = parts[0];
  //# for j in LANES
  {
    let other = parts[$j];
    let better = other.z > all.z || (other.z == all.z && other.w < all.w);
    let counts = select(all.xy + other.xy, all.xy, $j == 0);
    all = vec4u(counts, select(all.zw, other.zw, better));
  }
  //# end
  if (l == 0u && row < size.x) {
    ranks[row] = select(1u + all.x, V, all.y > 0u);
    predictions[row] = all.w;
  }
}
