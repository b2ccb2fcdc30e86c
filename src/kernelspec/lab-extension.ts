import { cp, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { KernelspecError } from "./specs.ts";

/** JupyterLab's extension for our kernels, where JupyterLab looks for prebuilt ones: below `root`, a data directory of Jupyter's. */
const directoryIn = (root: string): string => join(root, "labextensions", "longwick");

/**
 * Installs it over an older one. Answers its directory.
 * @throws KernelspecError when it cannot be written
 */
export const installLabExtension = async (root: string, from: string): Promise<string> => {
  const directory = directoryIn(root);
  try {
    await mkdir(directory, { recursive: true });
    await cp(from, directory, { recursive: true });
  } catch (error) {
    throw new KernelspecError(`${directory} cannot be written: ${error instanceof Error ? error.message : String(error)}`);
  }
  return directory;
};

export const removeLabExtension = (root: string): Promise<void> => rm(directoryIn(root), { recursive: true, force: true });
