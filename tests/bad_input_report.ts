/**
 * Prints what the commands answer to bad inputs: `deno run -A tests/bad_input_report.ts`.
 *
 * @module
 */
import { badInputs } from "./bad_input.ts";
import { task, tinyConfig, writeTown } from "./commands.ts";

const folder = await Deno.makeTempDir({ prefix: "gatewise_" });
try {
  const [run, config] = [`${folder}/run`, `${folder}/config.yaml`];
  await Deno.writeTextFile(config, tinyConfig());
  const town = await writeTown(folder);
  await task("train", ["--config", config, "--data", town, "--out", run, "--epochs", "1"]);
  const bad = `${folder}/bad`;
  await Deno.mkdir(bad);
  console.log("| input | answer | exit code |\n|---|---|---|");
  for (const { what, task: name, args, start } of await badInputs(bad, run)) {
    const { code, err } = await task(name, args, start);
    const lines = err.trimEnd().split("\n").filter((line) => line.startsWith("error: "));
    const answer = lines.join("<br>").replaceAll(`${bad}/`, "").replaceAll(`${folder}/`, "");
    console.log(`| ${what} | ${answer.replaceAll("|", "\\|")} | ${code} |`);
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
