/**
 * The golden tensors of `fixtures/`, as float64 and in packed rows, ready to compare with. See
 * `fixtures/README.md` for the names.
 *
 * @module
 */
import { pack, type Packing, packValues } from "../../src/core/packing.ts";
import { type HostTensor, type Shape, sizeOf, tensor } from "../../src/core/tensor.ts";
import { readSafetensors } from "../../src/train/safetensors.ts";
import type { NextLocationBatch } from "./next_location.ts";

/** Tensors of a golden file. */
export interface Golden {
  /** Metadata of the file; settings in it are JSON. */
  readonly metadata: Readonly<Record<string, string>>;
  /** All names, in the file's order. */
  readonly names: readonly string[];
  /** Whether there is a tensor of that name. */
  readonly has: (name: string) => boolean;
  /** A tensor; throws if there is none of that name. */
  readonly get: (name: string) => HostTensor;
  /** A tensor's elements as float64. */
  readonly f64: (name: string) => Float64Array;
  /** The tensors under `prefix/`, without the prefix. */
  readonly under: (prefix: string) => Golden;
}

/** A file of `fixtures/`: `next_location`, `lstm` or `ops`. */
export async function readGolden(stem: string): Promise<Golden> {
  const directory = `${import.meta.dirname}/../../fixtures`;
  const { tensors, metadata } = await readSafetensors(`${directory}/${stem}.safetensors`);
  return golden(tensors, metadata, stem);
}

function golden(
  tensors: ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>>,
  stem: string,
): Golden {
  const get = (name: string): HostTensor => {
    const found = tensors.get(name);
    if (found === undefined) throw new RangeError(`No golden tensor ${name} in ${stem}`);
    return found;
  };
  return {
    metadata,
    names: [...tensors.keys()],
    has: (name) => tensors.has(name),
    get,
    f64: (name) => Float64Array.from(get(name).data),
    under: (prefix) =>
      golden(
        new Map(
          [...tensors].filter(([name]) => name.startsWith(`${prefix}/`))
            .map(([name, value]) => [name.slice(prefix.length + 1), value]),
        ),
        metadata,
        `${stem}/${prefix}`,
      ),
  };
}

/** Rows of a padded [T,B,width] tensor in packed order: [N,width]. */
export function packRows(padded: HostTensor, packing: Packing): HostTensor {
  const [, B, width = 1] = padded.shape;
  const rows = packValues(packing, (b, t) => t * B + b);
  const data = new Float32Array(rows.length * width);
  rows.forEach((from, to) =>
    data.set(padded.data.subarray(from * width, (from + 1) * width), to * width)
  );
  return tensor(data, [rows.length, width]);
}

/** Integers of a padded [T,B] tensor in packed order. */
export function packIntegers(padded: HostTensor, packing: Packing): Uint32Array {
  const B = padded.shape[1];
  return packValues(packing, (b, t) => padded.data[t * B + b]);
}

/** `batch_a` or `batch_b` of `next_location.safetensors`, packed. */
export function goldenBatch(file: Golden, name: string): NextLocationBatch {
  const batch = file.under(name);
  const packing = pack(batch.get("lengths").data);
  const steps = (key: string): Uint32Array => packIntegers(batch.get(key), packing);
  return {
    packing,
    location: steps("location"),
    slot: steps("slot"),
    weekday: steps("weekday"),
    duration: steps("duration"),
    user: batch.get("user").data,
    target: batch.get("target").data,
  };
}

/** Sizes and options of a case, as `torch.nn.LSTM` names them. */
interface LstmCase {
  readonly I: number;
  readonly H: number;
  readonly L: number;
  readonly bidirectional?: boolean;
  readonly proj_size?: number;
  readonly bias?: boolean;
}

/** A case of `lstm.safetensors`: `torch.nn.LSTM` over sequences of different lengths. */
export interface LstmGolden {
  readonly name: string;
  readonly I: number;
  readonly H: number;
  readonly L: number;
  /** Directions: 1 or 2. */
  readonly D: number;
  /** Width of a direction's output: H or `proj_size`. */
  readonly P: number;
  readonly packing: Packing;
  /** `weight_ih_l0` and so on. */
  readonly weights: ReadonlyMap<string, HostTensor>;
  /** Input [N,I] and the output's cotangent [N,D P], in packed rows. */
  readonly x: HostTensor;
  readonly dy: HostTensor;
  /** Cotangents of the final states, [D L,B,P] and [D L,B,H] in the caller's order. */
  readonly dhN: HostTensor;
  readonly dcN: HostTensor;
  /** Initial states [D L,B,P] and [D L,B,H], where the case has them. */
  readonly h0?: HostTensor;
  readonly c0?: HostTensor;
  /** Expected outputs: y [N,D P] in packed rows, final states [D L,B,P] and [D L,B,H]. */
  readonly y: HostTensor;
  readonly hN: HostTensor;
  readonly cN: HostTensor;
  /**
   * Compares gradients (`x` in packed rows, weights by name, `h0`, `c0`) with the expected ones.
   * Calls `check(actual, expected, what)` for each piece that the file holds: all of a gradient,
   * or, for a wide weight, some of its rows and the sum of all rows.
   *
   * @param kind `grad` for the cotangent dy alone, `grad_state` for dy, dhN and dcN together.
   */
  readonly checkGradients: (
    kind: "grad" | "grad_state",
    gradients: Readonly<Record<string, ArrayLike<number>>>,
    check: (actual: ArrayLike<number>, expected: ArrayLike<number>, what: string) => void,
  ) => void;
}

