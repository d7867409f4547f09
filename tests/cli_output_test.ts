import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../src/core/errors.ts";
import { type Command, formatHelp, parseOptions, UsageError } from "../src/cli/options.ts";
import {
  describeError,
  formatDuration,
  formatProgress,
  type Progress,
  startProgress,
} from "../src/cli/output.ts";

const COMMAND = {
  name: "deno task train",
  meaning: "Trains a model.",
  options: {
    config: { type: "text", value: "FILE", short: "c", meaning: "configuration" },
    input: { type: "text", meaning: "samples, - for standard input" },
    split: { type: "text", choices: ["train", "test"], default: "test", meaning: "what to score" },
    epochs: { type: "whole", min: 1, max: 9, meaning: "epochs at most" },
    rate: { type: "number", min: 0, meaning: "learning rate" },
    top: { type: "whole", min: 1, default: 5, meaning: "places to list" },
    quiet: { type: "flag", meaning: "no progress" },
  },
  examples: ["deno task train --epochs 2"],
} as const satisfies Command;

/** The message of the UsageError that arguments are refused with. */
function refusal(...args: string[]): string {
  return assertThrows(() => parseOptions(args, COMMAND), UsageError).message;
}

Deno.test("options are read in every usual form", () => {
  const nothing = parseOptions([], COMMAND);
  assertEquals({ ...nothing }, {
    config: undefined,
    input: undefined,
    split: "test",
    epochs: undefined,
    rate: undefined,
    top: 5,
    quiet: false,
    help: false,
    debug: false,
  });
  const args = [
    "--config",
    "a b.yaml",
    "--epochs=3",
    "--rate",
    "1e-3",
    "--quiet",
    "--split",
    "train",
  ];
  const options = parseOptions(args, COMMAND);
  // The types follow from the declaration.
  const typed: [string | undefined, number | undefined, string, number, boolean] = [
    options.config,
    options.epochs,
    options.split,
    options.top,
    options.quiet,
  ];
  assertEquals(typed, ["a b.yaml", 3, "train", 5, true]);
  assertEquals(options.rate, 0.001);
  assertEquals(parseOptions(["-c", "x"], COMMAND).config, "x");
  assertEquals(parseOptions(["--epochs", "2", "--epochs", "3"], COMMAND).epochs, 3);
  // Texts stay texts.
  assertEquals(parseOptions(["--config", "007"], COMMAND).config, "007");
});

Deno.test("an option may take several texts, until the next option", () => {
  const command = {
    name: "deno task report",
    meaning: "Reports.",
    options: {
      run: { type: "text", meaning: "run" },
      compare: { type: "text", many: true, value: "DIR", meaning: "runs" },
    },
  } as const satisfies Command;
  const compare = (...args: string[]): readonly string[] => parseOptions(args, command).compare;
  assertEquals(compare("--run", "x"), []);
  assertEquals(compare("--compare", "a", "b", "--run", "x"), ["a", "b"]);
  assertEquals(compare("--run", "x", "--compare", "a"), ["a"]);
  const twice = ["--compare", "a", "--run", "x", "--compare=b", "--compare", "c"];
  assertEquals(compare(...twice), ["a", "b", "c"]);
  const refused = (...args: string[]): string =>
    assertThrows(() => parseOptions(args, command), UsageError).message;
  assertEquals(refused("--compare"), "--compare needs a value: --compare DIR...");
  assertEquals(
    refused("--compare", "a", "--run", "x", "y"),
    "unexpected argument y; --help lists the options",
  );
  assertStringIncludes(formatHelp(command), "--compare DIR...");
});

Deno.test("a dash as value is standard input", () => {
  assertEquals(parseOptions(["--input", "-"], COMMAND).input, "-");
  assertEquals(parseOptions(["--input=-", "--quiet"], COMMAND).input, "-");
  assertEquals(parseOptions(["--input", "-", "--top", "2"], COMMAND).top, 2);
});

Deno.test("what does not fit is refused in one line with the way out", () => {
  assertEquals(refusal("--epoch", "3"), "unknown option --epoch; did you mean --epochs?");
  assertEquals(refusal("--zzzzzzzz=3"), "unknown option --zzzzzzzz; --help lists the options");
  assertEquals(refusal("-x"), "unknown option -x; --help lists the options");
  assertEquals(refusal("extra"), "unexpected argument extra; --help lists the options");
  assertEquals(refusal("--quiet", "--", "12"), "unexpected argument 12; --help lists the options");
  assertEquals(refusal("--config"), "--config needs a value: --config FILE");
  assertEquals(refusal("--config", "--quiet"), "--config needs a value: --config FILE");
  assertEquals(refusal("--config="), "--config needs a value after the =");
  assertEquals(refusal("--epochs", "0"), "--epochs is 0; allowed: a whole number from 1 to 9");
  assertEquals(refusal("--epochs", "10"), "--epochs is 10; allowed: a whole number from 1 to 9");
  assertEquals(refusal("--epochs", "2.5"), "--epochs is 2.5; allowed: a whole number from 1 to 9");
  assertEquals(refusal("--rate", "fast"), "--rate is fast; allowed: a number from 0");
  assertEquals(refusal("--rate=0x10"), "--rate is 0x10; allowed: a number from 0");
  assertEquals(refusal("--split", "tset"), "--split is tset; allowed: train or test");
  // Found by fuzzing: the tokenizer takes this apart as `-1 -e -- -3`.
  assertEquals(refusal("--rate", "-1e-3"), "unknown option -1e-3; --help lists the options");
  assertEquals(refusal("a\nb\u2028"), "unexpected argument a?b?; --help lists the options");
  assertEquals(refusal(`--split=${"x".repeat(1000)}`).length < 150, true);
});

