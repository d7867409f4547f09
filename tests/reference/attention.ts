/** Multi-head scaled dot-product attention over one sequence, in float64. */

/** The factor of each weight: 1, or what dropout multiplies it by. */
export type Factors = (head: number, query: number, key: number) => number;

const ones: Factors = () => 1;

/** y [T,D] and weights [heads,T,T], before their factors, of q, k and v [T,D]. */
export function attention(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  D: number,
  heads: number,
  factors = ones,
): { y: Float64Array; weights: Float64Array } {
  const T = q.length / D, width = D / heads;
  const y = new Float64Array(T * D), weights = new Float64Array(heads * T * T);
  for (let h = 0; h < heads; h++) {
    for (let t = 0; t < T; t++) {
      const scores = Float64Array.from({ length: T }, (_, s) => {
        let score = 0;
        for (let c = h * width; c < (h + 1) * width; c++) score += q[t * D + c] * k[s * D + c];
        return score / Math.sqrt(width);
      });
      const top = Math.max(...scores);
      const total = scores.reduce((sum, score) => sum + Math.exp(score - top), 0);
      scores.forEach((score, s) => {
        const p = Math.exp(score - top) / total;
        weights[(h * T + t) * T + s] = p;
        for (let c = h * width; c < (h + 1) * width; c++) {
          y[t * D + c] += p * factors(h, t, s) * v[s * D + c];
        }
      });
    }
  }
  return { y, weights };
}

/** Gradients of `dot(y, dy)`. */
export function attentionBackward(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  dy: Float64Array,
  D: number,
  heads: number,
  factors = ones,
): { dq: Float64Array; dk: Float64Array; dv: Float64Array } {
  const T = q.length / D, width = D / heads;
  const { weights } = attention(q, k, v, D, heads, factors);
  const [dq, dk, dv] = [q, k, v].map((x) => new Float64Array(x.length));
  for (let h = 0; h < heads; h++) {
    for (let t = 0; t < T; t++) {
      const p = weights.subarray((h * T + t) * T, (h * T + t + 1) * T);
      const dp = p.map((_, s) => {
        let sum = 0;
        for (let c = h * width; c < (h + 1) * width; c++) sum += dy[t * D + c] * v[s * D + c];
        return sum * factors(h, t, s);
      });
      const mean = p.reduce((sum, value, s) => sum + value * dp[s], 0);
      for (let s = 0; s < T; s++) {
        const ds = p[s] * (dp[s] - mean) / Math.sqrt(width);
        for (let c = h * width; c < (h + 1) * width; c++) {
          dq[t * D + c] += ds * k[s * D + c];
          dk[s * D + c] += ds * q[t * D + c];
          dv[s * D + c] += p[s] * factors(h, t, s) * dy[t * D + c];
        }
      }
    }
  }
  return { dq, dk, dv };
}
