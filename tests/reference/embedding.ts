/** One summand of an embedding sum: a table [rows,E] and a row number for each of N outputs. */
export interface Lookup {
  readonly table: Float64Array;
  readonly index: ArrayLike<number>;
}

/** `y[n] = sum_k table_k[index_k[n]]` in float64: [N,E]. */
export function embeddingSum(lookups: readonly Lookup[], E: number): Float64Array {
  const N = lookups[0].index.length;
  const y = new Float64Array(N * E);
  for (const { table, index } of lookups) {
    for (let n = 0; n < N; n++) {
      for (let e = 0; e < E; e++) y[n * E + e] += table[index[n] * E + e];
    }
  }
  return y;
}

/** The gradient of each table, given dy [N,E]: rows used several times collect all their dy. */
export function embeddingSumBackward(
  lookups: readonly Lookup[],
  E: number,
  dy: Float64Array,
): Float64Array[] {
  return lookups.map(({ table, index }) => {
    const dtable = new Float64Array(table.length);
    for (let n = 0; n < index.length; n++) {
      for (let e = 0; e < E; e++) dtable[index[n] * E + e] += dy[n * E + e];
    }
    return dtable;
  });
}
