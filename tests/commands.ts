/**
 * Running the project's commands as a user does, and small data for them.
 *
 * @module
 */
import { simulate } from "../src/data/simulate.ts";
import { writeSamples } from "../src/data/read_samples.ts";

/** What a command printed. */
export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** How a command is started. */
export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

const root = new URL("..", import.meta.url);

/** Runs `deno task <name> <args>`: with the permissions that the task has, and no others. */
export async function task(
  name: "train" | "evaluate" | "predict" | "generate" | "inspect" | "trace" | "prepare" | "report",
  args: readonly string[],
  { env = {}, stdin = "" }: StartOptions = {},
): Promise<Outcome> {
  const child = new Deno.Command("deno", {
    args: ["task", "--quiet", name, ...args],
    cwd: root,
    env: { NO_COLOR: "1", ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const write = async (): Promise<void> => {
    const writer = child.stdin.getWriter();
    // A command that does not read its input may end before all of it is written.
    await writer.write(new TextEncoder().encode(stdin)).catch(() => {});
    await writer.close().catch(() => {});
  };
  const [output] = await Promise.all([child.output(), write()]);
  const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code: output.code, out: decode(output.stdout), err: decode(output.stderr) };
}

/** Writes the samples of three people as `<folder>/town_train.jsonl` and so on; gives the prefix. */
export async function writeTown(folder: string): Promise<string> {
  const town = simulate({ people: 3, days: 30 });
  for (const split of ["train", "validation", "test"] as const) {
    await writeSamples(`${folder}/town_${split}.jsonl`, town[split]);
  }
  return `${folder}/town`;
}

/** A configuration that trains in a second. Arguments replace its sections' content. */
export function tinyConfig(sections: Readonly<Record<string, string>> = {}): string {
  const all = {
    training: "batch_size: 8, print_step: 5",
    embedding: "base_emb_size: 8",
    model: "lstm_hidden_size: 8, lstm_num_layers: 1",
    optimiser: "max_epoch: 2, lr: 0.01, num_warmup_epochs: 2",
    ...sections,
  };
  return Object.entries(all).map(([name, keys]) => `${name}: {${keys}}\n`).join("");
}

/** Every file below a folder, by path, with its content. */
export async function filesBelow(folder: string): Promise<Readonly<Record<string, string>>> {
  const files: Record<string, string> = {};
  const walk = async (path: string): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(`${folder}/${path}`)) {
      const inner = path === "" ? name : `${path}/${name}`;
      if (isDirectory) await walk(inner);
      else files[inner] = (await Deno.readFile(`${folder}/${inner}`)).toBase64();
    }
  };
  await walk("");
  return files;
}

/** Whether commands can compute here. */
export const hasAdapter = await navigator.gpu?.requestAdapter() != null;

/** A test of what needs an adapter: skipped without one, and its name says so. */
export function gpuTest(name: string, test: () => Promise<void>): void {
  if (hasAdapter) Deno.test(name, test);
  else Deno.test.ignore(`${name}: skipped, no WebGPU adapter`, () => {});
}

/** Runs a test with a folder of its own. */
export async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
