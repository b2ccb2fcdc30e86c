import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Claim } from "../../src/core/ports.ts";
import { RuntimeDirectory } from "../../src/launch/runtime.ts";
import { specOf } from "./contract.ts";

const UID = "1a2b3c4d-0000-4000-8000-000000000000";
const END = { state: "dead" as const, reason: "it was stopped", endedMs: 2, appId: null, logTail: [] };
let root: string;
let runtime: RuntimeDirectory;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "lw-runtime-"));
  runtime = await RuntimeDirectory.open(root);
});
afterEach(async () => {
  await runtime.close();
  rmSync(root, { recursive: true, force: true });
});

const claimed = (): Promise<Claim> =>
  runtime.claim({ uid: UID, owner: null, spec: specOf({ conf: { "spark.my.password": "hush" } }), notes: [] }, 1);

/** As the supervisor writes it down for Spark. */
const writeProperties = (claim: Claim): void =>
  writeFileSync(runtime.paths(claim.id, claim.attempts.length + 1).properties, "spark.my.password=hush\n");

const filesWithSecrets = (): readonly string[] =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes("hush"))
    .map(({ name }) => name);

test("a session that has ended leaves no secret behind", async () => {
  const claim = await claimed();
  writeProperties(claim);
  expect(filesWithSecrets().toSorted()).toEqual(["spark.properties", "spec.json"]);
  await runtime.conclude(claim, END);
  expect(filesWithSecrets()).toEqual([]);
});

test("an attempt that is followed by another leaves no secret behind but what that one is told", async () => {
  const claim = await claimed();
  writeProperties(claim);
  const next = await runtime.retry(claim, { ...END, nextMs: 3 });
  expect(filesWithSecrets()).toEqual(["spec.json"]);
  writeProperties(next);
  await runtime.conclude(next, END);
  expect(filesWithSecrets()).toEqual([]);
});
