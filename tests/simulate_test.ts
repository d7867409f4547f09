import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { floorAnswers, floors } from "../src/data/floors.ts";
import { checkSamples, makeSample, type Sample } from "../src/data/samples.ts";
import { simulate } from "../src/data/simulate.ts";

const whole = simulate();
const splits = [whole.train, whole.validation, whole.test] as const;

function placesOf(samples: readonly Sample[]): Set<number> {
  return new Set(samples.flatMap(({ X, Y }) => [...X, Y!]));
}

/** Visits by person, told apart by when they began and ended: what consecutive histories share. */
function history({ X, weekday_X, start_min_X, dur_X, diff }: Sample, back = 0): string[] {
  return Array.from(
    X,
    (x, i) => [x, weekday_X[i], start_min_X[i], dur_X[i], diff[i] + back].join(),
  );
}

Deno.test("simulate: the same seed gives the same data, another seed other data", () => {
  const options = { people: 3, days: 40, places: 60 };
  assertEquals(simulate({ ...options, seed: 5 }), simulate({ ...options, seed: 5 }));
  assertNotEquals(simulate({ ...options, seed: 5 }).train, simulate({ ...options, seed: 6 }).train);
});

Deno.test("simulate: the default has about GeoLife's size", () => {
  for (
    const { train, validation, test, totalLocNum, totalUserNum } of [whole, simulate({ seed: 1 })]
  ) {
    const total = train.length + validation.length + test.length;
    assert(Math.abs(total - 14260) < 0.15 * 14260, `${total} samples`);
    assert(Math.abs(totalLocNum - 1187) < 0.15 * 1187, `${totalLocNum} place ids`);
    assertEquals(totalUserNum, 46);
    assert(Math.abs(train.length / total - 0.6) < 0.05, `${train.length} of ${total} to train`);
    assert(Math.abs(test.length / total - 0.2) < 0.05, `${test.length} of ${total} to test`);
    const unseen = test.filter(({ Y }) => Y === 1).length / test.length;
    assert(unseen > 0.1 && unseen < 0.3, `${unseen} unseen`);
    const visits = train.reduce((sum, { X }) => sum + X.length, 0) / train.length;
    assert(visits > 14 && visits < 24, `${visits} visits a history`);
  }
});

Deno.test("simulate: samples pass the checks that files pass", () => {
  for (const samples of splits) {
    checkSamples(samples, { file: "simulated", ...whole });
    samples.forEach((sample, i) => {
      assertEquals(makeSample((key) => sample[key as keyof Sample], `sample ${i}`), sample);
    });
  }
});

Deno.test("simulate: histories are 3 or more visits of one person in the 7 days before", () => {
  for (const sample of splits.flat()) {
    const { X, user_X, weekday_X, start_min_X, dur_X, diff } = sample;
    assert(X.length >= 3);
    assert(user_X.every((user) => user === user_X[0]));
    assert(diff.every((days) => days >= 0 && days <= 7));
    const today = weekday_X[0] + diff[0];
    for (let i = 0; i < X.length; i++) {
      assertEquals((weekday_X[i] + diff[i] - today) % 7, 0);
      assert(dur_X[i] >= 30 && Number.isInteger(dur_X[i]));
      if (i === 0) continue;
      const between = 1440 * (diff[i - 1] - diff[i]) + start_min_X[i] - start_min_X[i - 1];
      assert(between >= dur_X[i - 1], "a visit begins before the one before has ended");
    }
  }
});

Deno.test("simulate: a sample's target is the last visit of the person's next sample", () => {
  for (const samples of splits) {
    for (let i = 1; i < samples.length; i++) {
      if (samples[i].user_X[0] !== samples[i - 1].user_X[0]) continue;
      // With 3 visits it may be the first after a week with too few, which were no targets.
      if (samples[i].X.length === 3) continue;
      assertEquals(samples[i].X.at(-1), samples[i - 1].Y);
      // All before it are visits that the history before has, as many days further back.
      const passed = samples[i].diff.at(-1)!;
      const before = new Set(history(samples[i - 1], passed));
      assert(history(samples[i]).slice(0, -1).every((visit) => before.has(visit)));
    }
  }
});

Deno.test("simulate: known places are those of the training days, 1 is only seen later", () => {
  const known = placesOf(whole.train);
  assertEquals(known.has(1), false);
  assertEquals(whole.places.map(({ id }) => id), whole.places.map((_, i) => 2 + i));
  assertEquals(whole.totalLocNum, 2 + whole.places.length);
  for (const id of known) assert(id >= 2 && id < whole.totalLocNum);
  // Visits too early for a history may give ids that no training sample has.
  assert(known.size > 0.9 * whole.places.length);
  assert(placesOf(whole.test).has(1));
  for (const { latitude, longitude } of whole.places) {
    assert(Math.abs(latitude - 46.95) < 1 && Math.abs(longitude - 7.45) < 1.5);
  }
});

Deno.test("simulate: every person has the days in order: train, validation, test", () => {
  // The splits share no visit: histories begin anew, so each first history of a split has 3 visits.
  for (const samples of splits) {
    for (const ofPerson of Map.groupBy(samples, ({ user_X }) => user_X[0]).values()) {
      assertEquals(ofPerson[0].X.length, 3);
    }
    const users = new Set(samples.map(({ user_X }) => user_X[0]));
    assert(users.size >= 43 && Math.max(...users) <= 45 && Math.min(...users) >= 1);
  }
});

Deno.test("simulate: there is more to learn than the most visited place", () => {
  const { train, test } = whole;
  const floor = floorAnswers(floors[0], train, test).ranks.filter((rank) => rank === 1).length;
  // What followed this place most often in training, with that person, by hour and day off or not.
  const after = Map.groupBy(train, (sample) => context(sample));
  const guess = new Map([...after].map(([key, samples]) => {
    const counts = Map.groupBy(samples, ({ Y }) => Y!);
    return [key, [...counts].sort((a, b) => b[1].length - a[1].length)[0][0]];
  }));
  const right = test.filter((sample) => guess.get(context(sample)) === sample.Y).length;
  assert(right > 1.2 * floor, `${right} against ${floor} of ${test.length}`);
});

function context({ X, user_X, weekday_X, start_min_X, dur_X }: Sample): string {
  const left = start_min_X.at(-1)! + dur_X.at(-1)!;
  const dayOff = (weekday_X.at(-1)! + Math.floor(left / 1440)) % 7 >= 5;
  return [user_X[0], X.at(-1), dayOff, Math.floor(left % 1440 / 180)].join();
}

Deno.test("simulate: any size works, options out of range are refused", () => {
  const small = simulate({ people: 1, days: 20, places: 10, seed: 0 });
  assertEquals(small.totalUserNum, 2);
  checkSamples(small.test, { file: "simulated", ...small });
  const many = simulate({ people: 120, days: 20, places: 300 });
  assertEquals(new Set(many.train.map(({ user_X }) => user_X[0])).size > 100, true);
  for (const options of [{ people: 0 }, { days: 19 }, { places: 2.5 }, { seed: -1 }]) {
    assertThrows(() => simulate(options), RangeError);
  }
});
