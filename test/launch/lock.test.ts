import { mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockDirectory } from "../../src/launch/lock.ts";
import { identify } from "../../src/launch/processes.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "longwick-lock-"));
});
afterEach(() => rm(directory, { recursive: true }));

const target = (pid: number, startTime: string, boot: string) => [pid, startTime, boot].join(";");
const self = () => {
  const identity = identify(process.pid);
  if (identity === null) throw new Error("no identity");
  return identity;
};

test("one of many wins, and the others are told who did", async () => {
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => lockDirectory(directory)));
  const reasons = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [String(outcome.reason)] : []));
  expect(reasons).toHaveLength(19);
  expect(new Set(reasons)).toEqual(new Set([expect.stringContaining(`DirectoryInUse: another server (process ${process.pid})`)]));
});

test("released it is free again, and leaves nothing", async () => {
  const lock = await lockDirectory(directory);
  await Promise.all([lock.release(), lock.release()]);
  expect(await readdir(directory)).toEqual([]);
  await (await lockDirectory(directory)).release();
});

test.each([
  ["a process that is gone", () => target(2 ** 22 + 1, "1", self().boot)],
  ["a process whose id another one has now", () => target(process.pid, "1", self().boot)],
  ["a process of before the machine's restart", () => target(process.pid, self().startTime, "another-boot")],
  ["nobody", () => "nonsense"],
])("the lock of %s is outnumbered, by one of many", async (_who, stale) => {
  await symlink(stale(), join(directory, "lock-7"));
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => lockDirectory(directory)));
  expect(outcomes.filter((outcome) => outcome.status === "fulfilled")).toHaveLength(1);
  expect(await readdir(directory)).toEqual(["lock-8"]);
});
