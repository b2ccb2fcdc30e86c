import { randomBytes } from "node:crypto";
import { open, readFile, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import type { Static, TSchema } from "typebox";
import { Check, Errors } from "typebox/value";
import { Problem } from "../core/problems.ts";
import { isCode } from "./lock.ts";

/** The file is there but not what was written: torn, or edited by hand. The message says where. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
}

/** Replaces a file in one step, for its owner alone; on the disk before it returns. What was there stays when it cannot. */
export const writeWhole = async (path: string, content: string | Uint8Array): Promise<void> => {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
};

const syncDirectory = async (path: string): Promise<void> => {
  const directory = await open(path, "r");
  await directory.sync().finally(() => directory.close());
};

/**
 * A JSON file by its schema; null when there is none.
 * @throws Unreadable
 */
export const readWhole = async <Schema extends TSchema>(path: string, schema: Schema): Promise<Static<Schema> | null> => {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isCode(error, "ENOENT")) return null;
    throw new Unreadable(describe(error), { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Unreadable(text.trim() === "" ? "it is empty" : "it is not JSON", { cause });
  }
  if (Check(schema, value)) return value;
  const [first] = Errors(schema, value);
  throw new Unreadable(`${first?.instancePath || "it"} ${first?.message ?? "is malformed"}`);
};

/**
 * Runs what stores something; the system's refusals become a Problem.
 * @throws Problem DRIVER_UNREACHABLE: nothing was begun, it may be tried again once there is room
 */
export const storing = async <Value>(work: () => Promise<Value>): Promise<Value> => {
  try {
    return await work();
  } catch (error) {
    if (!isCode(error, "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "EMFILE", "ENFILE", "ENOENT")) throw error;
    throw new Problem("DRIVER_UNREACHABLE", `The server cannot store anything in its runtime directory: ${describe(error)}.`, {
      cause: error,
    });
  }
};

/** A system error in a user's words, without paths. */
export const describe = (error: unknown): string => {
  if (isCode(error, "ENOSPC", "EDQUOT")) return "the disk is full";
  if (isCode(error, "EROFS")) return "the file system is read-only";
  if (isCode(error, "EACCES", "EPERM")) return "permission denied";
  if (isCode(error, "EMFILE", "ENFILE")) return "too many open files";
  return error instanceof Error ? error.message : String(error);
};