// As in fixtures/generate.py: what wide cases do not store.
const SEEDS = { x: 101, dy: 102, dh_n: 103, dc_n: 104 };

function lcg(shape: Shape, seed: number, scale: number): HostTensor {
  let x = seed;
  const data = new Float32Array(sizeOf(shape)).map(() => {
    x = (Math.imul(1664525, x) + 1013904223) >>> 0;
    return ((x >>> 8) / 2 ** 24 - 0.5) * scale;
  });
  return tensor(data, shape);
}

/** All cases of `lstm.safetensors`. */
export async function readLstmGoldens(): Promise<LstmGolden[]> {
  const file = await readGolden("lstm");
  const cases: Record<string, LstmCase> = JSON.parse(file.metadata.cases);
  return Object.entries(cases).map(([name, sizes]) => lstmGolden(name, sizes, file.under(name)));
}

function lstmGolden(
  name: string,
  { I, H, L, bidirectional = false, proj_size, bias = true }: LstmCase,
  file: Golden,
): LstmGolden {
  const packing = pack(file.get("lengths").data);
  const T = packing.batchSizes.length, B = packing.lengths.length;
  const given = (key: keyof typeof SEEDS, shape: Shape): HostTensor =>
    file.has(key) ? file.get(key) : lcg(shape, SEEDS[key], 1);
  const weights = new Map<string, HostTensor>();
  const D = bidirectional ? 2 : 1, P = proj_size ?? H;
  for (let l = 0; l < L; l++) {
    const shapes: Record<string, Shape> = {
      weight_ih: [4 * H, l === 0 ? I : D * P],
      weight_hh: [4 * H, P],
      ...(bias ? { bias_ih: [4 * H], bias_hh: [4 * H] } : {}),
      ...(proj_size === undefined ? {} : { weight_hr: [P, H] }),
    };
    for (const suffix of bidirectional ? ["", "_reverse"] : [""]) {
      for (const [kind, shape] of Object.entries(shapes)) {
        const key = `${kind}_l${l}${suffix}`;
        weights.set(key, file.has(key) ? file.get(key) : lcg(shape, weights.size + 1, 0.25));
      }
    }
  }
  const optional = (key: string): HostTensor | undefined =>
    file.has(key) ? file.get(key) : undefined;
  return {
    name,
    ...{ I, H, L, D, P },
    packing,
    weights,
    x: packRows(given("x", [T, B, I]), packing),
    dy: packRows(given("dy", [T, B, D * P]), packing),
    dhN: given("dh_n", [D * L, B, P]),
    dcN: given("dc_n", [D * L, B, H]),
    h0: optional("h0"),
    c0: optional("c0"),
    y: packRows(file.get("y"), packing),
    hN: file.get("h_n"),
    cN: file.get("c_n"),
    checkGradients: (kind, gradients, check) => {
      for (const key of file.names.filter((key) => key.startsWith(`${kind}/`))) {
        const [stem, sum] = key.slice(kind.length + 1).split(".");
        const expected = file.get(key), actual = gradients[stem];
        if (actual === undefined) throw new RangeError(`No gradient ${stem} given`);
        const what = `${name} ${key}`;
        if (stem === "x") check(actual, packRows(expected, packing).data, what);
        else if (sum !== undefined) {
          check(rowSum(actual, expected.data.length), expected.data, what);
        } else if (actual.length === expected.data.length) check(actual, expected.data, what);
        else {
          const width = expected.shape[1];
          const rows = [...file.get("rows").data].flatMap((row) =>
            Array.from({ length: width }, (_, i) => actual[row * width + i])
          );
          check(rows, expected.data, what);
        }
      }
    },
  };
}

function rowSum(matrix: ArrayLike<number>, width: number): Float64Array {
  const sum = new Float64Array(width);
  for (let k = 0; k < matrix.length; k++) sum[k % width] += matrix[k];
  return sum;
}
