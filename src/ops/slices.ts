/** How kernels that sum columns divide the rows: 8 columns by SLICES slices are a workgroup. */
export interface Slicing {
  readonly constants: {
    readonly SLICES: number;
    /** Turns of the loop over a slice's rows. */
    readonly ROUNDS: number;
    /** Rows of a turn. */
    readonly UNROLL: number;
  };
  /** Whether a straight-line kernel may write the loop out. */
  readonly short: boolean;
}

/**
 * Slices of at most `rows` rows; row `(round UNROLL + u) SLICES + slice` belongs to `slice`.
 *
 * @param passes Loops over the rows in one kernel; software adapters stop all of them together after
 * 65,535 turns.
 */
export function slicing(rows: number, passes: number): Slicing {
  const SLICES = rows <= 256 ? 8 : 32;
  const UNROLL = Math.max(1, Math.ceil(passes * rows / SLICES / 65000));
  const ROUNDS = Math.max(1, Math.ceil(rows / SLICES / UNROLL));
  return { constants: { SLICES, ROUNDS, UNROLL }, short: ROUNDS * UNROLL <= 16 };
}
