import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { kernelspec } from "../../src/kernelspec.ts";

/** `longwick kernelspec`, as its words are typed. */

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "lw-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

const run = async (...words: readonly string[]): Promise<readonly string[]> => {
  const lines: string[] = [];
  const say = (line: string) => void lines.push(line);
  expect(await kernelspec(words, "1.2.3", say, say)).toBe(0);
  return lines;
};
const specIn = (directory: string, name: string): { readonly display_name: string; readonly env: Readonly<Record<string, string>> } =>
  JSON.parse(readFileSync(join(directory, "kernels", name, "kernel.json"), "utf8"));

test("a preset's kernelspec asks the server for that preset, under names of its own", async () => {
  const words = ["--prefix", root, "--name", "team", "--display-name", "Team", "--env", "LONGWICK_URL=https://spark.example.org"];
  await run("install", ...words, "--preset", "small", "--preset", "GPU");
  const shared = join(root, "share/jupyter");
  expect(specIn(shared, "team-small")).toMatchObject({
    display_name: "Team: small",
    // As the server calls it (kernelspecs of presets).
    env: { LONGWICK_URL: "https://spark.example.org", LONGWICK_KERNELSPEC: "spark-small" },
  });
  expect(specIn(shared, "team-gpu")).toMatchObject({ display_name: "Team: GPU", env: { LONGWICK_KERNELSPEC: "spark-GPU" } });
  expect((await run("list", "--prefix", root)).map((line) => line.split(/ {2,}/)[0])).toEqual(["team-gpu", "team-small"]);
  await run("remove", "team-gpu", "team-small", "--prefix", root);
  expect(await run("list", "--prefix", root)).toEqual([expect.stringContaining("No kernelspec of Longwick is installed")]);
});

test.each([[["install"]], [["install", "--user"]]])("%j is for the user", async (words) => {
  vi.stubEnv("JUPYTER_DATA_DIR", root);
  await run(...words);
  expect(specIn(root, "longwick")).toMatchObject({ display_name: "Spark (Longwick)", env: {} });
});

test.each([
  [["install", "--user", "--prefix", "x"], /different places/],
  [["install", "--env", "LONGWICK_URL"], /must be NAME=VALUE/],
  [["install", "--colour", "red"], /--colour/],
  [["remove"], /Which one\?/],
  [["upgrade"], /There are install, list and remove/],
])("%j is refused with what would be right", async (words, reason) => {
  await expect(run(...words)).rejects.toThrow(reason);
});
