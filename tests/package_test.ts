import { assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";

const root = new URL("..", import.meta.url);
const { name, version } = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function deno(args: readonly string[], cwd: string | URL): Promise<Outcome> {
  const command = new Deno.Command("deno", { args: [...args], cwd, env: { NO_COLOR: "1" } });
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