Deno.test("help wins over everything else, and lists all options", () => {
  assertEquals(parseOptions(["--help", "--nonsense"], COMMAND).help, true);
  assertEquals(parseOptions(["-h"], COMMAND).help, true);
  assertEquals(
    formatHelp(COMMAND),
    `Usage: deno task train [options]

Trains a model.

Options:
  -c, --config FILE   configuration
  --input TEXT        samples, - for standard input
  --split train|test  what to score (default test)
  --epochs N          epochs at most
  --rate N            learning rate
  --top N             places to list (default 5)
  --quiet             no progress
  -h, --help          print this text
  --debug             print the stack of an unexpected error

Examples:
  deno task train --epochs 2
`,
  );
});

Deno.test("a line of progress fits the width and says rate and time left", () => {
  const status = { label: "epoch 3", done: 58, total: 232, rate: 8, loss: 4.8125 };
  // The other 174 steps take 21.75 s.
  const facts = "25% 58/232 8.00 steps/s loss 4.813 0:22 left";
  assertEquals(formatProgress(status, Infinity), `epoch 3 ${facts}`);
  assertEquals(formatProgress(status, 120), `epoch 3 [${"#".repeat(7)}${"-".repeat(23)}] ${facts}`);
  for (const columns of [undefined, 1, 20, 60, 66, 80, 200]) {
    const line = formatProgress(status, columns);
    assertEquals(line.length < (columns ?? 80), true, `${columns}: ${line}`);
    assertEquals(`epoch 3 ${facts}`.startsWith(line) || line.includes("["), true, line);
  }
  const start = { label: "x", done: 0, total: 10 };
  assertEquals(formatProgress(start, Infinity), "x 0% 0/10");
  assertEquals(
    formatProgress({ ...start, done: 10, rate: 10 }, Infinity),
    "x 100% 10/10 10 steps/s",
  );
});

Deno.test("times are written as clocks are", () => {
  assertEquals([0, 59.4, 59.6, 3599, 3600, 90061, -1].map(formatDuration), [
    "0:00",
    "0:59",
    "1:00",
    "59:59",
    "1:00:00",
    "25:01:01",
    "0:00",
  ]);
});

/** Progress over a stand-in for the screen and the clock. */
function watch(terminal: boolean, { quiet = false, total = 4 } = {}): {
  progress: Progress;
  wait: (ms: number) => void;
  written: () => string;
} {
  let time = 5000, written = "";
  const stream = { terminal, columns: () => 100, write: (text: string) => void (written += text) };
  const progress = startProgress({ total, label: "epoch 1", quiet, stream, now: () => time });
  return { progress, wait: (ms) => void (time += ms), written: () => written };
}

Deno.test("on a terminal one line is rewritten, and notes stay above it", () => {
  const { progress, wait, written } = watch(true);
  wait(500);
  progress.update(1, 2.5);
  wait(1);
  progress.update(2, 2.25); // Too soon to draw.
  progress.note("val loss 3");
  wait(500);
  progress.update(4);
  progress.end();
  const bar = (n: number): string => `[${"#".repeat(n)}${"-".repeat(30 - n)}]`;
  const first = `epoch 1 ${bar(7)} 25% 1/4 loss 2.500`;
  assertEquals(
    written(),
    `\r\x1b[Kepoch 1 ${bar(0)} 0% 0/4` +
      `\r\x1b[K${first}\r\x1b[Kval loss 3\n${first}` +
      `\r\x1b[Kepoch 1 ${bar(30)} 100% 4/4 4.00 steps/s\r\x1b[K`,
  );
});

