import KDBush from "kdbush";
import { distance, EARTH_RADIUS } from "../data/places.ts";
import { type Center, center } from "./center.ts";

/** A point in degrees. */
export interface Point {
  /** Degrees north. */
  readonly lat: number;
  /** Degrees east. */
  readonly lon: number;
}

/**
 * Groups points by density: DBSCAN (Ester et al., 1996) with haversine distances, numbered as
 * scikit-learn's `DBSCAN` does. The neighbours come from an index (`kdbush`) of boxes in degrees, and
 * each is then measured exactly. Memory is linear in the points; so is time, times a place's points.
 *
 * Own code on top of the index, since `@turf/clusters-dbscan` keeps every neighbour's neighbours: its
 * memory grows with the square of a place's visits, and past about 100,000 it fails.
 *
 * @param meters Neighbours are at most so far apart.
 * @param samples Neighbours, itself included, that make a point part of a group's core.
 * @returns Number of each point's group, from 0 in the order of the points, or -1: in no group.
 */
export function cluster(points: readonly Point[], meters: number, samples: number): Int32Array {
  const groups = new Int32Array(points.length).fill(-1);
  if (points.length === 0) return groups;
  const neighbours = neighbourhoods(points, meters);
  const visited = new Uint8Array(points.length);
  let group = 0;
  for (let i = 0; i < points.length; i++) {
    if (visited[i] || groups[i] >= 0) continue;
    const pending = [i];
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      visited[at] = 1;
      const near = neighbours(at);
      if (near.length < samples) continue;
      groups[at] = group;
      for (const other of near) {
        if (groups[other] >= 0) continue;
        groups[other] = group;
        if (!visited[other]) pending.push(other);
      }
    }
    if (groups[i] >= 0) group++;
  }
  return groups;
}

/** Finds the numbers of the points within so many metres of one, itself included, in their order. */
function neighbourhoods(points: readonly Point[], meters: number): (i: number) => number[] {
  const index = new KDBush(points.length);
  for (const { lat, lon } of points) index.add(lon, lat);
  index.finish();
  // The boxes are a little too large for rounding's sake: each point in them is measured.
  const angle = meters / EARTH_RADIUS * (1 + 1e-9) + 1e-12;
  const height = angle * 180 / Math.PI;
  return (i) => {
    const { lat, lon } = points[i];
    const cosine = Math.cos(Math.PI / 180 * lat);
    const width = Math.sin(angle) < cosine && angle < Math.PI / 2
      ? Math.asin(Math.sin(angle) / cosine) * 180 / Math.PI
      : 180;
    // Beyond 180 degrees east lie the points at -180.
    const turns = [0, ...(lon + width > 180 ? [-360] : []), ...(lon - width < -180 ? [360] : [])];
    const found = new Set(
      turns.flatMap((turn) =>
        index.range(lon + turn - width, lat - height, lon + turn + width, lat + height)
      ),
    );
    return [...found]
      .filter((j) => distance(lat, lon, points[j].lat, points[j].lon) <= meters)
      .sort((a, b) => a - b);
  };
}

/** The middle of each place's points, by the place's number. */
export function placeCenters(
  points: readonly Point[],
  places: ArrayLike<number>,
): ReadonlyMap<number, Point> {
  const centers = new Map<number, Center>();
  points.forEach(({ lat, lon }, i) => {
    const place = places[i];
    if (!centers.has(place)) centers.set(place, center());
    centers.get(place)!.add(lat, lon);
  });
  return new Map([...centers].map(([place, { middle }]) => [place, middle()]));
}
