import { expect, test } from "vitest";
import { linesOf } from "../../src/core/lines.ts";

const cut = async (...chunks: readonly (string | Uint8Array)[]): Promise<string[]> => {
  const source = async function* () {
    for (const chunk of chunks) yield typeof chunk === "string" ? Buffer.from(chunk) : chunk;
  };
  const lines: string[] = [];
  for await (const line of linesOf(source())) lines.push(line);
  return lines;
};

test("lines are cut at newlines alone, wherever the pieces of the stream end", async () => {
  expect(await cut("a\nb\u2028c\u2029d\re\n", "f", "", "g\n\nh")).toEqual(["a", "b\u2028c\u2029d\re", "fg", ""]);
  const bytes = Buffer.from("é\n漢😀\n");
  expect(await cut(...Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(["é", "漢😀"]);
  expect(await cut()).toEqual([]);
});
