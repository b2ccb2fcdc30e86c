import { expect, test } from "vitest";
import { configurationPage, helpText } from "../src/manual.ts";
import { flagOf, OPTIONS, variableOf } from "../src/options.ts";

test("help and reference tell of every option, with its default as one would write it", () => {
  const [help, page] = [helpText(), configurationPage()];
  for (const { name, description } of OPTIONS) {
    expect(help).toContain(`  ${flagOf(name)}`);
    expect(page).toContain(`| \`${name}\` |`);
    expect(description).toMatch(/^[A-Z].*\.$/);
  }
  expect(help.replaceAll(/\n\s+/g, " ")).toContain("the GET of an unfinished statement may be held for its result; 0: not at all. [250ms]");
  expect(page).toContain("| `orphanTimeoutMs` | TIME | `1d` |");
  expect(page).toContain("| `journalLimitBytes` | SIZE | `256MiB` |");
});

test("help fits a terminal of 120 columns", () => {
  expect(
    helpText()
      .split("\n")
      .filter((line) => line.length > 120),
  ).toEqual([]);
});

test("flags and variables follow from the names, each its own", () => {
  expect([flagOf("idleTimeoutMs"), variableOf("idleTimeoutMs")]).toEqual(["--idle-timeout-ms", "LONGWICK_IDLE_TIMEOUT_MS"]);
  expect(new Set(OPTIONS.map(({ name }) => flagOf(name))).size).toBe(OPTIONS.length);
});
