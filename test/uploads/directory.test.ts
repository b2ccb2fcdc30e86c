import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openDirectoryStore } from "../../src/uploads/directory.ts";
import { bytes, soon, storeContract, textOf } from "./contract.ts";

const root = mkdtempSync(join(tmpdir(), "lw-store-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const store = openDirectoryStore(join(root, "store"));
const coming = () => readdirSync(join(root, "store", "coming"));

storeContract(
  () => store,
  async () => coming(),
);

test("what it holds nobody else may read, and nobody may change", async () => {
  await store.put("g1/data", bytes("x"), soon());
  expect(statSync(store.pathOf("g1/data") ?? "").mode & 0o777).toBe(0o400);
  expect(statSync(join(root, "store", "g1")).mode & 0o777).toBe(0o700);
});

test("what a writer that was killed left is swept once it is old", async () => {
  await store.put("h1/data", bytes("x"), soon());
  const [old, fresh] = ["old", "fresh"].map((name) => join(root, "store", "coming", name));
  for (const path of [old, fresh]) writeFileSync(path ?? "", "half");
  utimesSync(old ?? "", 1_000, 1_000);
  await store.sweep(Date.now() - 60_000, soon());
  expect(coming()).toEqual(["fresh"]);
  rmSync(fresh ?? "");
});

test("no empty directory stays of what was removed", async () => {
  await store.put("i1/data", bytes("x"), soon());
  await store.put("i1/used", bytes(), soon());
  await store.remove("i1/data", soon());
  expect(readdirSync(join(root, "store", "i1"))).toEqual(["used"]);
  await store.remove("i1/used", soon());
  expect(readdirSync(join(root, "store"))).not.toContain("i1");
});

test("a directory that is none is told in a user's words", async () => {
  writeFileSync(join(root, "file"), "");
  await expect(openDirectoryStore(join(root, "file")).put("j1/data", bytes("x"), soon())).rejects.toMatchObject({
    code: "STORAGE_UNREACHABLE",
    message: expect.not.stringContaining(root),
  });
});

test("what is removed before it is read, or cannot be read, is told in a user's words", async () => {
  await store.put("k1/data", bytes("x"), soon());
  const removed = await store.read("k1/data", 0, soon());
  await store.remove("k1/data", soon());
  mkdirSync(join(root, "store", "k2", "data"), { recursive: true });
  for (const content of [removed, await store.read("k2/data", 0, soon())])
    await expect(textOf(content)).rejects.toMatchObject({
      code: "STORAGE_UNREACHABLE",
      message: expect.not.stringContaining(root),
    });
});