Deno.test("the rate is that of late, and first steps that compile kernels do not count", () => {
  const { progress, wait, written } = watch(true, { total: 1000 });
  const after = (ms: number, done: number): string => {
    wait(ms);
    progress.update(done);
    return written().split("\r\x1b[K").at(-1)!.replace(/^.*] /, "");
  };
  assertEquals(after(20_000, 1), "0% 1/1000");
  assertEquals(after(30_000, 2), "0% 2/1000");
  // From here on 10 steps a second: 997 more take 99.7 s.
  assertEquals(after(100, 3), "0% 3/1000 10 steps/s 1:40 left");
  assertEquals(after(1_000, 13), "1% 13/1000 10 steps/s 1:39 left");
  // Then 2 a second: 21 steps in 6.1 s at first; ten seconds later the quick ones are forgotten.
  assertEquals(after(5_000, 23), "2% 23/1000 3.44 steps/s 4:44 left");
  assertEquals(after(5_000, 33), "3% 33/1000 2.00 steps/s 8:04 left");
  // A step that alone takes longer than that still counts.
  assertEquals(after(60_000, 34), "3% 34/1000 0.02 steps/s 16:06:00 left");
});

Deno.test("elsewhere there are plain lines now and then, and none when quiet", () => {
  const { progress, wait, written } = watch(false);
  progress.update(1);
  wait(6_000);
  progress.update(2);
  progress.note("note");
  wait(4_000);
  progress.update(3, 2);
  progress.update(4, 2);
  progress.end();
  assertEquals(written(), "note\nepoch 1 75% 3/4 0.25 steps/s loss 2.000 0:04 left\n");
  const silent = watch(true, { quiet: true });
  silent.progress.update(4);
  silent.progress.note("note");
  silent.progress.end();
  assertEquals(silent.written(), "");
});

Deno.test("errors are one line; those of the program say how to see more", () => {
  assertEquals(describeError(new InputError("a.yaml: wrong")), "a.yaml: wrong");
  assertEquals(describeError(new Deno.errors.NotFound("no\n  file")), "no file");
  assertEquals(
    describeError(new TypeError("Cannot add [2] to [3]")),
    "unexpected TypeError: Cannot add [2] to [3]; --debug shows where it comes from",
  );
  assertStringIncludes(describeError(new TypeError("x"), true), "cli_output_test.ts");
  assertEquals(describeError("text"), "text");
});

const CONFIG = new URL("../deno.json", import.meta.url).pathname;
const RUN = ["run", "--no-check", "--no-prompt", "--no-lock", "--config", CONFIG];

/** Runs a command of its own in a fresh process, with no permissions. */
async function runProcess(
  body: string,
  args: readonly string[] = [],
): Promise<{ code: number; out: string; err: string }> {
  const module = new URL("../src/cli/output.ts", import.meta.url).href;
  const errors = new URL("../src/core/errors.ts", import.meta.url).href;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(
      file,
      `import { print, runCommand } from "${module}";
       import { InputError } from "${errors}";
       const command = { name: "demo", meaning: "A demo.", options: {
         n: { type: "whole", meaning: "a number" } } } as const;
       Deno.exit(await runCommand(command, async (options) => { ${body} }));`,
    );
    const { code, stdout, stderr } = await new Deno.Command("deno", {
      args: [...RUN, file, ...args],
      stdin: "null",
    }).output();
    const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
    return { code, out: decode(stdout), err: decode(stderr) };
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("results go to standard output, errors to standard error with an exit code", async () => {
  const body = `if (options.n === 1) throw new InputError("f.yaml: seed is x");
    if (options.n === 2) null.x;
    if (options.n === 3) await Deno.readTextFile("/etc/hostname");
    print(JSON.stringify({ n: options.n }));`;
  const run = (...args: string[]): ReturnType<typeof runProcess> => runProcess(body, args);
  assertEquals(await run("--n", "7"), { code: 0, out: '{"n":7}\n', err: "" });
  assertEquals(await run("--n", "1"), { code: 1, out: "", err: "error: f.yaml: seed is x\n" });
  assertEquals(await run("--m"), {
    code: 2,
    out: "",
    err: "error: unknown option --m; did you mean --n?\n",
  });
  const help = await run("--help");
  assertEquals([help.code, help.err], [0, ""]);
  assertStringIncludes(help.out, "Usage: demo [options]\n");
  const broken = await run("--n", "2");
  assertEquals([broken.code, broken.out], [1, ""]);
  assertEquals(
    /^error: unexpected TypeError: .*--debug shows.*\n$/.test(broken.err),
    true,
    broken.err,
  );
  const traced = await run("--n", "2", "--debug");
  assertEquals(/\n +at /.test(traced.err), true, traced.err);
  const refused = await run("--n", "3");
  assertEquals(refused.code, 1);
  assertEquals(/^error: Requires read access to .*\n$/.test(refused.err), true, refused.err);
});

Deno.test("a reader that stops reading ends the command quietly", async () => {
  const module = new URL("../src/cli/output.ts", import.meta.url).href;
  const code = `import { print, runCommand } from "${module}";
    const command = { name: "demo", meaning: "", options: {} };
    Deno.exit(await runCommand(command, () => { for (let n = 0; n < 50000; n++) print("line " + n); }, []));`;
  const child = new Deno.Command("deno", {
    args: [...RUN, "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(code));
  await writer.close();
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  const [status, stderr] = await Promise.all([child.status, new Response(child.stderr).text()]);
  assertEquals([status.code, stderr], [0, ""]);
});
