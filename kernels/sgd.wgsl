// One step of stochastic gradient descent, in place
//
//   d = min(1, MAX_NORM / (norm + 1e-6)) g + WEIGHT_DECAY p
//   b = MOMENTUM b + d                          if HAS_MOMENTUM, which moves p by b instead of d,
//                                               or by d + MOMENTUM b if NESTEROV
//   p = p - α d
//
// binding  access      what                                     shape
// 0        uniform     learning rate α                          []
// 1        uniform     norm (not read if CLIP = 0)              []
// 2        read        g                                        [S], S a multiple of 4
// 3        read_write  p                                        [S]
// 4        read_write  b, only if HAS_MOMENTUM                  [S]
//
// S4 = S / 4. Workgroups: vec4 / 64, at most 65535 in x.
// Source: Sutskever et al., "On the importance of initialization and momentum in deep learning",
// 2013, in the form of PyTorch's SGD; clipping as its clip_grad_norm_.

@group(0) @binding(0) var<uniform> learning_rate: f32;
@group(0) @binding(1) var<uniform> norm: f32;
@group(0) @binding(2) var<storage, read> g: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> p: array<vec4f>;
//# if HAS_MOMENTUM
@group(0) @binding(4) var<storage, read_write> b: array<vec4f>;
//# end

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.y * 65535u * 64u + id.x;
  var d = g[i];
  let old = p[i];
  //# if CLIP
  let ratio = MAX_NORM / (norm + 1e-6);
  // Not min(), which may make NaN 1.
  d *= select(ratio, 1.0, ratio >= 1.0);
  //# end
  d += WEIGHT_DECAY * old;
  //# if HAS_MOMENTUM
  let b1 = MOMENTUM * b[i] + d;
  //# if NESTEROV
  d += MOMENTUM * b1;
  //# end
  //# if HEAVY_BALL
  d = b1;
  //# end
  //# end
  let p1 = old - learning_rate * d;
  if (i < S4) {
    //# if HAS_MOMENTUM
    b[i] = b1;
    //# end
    p[i] = p1;
  }
}
