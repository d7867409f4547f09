import { assertEquals, assertThrows } from "@std/assert";
import {
  initialStopping,
  observe,
  type StoppingDecision,
  type StoppingOptions,
} from "../src/train/early_stopping.ts";

/** The decisions after each loss of a run. */
function follow(losses: readonly number[], options?: StoppingOptions): StoppingDecision[] {
  let state = initialStopping;
  return losses.map((loss) => {
    const decision = observe(state, loss, options);
    state = decision.state;
    return decision;
  });
}

/** A run in short: `+` improved, `.` went on, `r` reduced, `s` stopped. */
function shape(losses: readonly number[], options?: StoppingOptions): string {
  return follow(losses, options).map(({ improved, action }) =>
    improved ? "+" : { continue: ".", reduce: "r", stop: "s" }[action]
  ).join("");
}

Deno.test("three epochs without improvement trigger; the third trigger stops", () => {
  assertEquals(shape([5, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]), "++..r..r..s");
  // An improvement starts the count again, but does not give a reduction back.
  assertEquals(shape([5, 6, 6, 4, 6, 6, 6, 3, 9, 9, 9, 2, 9, 9, 9]), "+..+..r+..r+..s");
});

Deno.test("an improvement is a loss below the best by more than delta", () => {
  assertEquals(shape([1, 0.9995, 0.998]), "+.+");
  // Small steps add up: each is measured from the best, not from the epoch before.
  assertEquals(shape([1, 0.9995, 0.9988]), "+.+");
  assertEquals(shape([1, 0.75, 0.5], { delta: 0.25 }), "+.+");
  assertEquals(shape([1, 0.999999], { delta: 0 }), "++");
});

Deno.test("patience and the number of reductions are options", () => {
  assertEquals(shape([1, 1, 1, 1], { patience: 1 }), "+rrs");
  assertEquals(shape([1, 1, 1], { patience: 2, maxReductions: 0 }), "+.s");
});

Deno.test("the best loss is kept through reductions", () => {
  const states = follow([5, 4, 4.5, 4.5, 4.5, 4.2]).map(({ state }) => state);
  assertEquals(states.map(({ best }) => best), [5, 4, 4, 4, 4, 4]);
  assertEquals(states.map(({ waited }) => waited), [0, 0, 1, 2, 0, 1]);
  assertEquals(states.map(({ reductions }) => reductions), [0, 0, 0, 0, 1, 1]);
});

Deno.test("a loss that is not a number never improves, and with no best weights training stops", () => {
  assertEquals(shape([5, NaN, NaN, NaN]), "+..r");
  assertEquals(shape([NaN, NaN, NaN]), "..s");
  assertEquals(shape([Infinity, Infinity, 3]), "..+");
});

Deno.test("the state survives JSON and is not changed", () => {
  const { state } = follow([5, 6])[1];
  const copy = JSON.parse(JSON.stringify(state));
  assertEquals(copy, state);
  const frozen = Object.freeze(copy);
  assertEquals(observe(frozen, 6), observe(state, 6));
  assertEquals(JSON.parse(JSON.stringify(initialStopping)), initialStopping);
});

Deno.test("the log of a run of the recipe", () => {
  // Validation losses whose triggers fall at epochs 8, 11 and 14: 14 epochs, as the exact recipe.
  const losses = [5.1, 4.5, 4.4, 4.3, 4.25, 4.26, 4.27, 4.3, 4.26, 4.25, 4.26, 4.25, 4.2495, 4.25];
  assertEquals(shape(losses), "+++++..r..r..s");
});

Deno.test("wrong options are refused", () => {
  assertThrows(() => observe(initialStopping, 1, { patience: 0 }), RangeError, "patience");
  assertThrows(() => observe(initialStopping, 1, { delta: -1 }), RangeError, "delta");
});
