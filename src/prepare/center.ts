const RADIANS = Math.PI / 180;

/** The middle of points in degrees; longitudes are averaged as angles, so that 179 and -179 give 180. */
export interface Center {
  /** Takes one more point in. */
  readonly add: (lat: number, lon: number) => void;
  /** The middle of all points so far, at least one. */
  readonly middle: () => { readonly lat: number; readonly lon: number };
}

/** Starts averaging points. */
export function center(): Center {
  let [count, lats, sin, cos] = [0, 0, 0, 0];
  return {
    add(lat, lon): void {
      count++;
      lats += lat;
      sin += Math.sin(lon * RADIANS);
      cos += Math.cos(lon * RADIANS);
    },
    middle: () => ({ lat: lats / count, lon: Math.atan2(sin, cos) / RADIANS }),
  };
}
