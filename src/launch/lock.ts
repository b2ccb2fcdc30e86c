import { readdir, readlink, symlink, unlink } from "node:fs/promises";
import { join } from "node:path";
import { identify, isAlive } from "./processes.ts";

/** A directory held by one living process. */
export interface DirectoryLock {
  /** Idempotent. */
  release(): Promise<void>;
}

/** Another server lives there; its message says which. */
export class DirectoryInUse extends Error {
  override readonly name = "DirectoryInUse";
}

const PREFIX = "lock-";

/**
 * Takes the directory for this process. The lock is a symlink `lock-<n>` whose target names the holder: made in one step with its
 * content, unlike a file. A dead holder's is never replaced but outnumbered, so that two who find it dead cannot both win.
 * @throws DirectoryInUse, which names the holder, when that one lives
 */
export const lockDirectory = async (directory: string): Promise<DirectoryLock> => {
  const holder = identify(process.pid);
  if (holder === null) throw new Error("this process cannot be told from others: is /proc mounted?");
  const target = [holder.pid, holder.startTime, holder.boot].join(";");
  for (;;) {
    const numbers = await lockNumbers(directory);
    const highest = numbers.at(-1) ?? 0;
    await checkDead(directory, highest);
    const path = join(directory, `${PREFIX}${highest + 1}`);
    try {
      await symlink(target, path);
    } catch (error) {
      if (isCode(error, "EEXIST")) continue;
      throw error;
    }
    // Whoever looked before an older winner tidied up may have made a lower number; the highest holds.
    const after = await lockNumbers(directory);
    if (after.at(-1) !== highest + 1) {
      await unlink(path).catch(() => undefined);
      continue;
    }
    for (const number of after.slice(0, -1)) await unlink(join(directory, `${PREFIX}${number}`)).catch(() => undefined);
    return { release: () => unlink(path).catch(() => undefined) };
  }
};

const lockNumbers = async (directory: string): Promise<number[]> =>
  (await readdir(directory))
    .filter((name) => /^lock-\d+$/.test(name))
    .map((name) => Number(name.slice(PREFIX.length)))
    .sort((a, b) => a - b);

const checkDead = async (directory: string, number: number): Promise<void> => {
  if (number === 0) return;
  const target = await readlink(join(directory, `${PREFIX}${number}`)).catch(() => "");
  const [pid, startTime = "", boot = ""] = target.split(";");
  if (target !== "" && isAlive({ pid: Number(pid), startTime, boot })) {
    throw new DirectoryInUse(
      `another server (process ${pid}) uses the runtime directory ${directory}: stop it, or give this one a directory of its own`,
    );
  }
};

/** Whether an error is the system's, of this code. */
export const isCode = (error: unknown, ...codes: string[]): boolean =>
  error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code);
