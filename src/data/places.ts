/**
 * Where the places of a data set are.
 *
 * @module
 */

/** A place of a data set. */
export interface Place {
  /** Its id in the samples, from 2. */
  readonly id: number;
  /** Degrees north (WGS 84). */
  readonly latitude: number;
  /** Degrees east (WGS 84). */
  readonly longitude: number;
  /** Visits in training, where counted. */
  readonly visits?: number;
  /** What it is called, where known. */
  readonly name?: string;
}

const COLUMNS = ["id", "latitude", "longitude", "visits", "name"] as const;

/** Places as CSV, which `readPlaces` reads: degrees with seven decimals, some centimetres. */
export function formatPlaces(places: Iterable<Place>): string {
  const quoted = (name: string): string =>
    /[",\r\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;
  let text = `${COLUMNS}\n`;
  for (const { id, latitude, longitude, visits = "", name = "" } of places) {
    text += `${id},${latitude.toFixed(7)},${longitude.toFixed(7)},${visits},${quoted(name)}\n`;
  }
  return text;
}

/** The radius of the earth in metres that trackintel and scikit-learn's users take. */
export const EARTH_RADIUS = 6_371_000;

const RADIANS = Math.PI / 180;

/** Metres between two points given in degrees: the haversine formula on a sphere. */
export function distance(latA: number, lonA: number, latB: number, lonB: number): number {
  const sinLat = Math.sin((latB - latA) * RADIANS / 2);
  const sinLon = Math.sin((lonB - lonA) * RADIANS / 2);
  const a = sinLat * sinLat +
    Math.cos(latA * RADIANS) * Math.cos(latB * RADIANS) * sinLon * sinLon;
  return 2 * EARTH_RADIUS * Math.asin(Math.min(1, Math.sqrt(a)));
}
