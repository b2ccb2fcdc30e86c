import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KernelHome } from "../../src/kernel/home.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "lw-"));
});
afterEach(() => rmSync(root, { recursive: true }));

test("the next process with the same key finds what the one before it kept; another key nothing", async () => {
  const first = await KernelHome.open(root, "key-of-the-connection-file");
  expect(await first.recall()).toBeNull();
  await first.remember({ url: "https://spark.example.org", kernel: "k-1" });
  const next = await KernelHome.open(root, "key-of-the-connection-file");
  expect(await next.recall()).toEqual({ url: "https://spark.example.org", kernel: "k-1" });
  expect(await (await KernelHome.open(root, "another")).recall()).toBeNull();
  await next.remove();
  expect(existsSync(next.directory)).toBe(false);
});

test("its directory is ours alone and does not tell the key", async () => {
  const home = await KernelHome.open(root, "secret-key");
  expect(statSync(home.directory).mode & 0o777).toBe(0o700);
  expect(home.directory).not.toContain("secret-key");
});

test("a memory that was not written whole is none", async () => {
  const home = await KernelHome.open(root, "key");
  for (const text of ["", "{", "[]", '{"kernel":5}']) {
    writeFileSync(join(home.directory, "kernel.json"), text);
    expect(await home.recall()).toBeNull();
  }
});

test("what killed kernels left long ago goes, what is in use stays, and so does what is not ours", async () => {
  const old = await KernelHome.open(root, "old");
  const used = await KernelHome.open(root, "used");
  const foreign = join(root, "notes");
  mkdirSync(foreign);
  const longAgo = new Date(Date.now() - 30 * 24 * 3_600_000);
  for (const directory of [old.directory, foreign]) utimesSync(directory, longAgo, longAgo);
  await KernelHome.open(root, "new");
  await expect.poll(() => existsSync(old.directory)).toBe(false);
  expect([existsSync(used.directory), existsSync(foreign)]).toEqual([true, true]);
});
