/** A function of one number and its derivative, in float64. */
export interface Scalar {
  readonly value: (x: number) => number;
  readonly derivative: (x: number) => number;
}

/** The functions that work element by element. */
export const scalars: Readonly<Record<"relu" | "sigmoid" | "tanh", Scalar>> = {
  relu: { value: (x) => Math.max(x, 0), derivative: (x) => x > 0 ? 1 : 0 },
  sigmoid: {
    value: (x) => 1 / (1 + Math.exp(-x)),
    derivative: (x) => 1 / (2 + Math.exp(x) + Math.exp(-x)),
  },
  tanh: { value: Math.tanh, derivative: (x) => 1 / Math.cosh(x) ** 2 },
};

/** A function of two numbers and its two derivatives, in float64. */
export interface Pair {
  readonly value: (a: number, b: number) => number;
  readonly derivatives: (a: number, b: number) => readonly [number, number];
}

/** The functions of two elements at the same place. */
export const pairs: Readonly<Record<"add" | "sub" | "mul", Pair>> = {
  add: { value: (a, b) => a + b, derivatives: () => [1, 1] },
  sub: { value: (a, b) => a - b, derivatives: () => [1, -1] },
  mul: { value: (a, b) => a * b, derivatives: (a, b) => [b, a] },
};
