import {
  assert,
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertStringIncludes,
} from "@std/assert";

const root = new URL("..", import.meta.url);
const { name, version } = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function deno(args: readonly string[], cwd: string | URL): Promise<Outcome> {
  const command = new Deno.Command("deno", {
    args: [...args],
    cwd,
    env: { NO_COLOR: "1", XDG_RUNTIME_DIR: "/tmp" },
  });
  const { code, stdout, stderr } = await command.output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Checks and runs a program in a new project that has nothing but a link to this package. */
async function runElsewhere(program: string): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
  try {
    const links = [decodeURIComponent(root.pathname)];
    await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ links }));
    await Deno.writeTextFile(`${folder}/main.ts`, program);
    // No permission at all: computing needs none.
    const { code, stdout, stderr } = await deno(
      ["run", "--check", "--no-prompt", "main.ts"],
      folder,
    );
    assertEquals(code, 0, stderr);
    return stdout;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("another project can import the package by its jsr: name", async () => {
  const stdout = await runElsewhere(`
    import { tensor } from "jsr:${name}@^${version}";
    const { shape, dtype } = tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    console.log(JSON.stringify({ shape, dtype }));
  `);
  assertEquals(JSON.parse(stdout), { shape: [2, 3], dtype: "f32" });
});

const adapter = await navigator.gpu?.requestAdapter();

Deno.test({
  name: "another project can train with the package",
  ignore: !adapter,
  fn: async () => {
    const stdout = await runElsewhere(`
      import {
        adam, defaultConfig, nextLocation, openDevice, randomKey, read, simulate, trainer,
      } from "jsr:${name}@^${version}";
      const { train, totalLocNum, totalUserNum } = simulate({ people: 3, days: 30 });
      const model = nextLocation({
        ...defaultConfig, totalLocNum, totalUserNum,
        baseEmbSize: 8, lstmHiddenSize: 8, lstmNumLayers: 1, fcDropout: 0, embDropout: 0,
      });
      using device = await openDevice();
      using training = trainer(device, model, adam({ maxNorm: 1 }));
      let state = training.init(model.init(randomKey(1)), randomKey(2));
      const batch = model.batch(train.slice(0, 8));
      const losses: number[] = [];
      for (let i = 0; i < 10; i++) {
        state = training.step({ ...state, learningRate: 0.01 }, batch);
        losses.push((await read(state.result!.loss)).data[0]);
      }
      console.log(JSON.stringify(losses));
    `);
    const losses: readonly number[] = JSON.parse(stdout);
    assertEquals(losses.length, 10);
    // One batch over and over is soon known by heart.
    assert(losses[9] < 0.9 * losses[0] && losses[9] > 0, stdout);
  },
});

Deno.test("the package can be published: complete types, nothing but what users need", async () => {
  const { code, stderr } = await deno(["publish", "--dry-run", "--allow-dirty"], root);
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, `Simulating publish of ${name}@${version}`);
  assertEquals(stderr.match(/Simulating publish/g)?.length, 1, "vendor/ must not be published");
  const files = stderr.replaceAll(root.href, "");
  for (const file of ["LICENSE", "README.md", "deno.json", "mod.ts"]) {
    assertMatch(files, new RegExp(`^ *${file} \\(`, "m"), `${file} must be published`);
  }
  assertNotMatch(files, /^ *(vendor|tests|fixtures|\.ci)\//m);
});
