/**
 * Initial values of parameters, drawn on the host from keys.
 *
 * @module
 */
import { type Key, normal, uniform } from "../core/random.ts";
import { type HostTensor, type Shape, sizeOf, tensor } from "../core/tensor.ts";

/** All zeros. */
export function zeros(shape: Shape): HostTensor {
  return tensor(new Float32Array(sizeOf(shape)), shape);
}

/** All ones. */
export function ones(shape: Shape): HostTensor {
  return tensor(new Float32Array(sizeOf(shape)).fill(1), shape);
}

/**
 * Xavier-uniform values (Glorot and Bengio 2010): uniform within ±√(6 / (rows + columns)).
 *
 * @param shape [rows, columns].
 */
export function xavierUniform(key: Key, shape: readonly [number, number]): HostTensor {
  const bound = Math.sqrt(6 / (shape[0] + shape[1]));
  // Not Float32Array.from, which first makes a list of boxed numbers: tables may be large.
  const values = uniform(key, sizeOf(shape)).map((u) => bound * (2 * u - 1));
  return tensor(new Float32Array(values), shape);
}

/**
 * Values uniform within ±1/√n, as PyTorch's layers begin.
 *
 * @param n Inputs of each output for `torch.nn.Linear`, weights and bias; the hidden size for
 * `torch.nn.LSTM`, all of them.
 */
export function fanInUniform(key: Key, shape: Shape, n: number): HostTensor {
  const bound = 1 / Math.sqrt(n);
  return tensor(
    new Float32Array(uniform(key, sizeOf(shape)).map((u) => bound * (2 * u - 1))),
    shape,
  );
}

/**
 * A matrix with orthonormal columns, or rows if it has fewer (Saxe, McClelland and Ganguli 2014):
 * normal values made orthogonal by the modified Gram-Schmidt process.
 *
 * @param shape [rows, columns].
 */
export function orthogonal(key: Key, shape: readonly [number, number]): HostTensor {
  const [rows, columns] = shape;
  const count = Math.min(rows, columns), length = Math.max(rows, columns);
  const values = normal(key, count * length);
  const vectors = Array.from(
    { length: count },
    (_, i) => values.subarray(i * length, (i + 1) * length),
  );
  vectors.forEach((vector, i) => {
    let squares = 0;
    for (const v of vector) squares += v * v;
    const norm = Math.sqrt(squares);
    for (let e = 0; e < length; e++) vector[e] /= norm;
    for (let j = i + 1; j < count; j++) {
      const other = vectors[j];
      let dot = 0;
      for (let e = 0; e < length; e++) dot += vector[e] * other[e];
      for (let e = 0; e < length; e++) other[e] -= dot * vector[e];
    }
  });
  const matrix = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      matrix[r * columns + c] = rows >= columns ? vectors[c][r] : vectors[r][c];
    }
  }
  return tensor(matrix, shape);
}
