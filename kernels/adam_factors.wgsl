// The numbers that every element of a step of Adam shares
//
//   t = count + 1
//   factors = (min(1, MAX_NORM / (norm + 1e-6)), α / (1 - β1ᵗ), 1 / sqrt(1 - β2ᵗ), 0)
//
// binding  access      what                          shape
// 0        read        learning rate α               []
// 1        read        norm (not read if CLIP = 0)   []
// 2        read_write  count, becomes t              []
// 3        read_write  factors                       [4]
//
// Constants: LOG_BETA1, LOG_BETA2, MAX_NORM. Workgroups: 1.
// Source: Kingma, Ba, "Adam", 2014; clipping as PyTorch's clip_grad_norm_.

@group(0) @binding(0) var<storage, read> learning_rate: array<f32>;
@group(0) @binding(1) var<storage, read> norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> count: array<u32>;
@group(0) @binding(3) var<storage, read_write> factors: array<vec4f>;

// 1 - exp(x) for x <= 0 without cancellation: the series at x / 64, then six times the identity
// 1 - e^2y = (1 - e^y) (2 - (1 - e^y)), which does not make relative errors larger.
fn one_minus_exp(x: f32) -> f32 {
  let y = max(x, -32.0) / 64.0;
  var series = 1.0;
  series = 1.0 + series * y / 8.0;
  series = 1.0 + series * y / 7.0;
  series = 1.0 + series * y / 6.0;
  series = 1.0 + series * y / 5.0;
  series = 1.0 + series * y / 4.0;
  series = 1.0 + series * y / 3.0;
  series = 1.0 + series * y / 2.0;
  var e = -y * series;
  //# for k in 6
  e *= 2.0 - e;
  //# end
  return e;
}

@compute @workgroup_size(1)
fn main() {
  let t = count[0] + 1u;
  count[0] = t;
  var scale = 1.0;
  //# if CLIP
  let ratio = MAX_NORM / (norm[0] + 1e-6);
  // Not min(), which may make NaN 1.
  scale = select(ratio, 1.0, ratio >= 1.0);
  //# end
  factors[0] = vec4f(
    scale,
    learning_rate[0] / one_minus_exp(f32(t) * LOG_BETA1),
    1.0 / sqrt(one_minus_exp(f32(t) * LOG_BETA2)),
    0.0,
  );
}
