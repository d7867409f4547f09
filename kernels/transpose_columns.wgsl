// y[c,m] = x[m, FIRST + c] and sums[c] = Σ_m x[m, FIRST + c], for some columns of a wide matrix
//
// binding  access      what                          shape
// 0        uniform     .x: FIRST, .y: columns C
// 1        read        x                             [M,N]
// 2        rows        y                             [C,M]
// 3        read_write  sums                          [C]
//
// An invocation copies one column. Workgroups: ceil(C / 64).

@group(0) @binding(0) var<uniform> columns: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
//# rows y at 2: of M
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

fn x_at(m: u32, n: u32) -> f32 {
  return select(0.0, x[min(m, M - 1u) * N + n], m < M);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  let n = columns.x + min(c, columns.y - 1u);
  let here = c < columns.y;
  var sum = 0.0;
  for (var m = 0u; m < M; m += 4u) {
    let v = vec4f(x_at(m, n), x_at(m + 1u, n), x_at(m + 2u, n), x_at(m + 3u, n));
    sum += (v.x + v.y) + (v.z + v.w);
    y_set(c * M + m, v, select(0u, min(4u, M - m), here));
  }
  if (here) {
    sums[c] = sum;
  }
}
