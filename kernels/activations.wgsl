// σ(x) = 1 / (1 + e⁻ˣ)
fn sigmoid4(x: vec4f) -> vec4f {
  return 1.0 / (1.0 + exp(-x));
}

// tanh as a ratio of polynomials, within 3e-7 of the value everywhere: built-in ones lose digits near
// 0. Coefficients: Eigen's generic_fast_tanh_float.
fn tanh4(value: vec4f) -> vec4f {
  // Not clamp(), which may make NaN a number.
  let most = vec4f(7.90531110763549805);
  let x = select(select(value, most, value > most), -most, value < -most);
  let s = x * x;
  var p = s * vec4f(-2.76076847742355e-16) + 2.00018790482477e-13;
  p = p * s - 8.60467152213735e-11;
  p = p * s + 5.12229709037114e-08;
  p = p * s + 1.48572235717979e-05;
  p = p * s + 6.37261928875436e-04;
  p = p * s + 4.89352455891786e-03;
  var q = s * vec4f(1.19825839466702e-06) + 1.18534705686654e-04;
  q = q * s + 2.26843463243900e-03;
  q = q * s + 4.89352518554385e-03;
  return x * p / q;
}

fn tanh1(x: f32) -> f32 {
  return tanh4(vec4f(x)).x;
}
