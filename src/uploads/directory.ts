import { randomBytes } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { chmod, mkdir, open, readdir, rename, rm, rmdir, stat, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { Problem } from "../core/problems.ts";
import type { StoredObject, UploadStore } from "../core/upload-store.ts";
import { full, unreachable } from "./faults.ts";

/** Where objects are written until they are whole. */
const COMING = "coming";
const PRIVATE = 0o700;

/**
 * A directory of this machine, or a volume that several servers have mounted: `KEY` is a file of that path, `coming/` holds what is being
 * written. Made when the first object comes.
 */
export const openDirectoryStore = (path: string): UploadStore => new DirectoryStore(resolve(path));

class DirectoryStore implements UploadStore {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  list(segment: string | null): Promise<readonly StoredObject[]> {
    return faults(async () => {
      const directories = segment === null ? await namesIn(this.#root) : [segment];
      const found: StoredObject[] = [];
      for (const directory of directories) {
        if (directory === COMING) continue;
        for (const name of await namesIn(join(this.#root, directory))) {
          const status = await statOf(join(this.#root, directory, name));
          if (status?.isFile() === true)
            found.push({ key: `${directory}/${name}`, bytes: status.size, changedMs: Math.floor(status.mtimeMs) });
        }
      }
      return found;
    });
  }

  put(key: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const target = join(this.#root, key);
    const coming = join(this.#root, COMING, randomBytes(12).toString("hex"));
    return faults(async () => {
      await mkdir(dirname(coming), { recursive: true, mode: PRIVATE });
      try {
        await write(coming, content, signal);
        await place(coming, target);
      } catch (error) {
        await unlink(coming).catch(() => undefined);
        throw error;
      }
    });
  }

  read(key: string, fromByte: number, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | null> {
    return faults(async () => {
      const path = join(this.#root, key);
      return (await statOf(path)) === null ? null : contentOf(path, fromByte, signal);
    });
  }

  remove(key: string): Promise<void> {
    return faults(async () => {
      const path = join(this.#root, key);
      await rm(path, { force: true });
      // Others of its segment may be there.
      await rmdir(dirname(path)).catch(() => undefined);
    });
  }

  pathOf(key: string): string {
    return join(this.#root, key);
  }

  sweep(beforeMs: number): Promise<void> {
    return faults(async () => {
      const directory = join(this.#root, COMING);
      for (const name of await namesIn(directory)) {
        const status = await statOf(join(directory, name));
        if (status !== null && status.mtimeMs < beforeMs) await rm(join(directory, name), { force: true });
      }
    });
  }

  close(): void {}
}

/** Opened when it is begun to be read: what nobody reads nobody closes. */
async function* contentOf(path: string, start: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path, { start, signal });
  } catch (error) {
    throw faultOf(error);
  }
}

const write = async (path: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> => {
  const file = await open(path, "wx", 0o600);
  try {
    for await (const chunk of content) {
      signal.throwIfAborted();
      await file.writeFile(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await chmod(path, 0o400);
};

/** Another server may be removing the last of the same segment. */
const place = async (from: string, target: string): Promise<void> => {
  for (let left = PLACE_TRIES; ; left -= 1) {
    await mkdir(dirname(target), { recursive: true, mode: PRIVATE });
    try {
      await rename(from, target);
      break;
    } catch (error) {
      if (left <= 1 || codeOf(error) !== "ENOENT") throw error;
    }
  }
  const directory = await open(dirname(target), "r");
  await directory.sync().finally(() => directory.close());
};
const PLACE_TRIES = 5;

const codeOf = (error: unknown): string => (error instanceof Error && "code" in error ? String(error.code) : "");

const orMissing = async <T>(asked: Promise<T>, missing: T): Promise<T> =>
  asked.catch((error: unknown) => {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return missing;
    throw error;
  });
const namesIn = (path: string): Promise<string[]> => orMissing(readdir(path), []);
const statOf = (path: string): Promise<Stats | null> => orMissing<Stats | null>(stat(path), null);

const faults = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    throw faultOf(error);
  }
};

/** The system's refusals as Problems; what the content's sender did wrong stays what it is. */
const faultOf = (error: unknown): unknown => {
  if (error instanceof Problem || !(error instanceof Error) || !("errno" in error)) return error;
  const code = codeOf(error);
  if (code === "ENOSPC" || code === "EDQUOT") return full(error);
  return unreachable(error, WORDS.get(code) ?? `its directory answers ${code}`);
};
const WORDS: ReadonlyMap<string, string> = new Map([
  ["EACCES", "the server may not write to its directory"],
  ["EPERM", "the server may not write to its directory"],
  ["EROFS", "its file system is read-only"],
  ["EMFILE", "too many files are open"],
  ["ENFILE", "too many files are open"],
  ["ESTALE", "its volume is not there any more"],
]);
