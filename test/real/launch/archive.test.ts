import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openLocalLauncher } from "../../../src/launch/local.ts";
import { LocalSite } from "../../kit/local-site.ts";

let site: LocalSite;
beforeEach(async () => {
  site = await LocalSite.make();
});
afterEach(() => site.dispose());

/** Processes that work in a directory, with their niceness: the JVM that is trained works in the cache. */
const workingIn = async (directory: string): Promise<number[]> => {
  const nice: number[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const at = await readlink(`/proc/${pid}/cwd`).catch(() => "");
    const stat = at.startsWith(directory) ? await readFile(`/proc/${pid}/stat`, "latin1").catch(() => "") : "";
    if (stat !== "") nice.push(Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]));
  }
  return nice;
};

test("a server's start begins to make the missing archive, niced; its end leaves nothing of that", async () => {
  const cache = join(site.root, "cache");
  const launcher = await openLocalLauncher({ ...site.settings, archiveDir: cache });
  // What is niced is slow to begin where others run.
  await expect.poll(() => workingIn(cache), { timeout: 60_000 }).toHaveLength(1);
  expect((await workingIn(cache))[0]).toBeGreaterThanOrEqual(10);
  await Promise.all([launcher.close(), launcher.close()]);
  expect(await workingIn(cache)).toEqual([]);
  expect((await readdir(cache)).filter((name) => !name.endsWith(".lock"))).toEqual([]);
});

test("without a working Python there is a launcher all the same", async () => {
  const launcher = await openLocalLauncher({
    ...site.settings,
    archiveDir: join(site.root, "cache"),
    python: join(site.root, "no-python"),
  });
  await launcher.close();
});
