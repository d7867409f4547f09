/**
 * Writes GPS fixes of made-up people, to measure `deno task prepare` with; the same numbers always give
 * the same file: `deno run --allow-write tests/generate_fixes.ts OUT.csv PEOPLE FIXES_PER_PERSON`.
 *
 * Everybody has a home and a place of work, and shares ten places to go out to; there is a fix every 75
 * seconds with an error of some metres, and the fixes of all people are in order of time.
 *
 * @module
 */
import { foldIn, philox, randomKey } from "../src/core/random.ts";

const [out, people, fixes] = [Deno.args[0], Number(Deno.args[1]), Number(Deno.args[2])];
const key = randomKey(1);
const START = Date.UTC(2024, 0, 1);
const SECONDS = 75;
/** Degrees of about a metre. */
const METRE = 1e-5;
const TRAVEL_HOURS = 0.5;

type Position = readonly [lat: number, lon: number];

const place = (n: number): Position => {
  const [a, b] = philox(foldIn(key, 1).data, [n, 0, 0, 0]);
  return [39.8 + 0.3 * a / 2 ** 32, 116.2 + 0.4 * b / 2 ** 32];
};
const outings = Array.from({ length: 10 }, (_, i) => place(i));
const homes = Array.from({ length: people }, (_, i) => place(1000 + 2 * i));
const works = Array.from({ length: people }, (_, i) => place(1001 + 2 * i));

/** Where a person is at an hour of a day, 0 to 24, and is at home at both ends. */
function positionAt(person: number, day: number, hour: number): Position {
  const [a, b, c] = philox(foldIn(key, 2).data, [day, person, 0, 0]).map((word) => word / 2 ** 32);
  const outing = outings[Math.floor(10 * c)];
  const stops = [
    { until: 7 + 2 * a, at: homes[person] },
    { until: 16 + 2 * b, at: works[person] },
    { until: 19 + 2 * c, at: outing },
    { until: Infinity, at: homes[person] },
  ];
  const i = stops.findIndex(({ until }) => hour < until);
  if (i === 0) return stops[0].at;
  const part = Math.min(1, (hour - stops[i - 1].until) / TRAVEL_HOURS);
  const [[lat0, lon0], [lat1, lon1]] = [stops[i - 1].at, stops[i].at];
  return [lat0 + part * (lat1 - lat0), lon0 + part * (lon1 - lon0)];
}

using file = Deno.openSync(out, { write: true, create: true, truncate: true });
const encoder = new TextEncoder();
const noise = foldIn(key, 3).data;
let lines = "time,lon,lat,user\n";
for (let step = 0; step < fixes; step++) {
  const time = START + 1000 * SECONDS * step;
  const [day, hour] = [Math.floor((time - START) / 864e5), ((time - START) % 864e5) / 36e5];
  const stamp = new Date(time).toISOString();
  for (let person = 0; person < people; person++) {
    const [lat, lon] = positionAt(person, day, hour);
    const [a, b, c, d] = philox(noise, [step, person, 0, 0]);
    const north = lat + 5 * METRE * ((a + b) / 2 ** 32 - 1);
    const east = lon + 5 * METRE * ((c + d) / 2 ** 32 - 1);
    lines += `${stamp},${east.toFixed(6)},${north.toFixed(6)},${person}\n`;
  }
  if (lines.length > 1 << 20 || step === fixes - 1) {
    let rest = encoder.encode(lines);
    while (rest.length > 0) rest = rest.subarray(file.writeSync(rest));
    lines = "";
  }
}
