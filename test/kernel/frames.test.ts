import { describe, expect, test } from "vitest";
import { decodeFrame, encodeFrame } from "../../src/kernel/frames.ts";
import { seeded } from "../kit/random.ts";

const word = (...numbers: readonly (number | bigint)[]): Buffer => {
  const buffer = Buffer.alloc(8 * numbers.length);
  for (const [index, number] of numbers.entries()) buffer.writeBigUInt64LE(BigInt(number), 8 * index);
  return buffer;
};

describe("frames of v1.kernel.websocket.jupyter.org", () => {
  test("are a count, offsets from the frame's start, the channel and the parts", () => {
    const frame = encodeFrame("shell", [Buffer.from("HH"), Buffer.from("P"), Buffer.from("M"), Buffer.from("C"), Buffer.from("buffer")]);
    expect(frame).toEqual(Buffer.concat([word(7, 64, 69, 71, 72, 73, 74, 80), Buffer.from("shellHHPMCbuffer")]));
  });

  test("come back as they went, without parts and with any", () => {
    const random = seeded(1);
    for (let round = 0; round < 300; round += 1) {
      const parts = Array.from({ length: random.below(8) }, () =>
        Buffer.from(Array.from({ length: random.below(40) }, () => random.below(256))),
      );
      const channel = random.pick(["shell", "iopub", "ü", ""]);
      expect(decodeFrame(encodeFrame(channel, parts))).toEqual({ channel, parts });
    }
  });

  test.for([
    ["nothing", Buffer.alloc(0)],
    ["half a count", Buffer.from("1234")],
    ["a count alone", word(6)],
    ["no offsets", word(0)],
    ["one offset", word(1, 16)],
    ["a count beyond memory", word(2n ** 63n, 24, 24)],
    ["an offset beyond the frame", word(2, 24, 2n ** 60n)],
    ["an end before the frame's", Buffer.concat([word(2, 24, 28), Buffer.from("shell")])],
    ["a start inside of the offsets", Buffer.concat([word(2, 8, 29), Buffer.from("shell")])],
    ["offsets that go back", Buffer.concat([word(4, 40, 50, 45, 55), Buffer.from("fifteen letters")])],
  ] as const)("are none when there is %s", ([, frame]) => {
    expect(decodeFrame(frame)).toBeNull();
  });

  test("never throw, whatever bytes are changed", () => {
    const random = seeded(2);
    for (let round = 0; round < 5_000; round += 1) {
      const frame = encodeFrame("iopub", [Buffer.from("header"), Buffer.from("{}"), Buffer.from("{}"), Buffer.from("content")]);
      for (let change = 0; change < 3; change += 1) frame[random.below(frame.length)] = random.below(256);
      const read = decodeFrame(random.below(3) === 0 ? frame.subarray(0, random.below(frame.length)) : frame);
      if (read !== null) expect(read.parts.every((part) => part.length <= frame.length)).toBe(true);
    }
  });
});
