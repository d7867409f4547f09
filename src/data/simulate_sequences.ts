/**
 * Simulated sequences whose classes differ at several time scales: the data that models of sequences are
 * trained on where none are given.
 *
 * @module
 */
import { foldIn, type Key, normal, uniform } from "../core/random.ts";
import type { SequenceData, SequenceSample } from "./sequences.ts";

/** Options of {@link simulateSequences}. */
export interface SimulateSequencesOptions {
  /** How many sequences, a third of each class; default 3000. */
  readonly count?: number;
  /** Fewest and most time steps of a sequence; default 48 and 64. */
  readonly steps?: readonly [fewest: number, most: number];
  /** Standard deviation of the noise on every feature; default 0.3. */
  readonly noise?: number;
  /** Waves that are there: with one alone, what a model sees that sees one scale only. Default all. */
  readonly scales?: readonly TimeScale[];
}

/** A time scale, and the class whose wave leans the other way there. */
export type TimeScale = "short" | "medium" | "long";

/** Steps of a wave's period, give or take a tenth. */
const SCALES: Readonly<Record<TimeScale, number>> = { short: 5, medium: 16, long: 50 };
/** Features of a step. */
const FEATURES = 9;
/** Share of its period in which a wave rises, where it is its class's scale; else it falls so long. */
const RISE = 0.9;

/** A wave from -1 to 1 and back at a phase from 0 to 1, rising for the given share of its period. */
function wave(phase: number, rise: number): number {
  return phase < rise ? 2 * phase / rise - 1 : 1 - 2 * (phase - rise) / (1 - rise);
}

/**
 * Simulates sequences of 9 features and 3 classes. Three waves run through every sequence, with periods
 * of about 5, 16 and 50 steps and any phases. At the scale that its class is named after the wave
 * rises slowly and falls fast, at the other two it falls slowly and rises fast. Each feature is a sum of
 * the three, in shares that are the same for all sequences, and noise.
 *
 * A wave takes every value as often whichever way it leans, so single steps, and features averaged over
 * time, tell nothing of the class. Who sees one scale only cannot tell the two other classes apart, and
 * is right for two thirds of the sequences at best; two scales tell all.
 *
 * @param key The same key gives the same sequences.
 * @returns Sequences whose classes take turns.
 *
 * @example
 * ```ts
 * import { randomKey, simulateSequences, splitSequences } from "@gatewise/lstm";
 *
 * const data = simulateSequences(randomKey(42), { count: 60 });
 * console.log(data.width, data.classes); // 9 [ "short", "medium", "long" ]
 * console.log(splitSequences(data, randomKey(1)).train.samples.length); // 36
 * ```
 */
export function simulateSequences(
  key: Key,
  options: SimulateSequencesOptions = {},
): SequenceData {
  const { count = 3000, steps: [fewest, most] = [48, 64], noise = 0.3, scales } = options;
  const periods = Object.values(SCALES);
  const classes = Object.keys(SCALES) as readonly TimeScale[];
  const heard = classes.map((scale) => scales?.includes(scale) ?? true);
  // Shares of 0.5 to 1, to the one side or the other, by feature and scale.
  const shares = uniform(foldIn(key, 0), FEATURES * periods.length)
    .map((u) => u < 0.5 ? u - 1 : u);
  const samples = Array.from({ length: count }, (_, i): SequenceSample => {
    const label = i % periods.length;
    const own = foldIn(key, i + 1);
    const [size, ...draws] = uniform(foldIn(own, 0), 1 + 2 * periods.length);
    const steps = fewest + Math.floor(size * (most - fewest + 1));
    const rest = normal(foldIn(own, 1), steps * FEATURES);
    const values = new Float32Array(steps * FEATURES);
    for (let t = 0; t < steps; t++) {
      const waves = periods.map((period, scale) => {
        if (!heard[scale]) return 0;
        const [start, stretch] = draws.slice(2 * scale, 2 * scale + 2);
        const phase = start + t / (period * (0.9 + 0.2 * stretch));
        return wave(phase % 1, scale === label ? RISE : 1 - RISE);
      });
      for (let f = 0; f < FEATURES; f++) {
        const at = t * FEATURES + f;
        values[at] = noise * rest[at] +
          waves.reduce((sum, w, scale) => sum + shares[f * periods.length + scale] * w, 0);
      }
    }
    return Object.freeze({ values, steps, label });
  });
  return {
    samples,
    features: Array.from({ length: FEATURES }, (_, f) => `feature_${f}`),
    width: FEATURES,
    classes,
  };
}
