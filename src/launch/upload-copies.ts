import { constants } from "node:fs";
import { copyFile, mkdir, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { UploadName } from "../core/upload-uri.ts";

/**
 * Gives a driver of this machine copies of the uploads that are files here; the others it will be sent. Copies, so that nothing a driver
 * does to its file changes another's; where the file system can, they share their blocks. Rejects when they cannot be written.
 */
export const copyUploads = async (
  uploads: readonly UploadName[],
  directory: string,
  pathOf: (id: string) => string | null,
): Promise<void> => {
  for (const { id, name } of uploads) {
    const source = pathOf(id);
    const target = join(directory, id, name);
    if (source === null || (await exists(target)) || !(await exists(source))) continue;
    await mkdir(join(directory, id), { recursive: true, mode: 0o700 });
    const coming = `${target}.copy`;
    try {
      await copyFile(source, coming, constants.COPYFILE_FICLONE);
      await rename(coming, target);
    } catch (error) {
      await unlink(coming).catch(() => undefined);
      throw error;
    }
  }
};

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
