import { describe, expect, test } from "vitest";
import { readYaml } from "../../../src/launch/kubernetes/yaml.ts";

describe("YAML", () => {
  // What `kubectl annotate --local -o json` (1.35.4) prints of the same text.
  test("has kubectl's meaning of plain words and numbers", () => {
    const text = `
      - [0555, 0o555, 0O17, -0555, 00, 0_7, 08, 099, 010.5, -08]
      - [0x1F, 0XfF, 0b11, 1_000, 1__0, +12, 9999999999, 0x, 0b, 0o8, 1:30, 1e, _1]
      - [1e3, 1E5, 12e03, .5, +.5, -.5e3, 1.]
      - [yes, on, y, true, NO, n, Off, "yes", "0555", !!str 0555]
      - [~, null, 2001-01-01, 1Gi, 500m]
    `;
    expect(readYaml(text)).toEqual([
      [365, 365, 15, -365, 0, 7, 8, 99, 10.5, -8],
      [31, 255, 3, 1000, 10, 12, 9999999999, "0x", "0b", "0o8", "1:30", "1e", "_1"],
      [1000, 100000, 12000, 0.5, 0.5, -500, 1],
      [true, true, true, true, false, false, false, "yes", "0555", "0555"],
      [null, null, "2001-01-01", "1Gi", "500m"],
    ]);
  });

  test("merges at `<<`, and keys are text", () => {
    const text = "of: &it {p: 1, q: 2}\nwith:\n  <<: *it\n  q: 3\n0555: 2\nyes: 3\n";
    expect(readYaml(text)).toEqual({ of: { p: 1, q: 2 }, with: { p: 1, q: 3 }, "365": 2, true: 3 });
  });

  test("says the same whichever version it names", () => {
    expect(readYaml("%YAML 1.2\n---\nmode: 0555")).toEqual({ mode: 365 });
  });

  test("that is JSON is JSON", () => {
    const value = { a: [0.5, -1, 1e21, true, null, 'é\n"\\/\u0001', "0555", "yes"], "b c": {} };
    expect(readYaml(JSON.stringify(value))).toEqual(value);
    expect(readYaml(JSON.stringify(value, null, "\t"))).toEqual(value);
  });

  test.each([
    ["a: 1\na: 2", /unique/],
    ["a: 1\n---\nb: 2", /multiple documents/],
    ["a: &a [*a]", /circular/],
    ["a: [", /./],
  ])("that is ambiguous or broken is refused: %j", (text, why) => {
    expect(() => readYaml(text)).toThrow(why);
  });

  test("whose aliases stand for more than a server can hold is refused at once", () => {
    const lines = Array.from(
      { length: 12 },
      (_, level) => `l${level}: &l${level} [${Array(10).fill(level === 0 ? "x" : `*l${level - 1}`)}]`,
    );
    expect(() => readYaml(lines.join("\n"))).toThrow(/alias/);
  });
});
