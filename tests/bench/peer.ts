/**
 * What the JavaScript peers of the benchmark share: the loop that answers the benchmark on stdin and
 * stdout, the batches as padded arrays, and the parameters with their first values.
 *
 * @module
 */
import { stdin, stdout } from "node:process";
import { createInterface } from "node:readline";
import type { BenchSample, ModelSizes, Ran, Ready, Request, Skip, Work } from "./protocol.ts";

/** A library ready to repeat one kind of work. */
export interface Session {
  /** Library, version and device. */
  readonly name: string;
  /** What the library forced to be otherwise than in PyTorch. */
  readonly notes: readonly string[];
  /** How many different units of work there are. */
  readonly units: number;
  /** Whether one wait at the end stands for a whole run: on a device that computes meanwhile. */
  readonly batched: boolean;
  /** Does or starts a unit of work. */
  readonly start: (unit: number) => void | Promise<void>;
  /** Waits until all that was started is done; the last loss, where there is one. */
  readonly finish: () => Promise<number | undefined>;
  /** Frees the memory. */
  readonly end: () => void;
}

/** Starts work in a library; throws {@linkcode Unavailable} for work that it cannot do. */
export type Open = (work: Work) => Session | Promise<Session>;

/** The rate of the dropout after the embeddings and after the user's vector. */
export const embDropout = 0.1;

/** The peer cannot do this work; the message says why, and what helps. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}

/**
 * Imports npm packages without naming them in the module graph, so that `deno check`, the lock file
 * and the published package know nothing of them.
 *
 * @throws {Unavailable} If a package is not in the cache.
 */
// deno-lint-ignore no-explicit-any
export async function importPackages(packages: readonly string[]): Promise<any[]> {
  const modules = [];
  for (const name of packages) {
    try {
      modules.push(await import(name));
    } catch (error) {
      const all = packages.join(" ");
      console.error(error);
      throw new Unavailable(
        `${name.slice("npm:".length)} is not installed: run \`deno cache --no-lock ${all}\``,
      );
    }
  }
  return modules;
}

async function measure(session: Session, from: number, count: number): Promise<Measured> {
  const ms: number[] = [];
  let loss: number | undefined;
  let began = performance.now();
  for (let i = 0; i < count; i++) {
    await session.start((from + i) % session.units);
    if (session.batched && i < count - 1) continue;
    loss = await session.finish();
    const now = performance.now();
    ms.push(now - began);
    began = now;
  }
  return session.batched
    ? { ms: Array.from({ length: count }, () => ms[0] / count), batched: true, loss }
    : { ms, loss };
}

interface Measured extends Ran {
  readonly loss?: number;
}

/** A step of large work may take so many ms; and the first step, with compiling, three times that. */
const patience = 10_000;

/** Runs every unit once and the first one twice; the loss of the very first. */
async function warmUp(session: Session, work: Work): Promise<number | undefined> {
  const large = work.B > 32 || work.kind === "lstm" && work.T > 64;
  const run = async (unit: number, limit: number): Promise<number | undefined> => {
    const { ms: [ms], loss } = await measure(session, unit, 1);
    if (large && ms > limit) {
      throw new Unavailable(`left out: a step takes ${(ms / 1000).toFixed(0)} s`);
    }
    return loss;
  };
  const loss = await run(0, 3 * patience);
  for (let unit = 0; unit < session.units; unit++) {
    await run(unit, unit === 0 ? patience : Infinity);
  }
  return loss;
}

function reason(error: unknown): string {
  if (error instanceof RangeError && error.message.includes("call stack")) {
    return "the library runs out of stack with so long an unrolled graph";
  }
  return String(error instanceof Error ? error.message : error).trim().split("\n")[0].slice(0, 300);
}

/** Answers the benchmark, one JSON object a line, until it says that it has ended. */
export async function servePeer(open: Open): Promise<never> {
  // Libraries greet on stdout, which is the benchmark's.
  console.log = console.info = console.debug = console.error;
  const answer = (message: Ready | Skip | Ran): boolean =>
    stdout.write(JSON.stringify(message) + "\n");
  let session: Session | undefined;
  let next = 0;
  for await (const line of createInterface({ input: stdin })) {
    const message: Request = JSON.parse(line);
    if (message.do === "end") break;
    try {
      if (message.do === "setup") {
        session?.end();
        session = undefined;
        next = 0;
        const opened = await open(message.work);
        const loss = await warmUp(opened, message.work).catch((error) => {
          opened.end();
          throw error;
        });
        session = opened;
        answer({ ready: true, name: opened.name, notes: opened.notes, details: { loss } });
      } else {
        if (session === undefined) throw new Unavailable("no work was set up");
        answer(await measure(session, next, message.steps));
        next += message.steps;
      }
    } catch (error) {
      if (!(error instanceof Unavailable)) console.error(error);
      answer({ skip: reason(error) });
    }
  }
  // Workers and devices of the libraries would keep the process alive.
  Deno.exit(0);
}

