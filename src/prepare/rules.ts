/** The rules by which raw data becomes samples. */
export interface Rules {
  /** Metres from its first fix within which a stay goes on: it ends at this distance or farther. */
  readonly stayMeters: number;
  /** Minutes that a stay takes at least. */
  readonly stayMinutes: number;
  /** Minutes without a fix, more than which end a stay without result. */
  readonly gapMinutes: number;
  /** Whether a person's last stay counts, though nobody has seen it end. */
  readonly includeLast: boolean;
  /** Minutes from which a stay counts as an activity. */
  readonly activityMinutes: number;
  /** Users must be tracked over more whole days than these; 0: everyone. */
  readonly minDays: number;
  /** Users must be tracked for at least so many whole weeks; 0: everyone. */
  readonly minWeeks: number;
  /** Metres between stays of one place, at most (DBSCAN's epsilon, haversine). */
  readonly placeMeters: number;
  /** Stays near one another, itself included, that make a place (DBSCAN's minimum of samples). */
  readonly placeSamples: number;
  /** Minutes between two stays at one place, up to which they are one. */
  readonly mergeMinutes: number;
  /** Minutes to which longer stays are cut. */
  readonly maxMinutes: number;
  /** Per cent of each user's days that are for training, validation and testing: 100 together. */
  readonly split: readonly [train: number, validation: number, test: number];
  /** Days of history before a target; the first so many days of a split have no target. */
  readonly historyDays: number;
  /** Visits that a history has at least. */
  readonly minVisits: number;
  /** Whether users need samples in all three parts; if not, in training. */
  readonly allParts: boolean;
}

/**
 * The rules of the reference for GeoLife: `preprocess/geolife.py` of Hong, Zhang, Schindler and Raubal,
 * "Context-aware multi-head self-attentional neural network model for next location prediction",
 * Transportation Research C 156 (2023).
 *
 * Its filter of users averages the tracking quality over sliding windows of ten weeks, so that only
 * users tracked for ten weeks have an average, whatever it is: that is `minWeeks`, and it implies
 * `minDays`.
 */
export const referenceRules: Rules = {
  stayMeters: 200,
  stayMinutes: 30,
  gapMinutes: 24 * 60,
  includeLast: true,
  activityMinutes: 25,
  minDays: 50,
  minWeeks: 10,
  placeMeters: 20,
  placeSamples: 2,
  mergeMinutes: 1,
  maxMinutes: 2879,
  split: [60, 20, 20],
  historyDays: 7,
  minVisits: 3,
  allParts: true,
};
