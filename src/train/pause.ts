/** Milliseconds after which signals and timers are let in. */
const INTERVAL = 100;
let last = performance.now();

/**
 * Lets signals and timers in, ten times a second at most: a loop of steps never waits for anything
 * outside, and Ctrl-C would go unseen. It is a timer, since signals do not come between microtasks.
 */
export async function pause(): Promise<void> {
  if (performance.now() - last < INTERVAL) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  last = performance.now();
}
