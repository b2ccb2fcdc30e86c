import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

/** A mount namespace of our own: as root, else with a user namespace where the kernel allows that. */
const unshare = (): readonly string[] | null => {
  for (const flags of [["-m"], ["-r", "-m"]]) {
    try {
      execFileSync("unshare", [...flags, "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"], { stdio: "ignore" });
      return flags;
    } catch {
      // Try the next.
    }
  }
  return null;
};
const flags = unshare();
test("on a full disk what is new is refused clearly, what runs goes on, and nothing is lost", { timeout: 60_000 }, async () => {
  if (flags === null) throw new Error("no mount namespaces here: run the tests where `unshare -m` or `unshare -r -m` works");
  const root = await mkdtemp(join(tmpdir(), "longwick-full-"));
  try {
    const script = fileURLToPath(new URL("../../kit/full-disk.ts", import.meta.url));
    const runtimeDir = join(root, "run");
    const command = 'mkdir "$2" && mount -t tmpfs -o size=4m none "$2" && exec "$3" "$0" "$1" "$2"';
    const { stdout } = await promisify(execFile)("unshare", [...flags, "sh", "-c", command, script, root, runtimeDir, process.execPath]);
    const full = "The server cannot store anything in its runtime directory: the disk is full.";
    expect(JSON.parse(stdout)).toMatchObject({
      claimed: { code: "DRIVER_UNREACHABLE", message: full },
      launched: { state: "dead", reason: "The driver could not be started: the disk is full." },
      alive: "challenge",
      stopped: { phase: "ended", state: "killed" },
      // The journal of the ended session made room for its end.
      concluded: { ok: true },
      litter: [],
      left: [
        { id: 0, name: "running", end: "because" },
        { id: 1, name: "waiting", end: null },
        { id: 2, name: "late", end: null },
      ],
    });
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});
