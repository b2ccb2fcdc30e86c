import { describe, expect, test } from "vitest";
import { endOfLog } from "../../../src/launch/kubernetes/log-end.ts";

const MIB = 1024 * 1024;
const log = async function* (...texts: readonly (string | Buffer)[]) {
  for (const text of texts) yield Buffer.from(text);
};

describe("the end of a log", () => {
  test.each([
    ["", []],
    ["\n", [""]],
    ["a", ["a"]],
    ["a\n", ["a"]],
    ["a\n\nb", ["a", "", "b"]],
    ["é\n", ["é"]],
  ])("is all of it where it is short: %j", async (text, lines) => {
    expect(await endOfLog(log(text))).toEqual({ from: 0, lines });
    expect(
      await endOfLog(
        log(
          ...Buffer.from(text)
            .toString("latin1")
            .split("")
            .map((byte) => Buffer.from(byte, "latin1")),
        ),
      ),
    ).toEqual({ from: 0, lines });
  });

  test("is whole lines, with their numbers, of one that is longer than what is held", async () => {
    const line = (number: number) => `${number} ${"x".repeat(1_000)}\n`;
    const written = Array.from({ length: 40_000 }, (_, number) => line(number));
    const pieces = Array.from({ length: 800 }, (_, piece) =>
      written
        .slice(piece * 50, piece * 50 + 50)
        .join("")
        .slice(0, piece % 2 === 0 ? -7 : undefined),
    );
    const texts = pieces.map((piece, at) => (at % 2 === 1 ? `${"x".repeat(6)}\n${piece}` : piece));
    const { from, lines } = await endOfLog(log(...texts));
    expect(lines.map((text) => Number(text.split(" ")[0]))).toEqual(lines.map((_, index) => from + index));
    expect(`${lines.at(-1)}\n`).toBe(line(39_999));
    const bytes = lines.reduce((sum, text) => sum + text.length + 1, 0);
    expect(bytes).toBeGreaterThan(15 * MIB);
    expect(bytes).toBeLessThan(17 * MIB);
  });

  test("is so many lines at most, however short they are", async () => {
    const chunk = Buffer.alloc(MIB, "\n");
    const { from, lines } = await endOfLog(log(...Array.from({ length: 40 }, () => chunk), "last"));
    expect(lines.length).toBe(200_000);
    expect(lines.at(-1)).toBe("last");
    expect(from + lines.length).toBe(40 * MIB + 1);
  });

  test("of one endless line is nothing", async () => {
    const { from, lines } = await endOfLog(log(...Array.from({ length: 40 }, () => Buffer.alloc(MIB, "x"))));
    expect([from, lines.length]).toEqual([0, 0]);
  });
});
