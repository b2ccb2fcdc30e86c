import { setTimeout as pause } from "node:timers/promises";

/**
 * Asks `look` until it answers something else than undefined, and answers that. The wait of every test: a deadline with a condition,
 * never a sleep.
 * @throws Error that names `what` when `deadlineMs` have passed
 */
export const until = async <Value>(
  what: string,
  deadlineMs: number,
  look: () => Promise<Value | undefined> | Value | undefined,
  everyMs = 20,
): Promise<Value> => {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const value = await look();
    if (value !== undefined) return value;
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await pause(everyMs);
  }
};
