import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What outlives a kernel's process, so that the next one with the same connection file goes on with the same kernel of the server. */
export interface KernelMemory {
  /** The server; null: the one inside of the process. */
  readonly url: string | null;
  readonly kernel: string;
}

const FILE = "kernel.json";
const PRIVATE = 0o700;
/** A directory nobody has used for so long belonged to a process that was killed, and so was its driver. */
const ABANDONED_MS = 7 * 24 * 3_600_000;
const TOUCH_MS = 3_600_000;

/** A kernel's own directory; the same for each process that a client starts for it. */
export class KernelHome {
  readonly directory: string;
  /** Tells the kernel from all others: sixteen hexadecimal digits. */
  readonly name: string;

  private constructor(root: string, name: string) {
    this.directory = join(root, name);
    this.name = name;
  }

  /**
   * Makes it. Removes, aside, what killed kernels left long ago.
   * @param root holds the directories of all of the user's kernels
   * @param key of the connection file, which stays the same over restarts
   */
  static async open(root: string, key: string): Promise<KernelHome> {
    const name = createHash("sha256").update(key).digest("hex").slice(0, 16);
    const home = new KernelHome(root, name);
    await mkdir(home.directory, { recursive: true, mode: PRIVATE });
    setInterval(() => void home.#touch().catch(() => undefined), TOUCH_MS).unref();
    await home.#touch();
    void removeAbandoned(root, name).catch(() => undefined);
    return home;
  }

  /** Its time says that it is in use. */
  async #touch(): Promise<void> {
    const now = new Date();
    await utimes(this.directory, now, now);
  }

  /** Null: this is the kernel's first process. */
  async recall(): Promise<KernelMemory | null> {
    const text = await readFile(join(this.directory, FILE), "utf8").catch(() => null);
    try {
      // Written by `remember`; anything else is no memory.
      const { url, kernel } = JSON.parse(text ?? "{}") as Partial<KernelMemory>;
      return typeof kernel === "string" ? { url: url ?? null, kernel } : null;
    } catch {
      return null;
    }
  }

  async remember(memory: KernelMemory): Promise<void> {
    const path = join(this.directory, FILE);
    await writeFile(`${path}.new`, JSON.stringify(memory), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  /** The kernel has ended: nothing is left of it. */
  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

const removeAbandoned = async (root: string, own: string): Promise<void> => {
  for (const name of await readdir(root)) {
    if (name === own || !/^[0-9a-f]{16}$/.test(name)) continue;
    const path = join(root, name);
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > ABANDONED_MS) await rm(path, { recursive: true, force: true });
  }
};
