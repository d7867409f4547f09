import { dirname, join } from "node:path";
import { FORMATS } from "../prepare/input.ts";
import { prepare, type RuleCount } from "../prepare/prepare.ts";
import { referenceRules, type Rules } from "../prepare/rules.ts";
import { type Command, type Options, UsageError } from "./options.ts";
import { print, type Progress, runCommand, startProgress } from "./output.ts";

const rule = <T extends "whole" | "number">(type: T, value: number, meaning: string) =>
  ({ type, min: 0, default: value, meaning }) as const;

const command = {
  name: "deno task prepare",
  meaning:
    "Samples for training from GPS tracks, check-ins or staypoints, by the reference's rules.\n" +
    "Writes PREFIX_train.jsonl.gz, _validation, _test, PREFIX_places.csv and PREFIX_manifest.json.",
  options: {
    input: { type: "text", value: "PATH", meaning: "file or folder of raw data" },
    format: {
      type: "text",
      value: "FORMAT",
      choices: ["auto", ...FORMATS],
      default: "auto",
      meaning: FORMATS.join(", "),
    },
    out: { type: "text", value: "PREFIX", meaning: "prefix of the files to write" },
    force: { type: "flag", meaning: "replace files that are there" },
    columns: {
      type: "text",
      value: "NAMES",
      meaning: "user=NAME,... of CSV, Parquet: user, time, lat, lon, end, place",
    },
    kind: {
      type: "text",
      value: "KIND",
      choices: ["auto", "fixes", "visits"],
      default: "auto",
      meaning: "rows are fixes, or visits (with end or place)",
    },
    timezone: {
      type: "text",
      value: "ZONE",
      meaning: "people's time, an IANA name (default UTC; Foursquare: its own)",
    },
    "bad-rows": {
      type: "text",
      choices: ["stop", "skip"],
      default: "stop",
      meaning: "what to do about rows that hold no fix or visit",
    },
    "valid-ids": {
      type: "text",
      value: "FILE",
      meaning: "of staypoints: JSON list of the ids that may be targets",
    },
    "stay-meters": rule("number", referenceRules.stayMeters, "a stay ends at this distance"),
    "stay-minutes": rule("number", referenceRules.stayMinutes, "and takes at least so long"),
    "gap-minutes": rule("number", referenceRules.gapMinutes, "longer gaps end it without result"),
    last: {
      type: "text",
      choices: ["include", "leave"],
      default: "include",
      meaning: "a person's last stay, which nobody has seen end",
    },
    "activity-minutes": rule("number", referenceRules.activityMinutes, "stays that count: least"),
    "min-days": rule("whole", referenceRules.minDays, "users tracked over so many days; 0: all"),
    "min-weeks": rule("whole", referenceRules.minWeeks, "and for so many weeks; 0: all"),
    "place-meters": rule("number", referenceRules.placeMeters, "DBSCAN's epsilon, over all users"),
    "place-samples": rule("whole", referenceRules.placeSamples, "DBSCAN's least stays of a place"),
    "merge-minutes": rule("number", referenceRules.mergeMinutes, "stays at one place become one"),
    "max-minutes": {
      ...rule("whole", referenceRules.maxMinutes, "longer durations are cut"),
      max: 2879,
    },
    split: {
      type: "text",
      value: "PER_CENT",
      default: referenceRules.split.join("/"),
      meaning: "of each user's days: training/validation/test",
    },
    "history-days": rule("whole", referenceRules.historyDays, "days of history before a target"),
    "min-visits": {
      ...rule("whole", referenceRules.minVisits, "least visits in a history"),
      min: 1,
    },
    users: {
      type: "text",
      value: "WHERE",
      choices: ["in-all-parts", "in-training"],
      default: "in-all-parts",
      meaning: "where users need samples, or in-training",
    },
    memory: {
      type: "number",
      min: 0.25,
      default: 1,
      meaning: "GiB for the database; beyond, it works on disk",
    },
    temporary: { type: "text", value: "DIR", meaning: "folder for it (default the system's)" },
    quiet: { type: "flag", short: "q", meaning: "no progress" },
    json: { type: "flag", meaning: "print the manifest" },
  },
  examples: [
    "deno task prepare --input geolife/Data --out data/geolife",
    "deno task prepare --input checkins.csv --columns user=uid,time=at,lat=y,lon=x,place=venue \\\n" +
    "    --timezone America/New_York --out data/town",
  ],
} as const satisfies Command;

