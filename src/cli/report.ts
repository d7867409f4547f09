import { dirname } from "node:path";
import { InputError } from "../core/errors.ts";
import type { Place } from "../data/places.ts";
import { type Device, openDevice } from "../gpu/device.ts";
import { answer, type Answered, judge, type Judged } from "../report/answers.ts";
import { modelReport, nextLocationReport } from "../report/report.ts";
import { readRun, type Run } from "../report/run.ts";
import { MOST_RUNS } from "../report/sections/compare.ts";
import { mostVisible } from "../report/sections/map.ts";
import { taskOf } from "../tasks/tasks.ts";
import { type CommonConfig, withOverrides } from "../train/config.ts";
import { loadPlaces } from "../train/data.ts";
import { fileOf, writeFile } from "../train/run_directory.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { print, type Progress, runCommand, startProgress } from "./output.ts";

/** What `deno task report` takes. */
export const command = {
  name: "deno task report",
  meaning:
    "A page about a training run, one HTML file: whether the model beats guessing, where it is right\n" +
    "and wrong, how it was trained. The model is run anew for it.",
  options: {
    run: { type: "text", value: "DIR", meaning: "run directory of deno task train" },
    out: {
      type: "text",
      value: "FILE",
      meaning: "where to write (.html); default DIR/report.html",
    },
    compare: {
      type: "text",
      many: true,
      value: "DIR",
      meaning: "other runs to put beside it",
    },
    split: {
      type: "text",
      choices: ["test", "validation"],
      default: "test",
      meaning: "which samples",
    },
    data: {
      type: "text",
      value: "PREFIX|DIR",
      meaning: "sample files of all the runs; default those of their configurations",
    },
    user: {
      type: "whole",
      min: 1,
      meaning: "the person on the map; default who is best seen there",
    },
    quiet: { type: "flag", short: "q", meaning: "no progress" },
  },
  examples: [
    "deno task report --run runs/simulated_2026-01-31_12-00-00",
    "deno task report --run runs/a --compare runs/b runs/c --out compared.html",
  ],
} as const satisfies Command;

async function main(options: Options<typeof command>): Promise<void> {
  const { run: path, compare } = options;
  if (path === undefined) throw new UsageError("--run DIR is needed");
  const out = options.out ?? `${path.replace(/\/+$/, "")}/report.html`;
  if (!/\.html?$/i.test(out)) throw new UsageError(`--out is ${out}: its name must end in .html`);
  if (compare.length >= MOST_RUNS) {
    throw new UsageError(
      `--compare has ${compare.length} runs: at most ${MOST_RUNS - 1} are told apart`,
    );
  }
  const runs: Run[] = [];
  for (const each of [path, ...compare]) runs.push(await readRun(each));
  await checkFolder(out);

  const task = taskOf(runs[0].config);
  const stranger = runs.find(({ config }) => taskOf(config) !== task);
  if (stranger !== undefined) {
    throw new UsageError(
      `--compare: ${stranger.directory.path} is a ${taskOf(stranger.config).name}, but ${path} a ` +
        `${task.name}: only runs of one model go together`,
    );
  }
  const page = task.name === "next_location"
    ? await nextLocationPage(runs, options)
    : await modelPage(runs, options);
  await writeFile(out, page);
  print(out);
}

/** The model is not run for a page that has no place. */
async function checkFolder(out: string): Promise<void> {
  const folder = dirname(out);
  if ((await Deno.stat(folder).catch(() => undefined))?.isDirectory) return;
  throw new InputError(`${out}: there is no folder ${folder}; make it, or choose another --out`);
}

const configOf = ({ config }: Run, { data }: Options<typeof command>): CommonConfig =>
  withOverrides(config, { data });

const weightsOf = ({ directory }: Run): string => fileOf(directory, "weights");

/** A report of a model that has no sections of its own. */
async function modelPage(runs: readonly Run[], options: Options<typeof command>): Promise<string> {
  if (options.user !== undefined) {
    throw new UsageError("--user: there is a map only for the next_location model");
  }
  using device = await openDevice();
  return modelReport(runs[0], await answerOf(device, runs[0], options), runs.slice(1));
}

async function nextLocationPage(
  runs: readonly Run[],
  options: Options<typeof command>,
): Promise<string> {
  const places = await loadPlaces(configOf(runs[0], options));
  using device = await openDevice();
  const answers: Judged[] = [];
  for (const run of runs) {
    const answered = await answerOf(device, run, options);
    answers.push(
      await withProgress(
        `${run.name}: probabilities`,
        options,
        (onBatch) => judge(device, answered, weightsOf(run), onBatch),
      ),
    );
  }
  const [judged, ...others] = answers;
  const byId = new Map(places.map((place) => [place.id, place]));
  if (options.user !== undefined) checkUser(options.user, judged, byId);
  return nextLocationReport({
    run: runs[0],
    judged,
    others: others.map((other, i) => ({ run: runs[i + 1], judged: other })),
    places,
    person: options.user ?? mostVisible(judged, byId),
  });
}

async function answerOf(
  device: Device,
  run: Run,
  options: Options<typeof command>,
): Promise<Answered> {
  const { split } = options;
  try {
    return await withProgress(
      `${run.name}: ${split}`,
      options,
      (onBatch) => answer(device, configOf(run, options), weightsOf(run), split, onBatch),
    );
  } catch (error) {
    throw withRemedy(error, run);
  }
}

async function withProgress<T>(
  label: string,
  { quiet }: { readonly quiet: boolean },
  work: (onBatch: (done: number, total: number) => void) => Promise<T>,
): Promise<T> {
  let progress: Progress | undefined;
  try {
    return await work((done, total) => {
      progress ??= startProgress({ label, total, quiet });
      progress.update(done);
    });
  } finally {
    progress?.end();
  }
}

/** A run outlives its data: whoever moved them can say where they are. */
function withRemedy(error: unknown, { directory }: Run): unknown {
  if (!(error instanceof InputError) || !/there is no such/.test(error.message)) return error;
  return new InputError(
    `${error.message}; the data of ${directory.path} are not where they were: name them with --data`,
    { cause: error },
  );
}

/** The person on the map must have something there. */
function checkUser(user: number, { samples, split }: Judged, places: ReadonlyMap<number, Place>) {
  if (places.size === 0) {
    throw new UsageError("--user: there is no map, since no places are beside the data");
  }
  const own = samples.filter(({ user_X }) => user_X[user_X.length - 1] === user);
  if (own.some(({ Y }) => places.has(Y))) return;
  throw new UsageError(
    own.length === 0
      ? `--user ${user}: that person has no ${split} samples`
      : `--user ${user}: that person's ${own.length} ${split} targets are at places not on the map`,
  );
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
