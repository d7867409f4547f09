/**
 * Fills the disk under a training: once so that a checkpoint cannot be written, once so that not even
 * a line of metrics can. Prints the messages and what survives, then makes room, goes on, and compares
 * the end with that of a training on an empty disk. Mounts a tmpfs, so it needs the superuser.
 *
 *     deno run -A tests/faults/disk_full.ts
 *
 * @module
 */
import { filesBelow } from "../commands.ts";

const folder = await Deno.makeTempDir({ prefix: "gatewise_full_" });
const disk = `${folder}/disk`;
const config = `${folder}/config.yaml`;
await Deno.writeTextFile(
  config,
  `training: {batch_size: 64, print_step: 1, checkpoint_step: 20}
embedding: {base_emb_size: 8}
model: {lstm_hidden_size: 16, lstm_num_layers: 1}
optimiser: {max_epoch: 4}
`,
);

async function command(name: string, ...args: string[]): Promise<{ code: number; err: string }> {
  const { code, stderr } = await new Deno.Command(name, { args, stdout: "null" }).output();
  return { code, err: new TextDecoder().decode(stderr) };
}

async function must(name: string, ...args: string[]): Promise<void> {
  const { code, err } = await command(name, ...args);
  if (code !== 0) throw new Error(`${name} ${args.join(" ")}: ${err}`);
}

const train = (...args: string[]) =>
  command("deno", ...["task", "--quiet", "train", "--quiet", ...args]);

/** Leaves so many bytes of the disk free. */
async function fill(free: number): Promise<void> {
  const { stdout } = await new Deno.Command("stat", { args: ["-f", "-c", "%a %S", disk] }).output();
  const [blocks, size] = new TextDecoder().decode(stdout).split(" ").map(Number);
  await Deno.writeFile(`${disk}/filler`, new Uint8Array(Math.max(0, blocks * size - free)));
}

async function weightsOf(run: string): Promise<string> {
  return (await filesBelow(run))["best.safetensors"];
}

await Deno.mkdir(disk);
await must("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk);
try {
  await must(
    "deno",
    ...["task", "--quiet", "train", "--quiet", "--config", config, "--out"],
    `${folder}/whole`,
  );
  const expected = await weightsOf(`${folder}/whole`);
  for (const [name, free] of [["a checkpoint", 16 * 1024], ["metrics", 0]] as const) {
    const run = `${disk}/run`;
    const ended = train("--config", config, "--out", run);
    // Two checkpoints are there before the disk is full.
    while (
      (await Array.fromAsync(Deno.readDir(`${run}/checkpoints`)).catch(() => [])).length < 3
    ) await new Promise((resolve) => setTimeout(resolve, 5));
    await fill(free);
    const { code, err } = await ended;
    console.log(`\n# no room for ${name}: exit code ${code}\n${err.trimEnd()}`);
    for (const [file, content] of Object.entries(await filesBelow(run)).sort()) {
      console.log(`  ${file} ${Uint8Array.fromBase64(content).length} bytes`);
    }
    const again = await train("--resume", run);
    console.log(`resumed on the full disk: exit code ${again.code}\n${again.err.trimEnd()}`);
    await Deno.remove(`${disk}/filler`);
    const resumed = await train("--resume", run);
    const same = await weightsOf(run) === expected;
    console.log(
      `resumed with room: exit code ${resumed.code}, ${same ? "the same" : "OTHER"} weights`,
    );
    await Deno.remove(run, { recursive: true });
  }
  await fill(0);
  const { code, err } = await train("--config", config, "--out", `${disk}/new`);
  const left = [...Deno.readDirSync(disk)].map(({ name }) => name);
  console.log(
    `\n# a full disk from the start: exit code ${code}\n${err.trimEnd()}\n  left: ${left}`,
  );
} finally {
  await command("umount", disk);
  await Deno.remove(folder, { recursive: true });
}
