/**
 * Turns the weather of Seattle and New York, 2012 to 2015, into sequences: the file `data/weather.csv` of
 * the npm package vega-datasets (3.2.1, BSD-3-Clause; measured by NOAA).
 *
 *     npm pack vega-datasets@3.2.1 && tar xzf vega-datasets-3.2.1.tgz package/data/weather.csv
 *     deno run --allow-read --allow-write tests/datasets/weather.ts package/data/weather.csv data/weather
 *
 * A sequence is two weeks, a row a day, nine features a row. Its class says whether the day after is
 * `colder` by more than 1 degree, `warmer` by more, or the `same`. With `forecast` as a third argument
 * there are three numbers to predict instead: the next day's highest and lowest temperature and wind.
 * The first 60% of each city's days are for training, 20% for validation, 20% for test; no day is in two.
 *
 * @module
 */
import { parse } from "csv-parse/sync";

const DAYS = 14;
const FEATURES = [
  ...["precipitation", "temp_max", "temp_min", "wind"],
  ...["year_sin", "year_cos", "sun", "wet", "fog"],
];

interface Day {
  readonly location: string;
  readonly weather: string;
  readonly temp_max: number;
  readonly temp_min: number;
  readonly wind: number;
  readonly values: readonly number[];
}

function dayOf(row: Readonly<Record<string, string>>): Day {
  const { location, date, weather } = row;
  const [precipitation, temp_max, temp_min, wind] = FEATURES.slice(0, 4).map((name) => +row[name]);
  const year = 2 * Math.PI * (Date.parse(date) - Date.parse(date.slice(0, 4))) / (365.25 * 864e5);
  const kinds = ["sun", "rain drizzle snow", "fog"].map((kind) => +kind.includes(weather));
  const season = [Math.sin(year), Math.cos(year)].map((value) => +value.toFixed(5));
  const values = [precipitation, temp_max, temp_min, wind, ...season, ...kinds];
  return { location, weather, temp_max, temp_min, wind, values };
}

const [source, prefix, kind = "classes"] = Deno.args;
if (prefix === undefined || !["classes", "forecast"].includes(kind)) {
  console.error("usage: weather.ts WEATHER.csv PREFIX [classes|forecast]");
  Deno.exit(2);
}
const rows: Record<string, string>[] = parse(await Deno.readTextFile(source), { columns: true });
const answers = kind === "classes" ? ["label"] : ["target_max", "target_min", "target_wind"];
const lines: Record<string, string[]> = { train: [], validation: [], test: [] };
for (const [location, days] of Map.groupBy(rows.map(dayOf), (day) => day.location)) {
  const borders = [0, 0.6, 0.8, 1].map((share) => Math.floor(share * days.length));
  Object.values(lines).forEach((part, i) => {
    for (let next = borders[i] + DAYS; next < borders[i + 1]; next++) {
      const { temp_max, temp_min, wind } = days[next];
      const change = temp_max - days[next - 1].temp_max;
      const answer = kind === "classes"
        ? [change < -1 ? "colder" : change > 1 ? "warmer" : "same"]
        : [temp_max, temp_min, wind];
      for (const { values } of days.slice(next - DAYS, next)) {
        part.push([`${location} ${next}`, ...values, ...answer].join());
      }
    }
  });
}
for (const [split, part] of Object.entries(lines)) {
  const head = ["sequence", ...FEATURES, ...answers].join();
  await Deno.writeTextFile(`${prefix}_${split}.csv`, [head, ...part, ""].join("\n"));
  console.log(`${prefix}_${split}.csv: ${part.length / DAYS} sequences`);
}
