import { describe } from "../core/describe.ts";
import { InputError } from "../core/errors.ts";
import type { Place } from "./places.ts";
import { dataPrefix } from "./read_samples.ts";
import { columnIn, readTable } from "./table.ts";

/**
 * Reads places from CSV with columns `id`, `latitude` and `longitude`, perhaps also `visits` and
 * `name`, in any order.
 *
 * @throws {InputError} If the file cannot be read, a column is missing, a value cannot be, or an id is
 * there twice; the message names file and line.
 */
export async function readPlaces(path: string): Promise<readonly Place[]> {
  const table = await readTable(path);
  for (const name of ["id", "latitude", "longitude"]) columnIn(table, name);
  const seen = new Set<number>();
  return table.rows.map(({ line, values }) => {
    const where = `${path}: line ${line}`;
    const { id: text, visits, name } = values;
    const id = Number(text);
    if (text.trim() === "" || !Number.isSafeInteger(id) || id < 2) {
      throw new InputError(`${where}: id is ${describe(text)}: it must be a whole number from 2`);
    }
    if (seen.has(id)) throw new InputError(`${where}: id ${id} is there twice`);
    seen.add(id);
    return {
      id,
      ...readPosition(values, where),
      ...(visits ? { visits: Number(visits) } : {}),
      ...(name ? { name } : {}),
    };
  });
}

/**
 * A position from the columns `latitude` and `longitude`.
 *
 * @throws {InputError} If they are no degrees.
 */
export function readPosition(
  { latitude, longitude }: Readonly<Record<string, string>>,
  where: string,
): Pick<Place, "latitude" | "longitude"> {
  const degrees = (text: string, name: string, limit: number): number => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isFinite(value) || Math.abs(value) > limit) {
      throw new InputError(
        `${where}: ${name} is ${describe(text)}: it must be degrees from -${limit} to ${limit}`,
      );
    }
    return value;
  };
  return {
    latitude: degrees(latitude, "latitude", 90),
    longitude: degrees(longitude, "longitude", 180),
  };
}

/**
 * The file of places beside the samples of a data set, `<prefix>_places.csv`.
 *
 * @param dataPath A prefix or a directory, as `findSplits` takes it.
 * @returns Its path, or undefined if there is none.
 */
export async function findPlaces(dataPath: string): Promise<string | undefined> {
  const path = `${await dataPrefix(dataPath)}_places.csv`;
  const info = await Deno.stat(path).catch(() => undefined);
  return info?.isFile ? path : undefined;
}
