import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../src/config.ts";
import { configurationPage, helpText } from "../src/manual.ts";
import { flagOf, OPTIONS, variableOf } from "../src/options.ts";
import { PresetLimitsTable, PresetTable } from "../src/preset-tables.ts";

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

test("every file that the reference shows can be used", () => {
  const directory = mkdtempSync(join(tmpdir(), "longwick-manual-"));
  const blocks = [...configurationPage().matchAll(/```toml\n(.*?)```/gs)].map(([, block]) => block ?? "");
  expect(blocks).toHaveLength(2);
  for (const block of blocks) {
    const file = join(directory, "longwick.toml");
    writeFileSync(file, block);
    expect(() => loadConfig([], {}, directory)).not.toThrow();
  }
  rmSync(directory, { recursive: true });
});

test("the reference tells of every key of a preset", () => {
  const page = configurationPage();
  for (const key of [...Object.keys(PresetTable.properties), ...Object.keys(PresetLimitsTable.properties)])
    expect(page).toContain(`| \`${key}\` |`);
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
