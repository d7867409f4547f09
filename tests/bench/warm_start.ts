/**
 * How long `deno task train` takes from the start of its process to its first step.
 *
 * @module
 */
import { median } from "./report.ts";
import type { ModelSizes } from "./protocol.ts";

/** Seconds from the start of the process until the loss of the first step is in `metrics.jsonl`. */
export interface WarmStart {
  /** The first run of this benchmark; cold if the machine never ran it. */
  readonly first: number;
  /** Median of the runs after it. */
  readonly warm: number;
  readonly seconds: readonly number[];
}

const root = new URL("../..", import.meta.url);

/** Starts the command so many times, and ends it after its first step. */
export async function measureStart(
  data: string | undefined,
  { V, U }: ModelSizes,
  folder: string,
  runs: number,
): Promise<WarmStart> {
  const config = `${folder}/start.yaml`;
  // With a print_step of 1 the command waits for each loss and writes it down at once.
  await Deno.writeTextFile(
    config,
    "training: {batch_size: 32, print_step: 1}\noptimiser: {max_epoch: 1, num_warmup_epochs: 1}\n" +
      `dataset_info: {total_loc_num: ${V}, total_user_num: ${U}}\n`,
  );
  const seconds: number[] = [];
  for (let n = 0; n <= runs; n++) {
    const out = `${folder}/start_${n}`;
    const start = performance.now();
    const child = new Deno.Command("deno", {
      args: ["task", "--quiet", "train", "--config", config, "--out", out].concat(
        data === undefined ? [] : ["--data", data],
      ),
      cwd: root,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const errors = new Response(child.stderr).text();
    let ended = false;
    const status = child.status.then((status) => {
      ended = true;
      return status;
    });
    while (!ended && !await hasLine(`${out}/metrics.jsonl`)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const took = (performance.now() - start) / 1000;
    if (ended && !await hasLine(`${out}/metrics.jsonl`)) {
      throw new Error(`deno task train failed: ${(await errors).trim().split("\n").at(-1)}`);
    }
    seconds.push(took);
    // `deno task` passes the signal on.
    if (!ended) child.kill("SIGTERM");
    await status;
    await errors;
    await Deno.remove(out, { recursive: true });
  }
  return { first: seconds[0], warm: median(seconds.slice(1)), seconds };
}

async function hasLine(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).size > 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