function rulesOf(options: Options<typeof command>): Rules {
  const split = options.split.split("/").map(Number);
  const sum = split.reduce((a, b) => a + b, 0);
  if (split.length !== 3 || !split.every((part) => part > 0) || Math.abs(sum - 100) > 1e-9) {
    throw new UsageError(
      `--split is ${options.split}: it must be three per cents that make 100: 60/20/20`,
    );
  }
  return {
    stayMeters: options["stay-meters"],
    stayMinutes: options["stay-minutes"],
    gapMinutes: options["gap-minutes"],
    includeLast: options.last === "include",
    activityMinutes: options["activity-minutes"],
    minDays: options["min-days"],
    minWeeks: options["min-weeks"],
    placeMeters: options["place-meters"],
    placeSamples: options["place-samples"],
    mergeMinutes: options["merge-minutes"],
    maxMinutes: options["max-minutes"],
    split: split as unknown as Rules["split"],
    historyDays: options["history-days"],
    minVisits: options["min-visits"],
    allParts: options.users === "in-all-parts",
  };
}

const COLUMNS = ["user", "time", "lat", "lon", "end", "place"];

function columnsOf(text: string | undefined): Readonly<Record<string, string>> {
  if (text === undefined) return {};
  const pairs = text.split(",").map((pair) => pair.split("=").map((part) => part.trim()));
  const wrong = pairs.find(([key, name]) => !COLUMNS.includes(key) || !name);
  if (wrong !== undefined) {
    throw new UsageError(
      `--columns has ${wrong.join("=")}: write KEY=NAME, where KEY is ${COLUMNS.join(", ")}`,
    );
  }
  return Object.fromEntries(pairs);
}

async function main(options: Options<typeof command>): Promise<void> {
  const { input, out, quiet, kind } = options;
  if (input === undefined || out === undefined) {
    throw new UsageError("--input PATH and --out PREFIX are needed");
  }
  if (options["valid-ids"] !== undefined && !["auto", "staypoints"].includes(options.format)) {
    throw new UsageError(`--valid-ids goes with --format staypoints, not ${options.format}`);
  }
  let bar: Progress | undefined;
  const note = (text: string): void => {
    if (!quiet) console.error(text);
  };
  try {
    const manifest = await prepare({
      input,
      out,
      format: options.format as typeof FORMATS[number] | "auto",
      rules: rulesOf(options),
      columns: columnsOf(options.columns),
      kind: kind === "auto" ? undefined : kind as "fixes" | "visits",
      badRows: options["bad-rows"] as "stop" | "skip",
      timezone: options.timezone,
      validIds: options["valid-ids"],
      memory: options.memory,
      temporary: options.temporary,
      force: options.force,
    }, {
      note,
      fixes(done, total): void {
        bar ??= startProgress({ total, label: "stays", quiet });
        bar.update(done);
        if (done === total) bar.end();
      },
    });
    if (options.json) return print(JSON.stringify(manifest, null, 2));
    print(formatCounts(manifest.counts));
    const { totalLocNum, totalUserNum } = manifest.tables;
    print(`${totalLocNum - 2} places, ${totalUserNum - 1} users; local time: ${manifest.timezone}`);
    for (const { file, bytes } of manifest.outputs) {
      print(`${join(dirname(out), file)}  ${bytes.toLocaleString("en-US")} bytes`);
    }
  } finally {
    bar?.end();
  }
}

function formatCounts(counts: readonly RuleCount[]): string {
  const rows = [
    ["", "kept", "dropped", ""],
    ...counts.map(({ rule, of, kept, dropped }) => [
      rule,
      kept.toLocaleString("en-US"),
      dropped.toLocaleString("en-US"),
      of,
    ]),
  ];
  const widths = [0, 1, 2].map((i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map(([rule, kept, dropped, of]) =>
    [rule.padEnd(widths[0]), kept.padStart(widths[1]), dropped.padStart(widths[2]), of]
      .join("  ").trimEnd()
  ).join("\n");
}

if (import.meta.main) Deno.exit(await runCommand(command, main));