/** Name and shape of every parameter, PyTorch's layouts: linear weights [out,in], gates i, f, g, o. */
export function parameterShapes(
  { V, U, embedding: E, hidden: H, layers }: ModelSizes,
): Readonly<Record<string, readonly number[]>> {
  const lstm = Array.from({ length: layers }, (_, l) => [
    [`weight_ih_l${l}`, [4 * H, l === 0 ? E : H]],
    [`weight_hh_l${l}`, [4 * H, H]],
    [`bias_ih_l${l}`, [4 * H]],
    [`bias_hh_l${l}`, [4 * H]],
  ]).flat();
  return {
    location: [V, E],
    hour: [24, E],
    minute: [4, E],
    weekday: [7, E],
    duration: [96, E],
    ...Object.fromEntries(lstm),
    layer_norm_weight: [H],
    layer_norm_bias: [H],
    user: [U, H],
    linear1_weight: [2 * H, H],
    linear1_bias: [2 * H],
    linear2_weight: [H, 2 * H],
    linear2_bias: [H],
    norm_weight: [H],
    norm_bias: [H],
    output_weight: [V, H],
    output_bias: [V],
  };
}

/**
 * The same numbers in every library and run: a hash of parameter `k` and place, uniform within
 * ±1/sqrt(last dimension), around 1 for the weights of the norms.
 */
export function firstValues(name: string, k: number, shape: readonly number[]): Float32Array {
  const size = shape.reduce((a, b) => a * b);
  const scale = 1 / Math.sqrt(shape[shape.length - 1]);
  const base = name.endsWith("norm_weight") ? 1 : 0;
  return Float32Array.from({ length: size }, (_, i) => {
    let h = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(k + 1, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
    h ^= h >>> 12;
    return base + scale * ((h >>> 0) / 2 ** 31 - 1);
  });
}

/** Samples padded to the longest of their batch: step after step, in each the B samples. */
export interface PaddedBatch {
  readonly T: number;
  readonly B: number;
  /** Ids, [T*B] each, 0 past a sample's end. */
  readonly ids: Readonly<
    Record<"location" | "hour" | "minute" | "weekday" | "duration", Int32Array>
  >;
  /** [T,B]: 1 at each sample's last step; absent where all are T long. */
  readonly last?: Float32Array;
  /** [B]. */
  readonly user: Int32Array;
  /** [B]. */
  readonly target: Int32Array;
  /** [B]: what each sample counts for in the mean loss; 0 for a target of 0. */
  readonly weight: Float32Array;
}

function pad(samples: readonly BenchSample[]): PaddedBatch {
  const B = samples.length;
  const lengths = samples.map(({ x }) => x.length);
  const T = Math.max(...lengths);
  const steps = (id: (sample: BenchSample, t: number) => number): Int32Array =>
    Int32Array.from({ length: T * B }, (_, n) => {
      const [t, b] = [Math.floor(n / B), n % B];
      return t < lengths[b] ? id(samples[b], t) : 0;
    });
  const counted = samples.filter(({ target }) => target !== 0).length;
  return {
    T,
    B,
    ids: {
      location: steps(({ x }, t) => x[t]),
      hour: steps(({ startMin }, t) => Math.floor(startMin[t] / 60)),
      minute: steps(({ startMin }, t) => Math.floor(startMin[t] % 60 / 15)),
      weekday: steps(({ weekday }, t) => weekday[t]),
      duration: steps(({ dur }, t) => Math.floor(dur[t] / 30)),
    },
    ...(Math.min(...lengths) < T && {
      last: Float32Array.from(
        { length: T * B },
        (_, n) => Number(lengths[n % B] === Math.floor(n / B) + 1),
      ),
    }),
    user: Int32Array.from(samples, ({ user }) => user),
    target: Int32Array.from(samples, ({ target }) => target),
    weight: Float32Array.from(samples, ({ target }) => target === 0 ? 0 : 1 / counted),
  };
}

/** The batches of a file, padded. */
export function readBatches(path: string): readonly PaddedBatch[] {
  const batches: readonly (readonly BenchSample[])[] = JSON.parse(Deno.readTextFileSync(path));
  return batches.map(pad);
}
