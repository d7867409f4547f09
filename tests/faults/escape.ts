/// <reference lib="deno.worker" />
/**
 * Stands in for src/cli/train_worker.ts in tests/permissions_test.ts: tries, with the permissions that
 * training has, what training must be able to do and what it must not. Answers with what it could.
 *
 * @module
 */
import type { TrainJob } from "../../src/cli/train_worker.ts";

/** What was tried, by name. */
export type Attempts = Readonly<Record<string, boolean>>;

self.onmessage = async ({ data: { run } }: MessageEvent<TrainJob>) => {
  const { path, config } = run;
  const outside = `${path}/..`;
  const tries: Record<string, () => unknown> = {
    "compute": async () =>
      (await (await navigator.gpu.requestAdapter())!.requestDevice()).destroy(),
    "read samples": () => Deno.readTextFile(`${config.dataDir}/${config.dataset}_train.jsonl`),
    "write into the run": () => Deno.writeTextFile(`${path}/mine`, ""),
    "rename in the run": () => Deno.rename(`${path}/mine`, `${path}/metrics`),
    "write beside the run": () => Deno.writeTextFile(`${outside}/beside`, ""),
    "write beside by ..": () => Deno.writeTextFile(`${path}/x/../../beside`, ""),
    "write to the samples": () => Deno.writeTextFile(`${config.dataDir}/new`, ""),
    "move out of the run": () => Deno.rename(`${path}/metrics`, `${outside}/beside`),
    "link out of the run": () => Deno.symlink(outside, `${path}/out`),
    "make a temporary file": () => Deno.makeTempFile(),
    "read elsewhere": () => Deno.readTextFile(`${outside}/secret`),
    "fetch": () => fetch("http://127.0.0.1:8123").catch(refusedByPermission),
    "connect": () => Deno.connect({ port: 8123 }).catch(refusedByPermission),
    "listen": () => Deno.listen({ port: 0 }).close(),
    "look up a name": () => Deno.resolveDns("localhost", "A").catch(refusedByPermission),
    "run a program": () => new Deno.Command("true").output(),
    "read the environment": () => Deno.env.toObject(),
    "name the machine": () => Deno.hostname(),
    "load a library": () => Deno.dlopen("libc.so.6", {}).close(),
    "import code": () => import(`data:text/javascript,${Math.random()}`).then(() => import(code)),
    "start a worker with more": () => {
      const deno = { permissions: { write: true } } as const;
      new Worker(import.meta.url, { type: "module", deno }).terminate();
    },
    "ask for more": async () => {
      const { state } = await Deno.permissions.request({ name: "write" });
      if (state !== "granted") throw new Error(state);
    },
  };
  const code = `file://${outside}/code.js`;
  const attempts: Record<string, boolean> = {};
  for (const [name, attempt] of Object.entries(tries)) {
    try {
      await attempt();
      attempts[name] = true;
    } catch {
      attempts[name] = false;
    }
  }
  self.postMessage(attempts);
  self.close();
};

/** A connection that nobody answers was still allowed. */
function refusedByPermission(error: unknown): void {
  if (error instanceof Deno.errors.NotCapable) throw error;
}
