import { expect, test } from "vitest";
import { Changes } from "../../src/core/changes.ts";

const soon = () => AbortSignal.timeout(5_000);

test("whoever waits is told when what they want is so, when their time is over, and when they leave", async () => {
  const changes = new Changes();
  const state = { ready: false };
  const ready = changes.until(() => state.ready, 5_000, soon());
  const late = changes.until(() => false, 10, soon());
  const left = new AbortController();
  const gone = expect(changes.until(() => false, 5_000, left.signal)).rejects.toThrow("left");
  changes.tell();
  state.ready = true;
  changes.tell();
  left.abort(new Error("left"));
  expect([await ready, await late, changes.count]).toEqual([true, false, 2]);
  await gone;
  await expect(changes.until(() => false, 5_000, left.signal)).rejects.toThrow("left");
  expect([await changes.until(() => true, 0, left.signal), await changes.until(() => false, 0, soon())]).toEqual([true, false]);
});
