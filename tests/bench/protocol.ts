/**
 * The benchmark's messages, and talking to a peer: a process that reads one JSON object a line from
 * its standard input and answers one a line on its standard output.
 *
 * @module
 */

/** Sizes and dropout of the next-location model. */
export interface ModelSizes {
  readonly V: number;
  readonly U: number;
  readonly embedding: number;
  readonly hidden: number;
  readonly layers: number;
  readonly lstmDropout: number;
  readonly fcDropout: number;
}

/** What work on batches has. */
interface Batches {
  readonly model: ModelSizes;
  /** File of the batches: {@linkcode BenchSample}s in a list of lists. */
  readonly batches: string;
  readonly B: number;
  /** Within the buffer sizes that WebGPU promises on every adapter. */
  readonly defaultLimits?: boolean;
}

/** A unit is one batch: a training step, an evaluation with its loss, a prediction (B = 1). */
export interface StepWork extends Batches {
  readonly kind: "train" | "evaluate" | "predict";
}

/** A unit is a training step for each batch, making tensors of them and reading the losses too. */
export interface EpochWork extends Batches {
  readonly kind: "epoch";
}

/** Work on batches of the model. */
export type ModelWork = StepWork | EpochWork;

/** Work on one LSTM layer of fixed length: forward, and gradients of the weights and of x. */
export interface LstmWork {
  readonly kind: "lstm";
  readonly T: number;
  readonly B: number;
  readonly I: number;
  readonly H: number;
}

/** What a peer is asked to do repeatedly. */
export type Work = ModelWork | LstmWork;

/** A sample as the batch files have it. */
export interface BenchSample {
  readonly x: readonly number[];
  readonly user: number;
  readonly weekday: readonly number[];
  readonly startMin: readonly number[];
  readonly dur: readonly number[];
  readonly target: number;
}

/** What the benchmark says to a peer. */
export type Request =
  | { readonly do: "setup"; readonly work: Work }
  | { readonly do: "run"; readonly steps: number }
  | { readonly do: "end" };

/** Answer to `setup`: the work is warm. */
export interface Ready {
  readonly ready: true;
  /** Library, version, device, threads. */
  readonly name: string;
  /** What it does otherwise than the others. */
  readonly notes?: readonly string[];
  /** Anything for the JSON. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Answer instead of another: this work cannot be done. */
export interface Skip {
  /** Why, and how to install what is missing. */
  readonly skip: string;
}

/** Answer to `run`. */
export interface Ran {
  /** Wall time of each unit of work. */
  readonly ms: readonly number[];
  /** The run was timed as a whole, with one wait at its end, and divided. */
  readonly batched?: boolean;
  /** Device memory in use after the run. */
  readonly bytes?: number;
}

/** How a peer is started. */
export interface PeerCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A running peer. */
export interface Peer {
  /** Sends a request and waits for the answer. A peer that fails or is too slow is ended: `skip`. */
  readonly ask: <A extends object>(request: Request, limitMs: number) => Promise<A | Skip>;
  /** Whether it still runs. */
  readonly alive: () => boolean;
  /** Ends it. */
  readonly end: () => Promise<void>;
}

/** The line of what a process wrote to standard error that says what went wrong. */
function complaintOf(text: string): string {
  const lines = text.trimEnd().split("\n").map((line) => line.trim());
  return (lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1)!).slice(0, 300);
}

/** Starts a peer. It never throws: what goes wrong is the answer `skip`. */
export function startPeer({ program, args, env = {} }: PeerCommand): Peer {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(program, {
      args: [...args],
      env: { NO_COLOR: "1", ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    const skip = `cannot start ${program}: ${(error as Error).message}`;
    return {
      ask: () => Promise.resolve({ skip }),
      alive: () => false,
      end: () => Promise.resolve(),
    };
  }
  let running = true;
  let errors = "";
  const listening = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      errors = (errors + text).slice(-4000);
    }
  })();
  const status = child.status.then((status) => {
    running = false;
    return status;
  });
  const lines = linesOf(child.stdout);
  const writer = child.stdin.getWriter();

  const answer = async (): Promise<object> => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done) {
        const { code, signal } = await status;
        await listening;
        return { skip: `ended with ${signal ?? `code ${code}`}: ${complaintOf(errors)}` };
      }
      // Libraries may greet on standard output; answers are JSON objects.
      const message = value.startsWith("{") ? parse(value) : undefined;
      if (message !== undefined) return message;
    }
  };
  const kill = (): void => {
    if (!running) return;
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended by itself in the meantime.
    }
  };
  return {
    async ask<A extends object>(request: Request, limitMs: number): Promise<A | Skip> {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<Skip>((resolve) => {
        timer = setTimeout(() => {
          kill();
          resolve({ skip: `given up: no answer in ${Math.round(limitMs / 1000)} s` });
        }, limitMs);
      });
      // A peer that has ended does not read; its end is the answer.
      await writer.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`)).catch(() => {});
      try {
        return await Promise.race([answer(), late]) as A | Skip;
      } finally {
        clearTimeout(timer);
      }
    },
    alive: () => running,
    async end(): Promise<void> {
      await writer.write(new TextEncoder().encode(`{"do":"end"}\n`)).catch(() => {});
      await writer.close().catch(() => {});
      const timer = setTimeout(kill, 5000);
      await status;
      clearTimeout(timer);
      await listening;
    },
  };
}

function parse(line: string): object | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest !== "") yield rest;
}
