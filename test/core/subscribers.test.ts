import { expect, test } from "vitest";
import { Subscribers } from "../../src/core/subscribers.ts";
import type { RecordFrame } from "../../src/protocol/frames.ts";

const MIB = 1024 * 1024;
const record = (seq: number): RecordFrame => ({
  ...{ frame: "record", seq, atMs: 0, type: "stream", statement: 0, name: "stdout", via: "python" },
  text: `${seq}`,
});

test("a reader that lags behind by megabytes is fed from the journal, and misses and doubles nothing", async () => {
  const asked: number[] = [];
  const subscribers = new Subscribers(async (fromSeq) => {
    asked.push(fromSeq);
    return { records: Array.from({ length: 101 - fromSeq }, (_, index) => record(fromSeq + index)), nextSeq: 101 };
  });
  const reader = subscribers.follow(0, 0, AbortSignal.timeout(10_000))[Symbol.asyncIterator]();
  const first = reader.next();
  for (let seq = 1; seq <= 100; seq += 1) subscribers.publish([record(seq)], MIB);
  const seen = [await first];
  while (seen.length < 100) seen.push(await reader.next());
  expect(seen.map(({ value }) => (typeof value === "object" ? value.seq : value))).toEqual(Array.from({ length: 100 }, (_, n) => n + 1));
  expect(asked).toEqual([5]);
});
