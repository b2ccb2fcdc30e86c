import { randomUUID } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Kernelspecs: directories by which Jupyter's clients find a kernel (jupyter_client, "Kernel specs"). */

/** What `kernel.json` holds. */
export interface Spec {
  readonly argv: readonly string[];
  readonly display_name: string;
  readonly language: "python";
  readonly interrupt_mode: "message";
  readonly kernel_protocol_version: string;
  readonly env: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface InstalledSpec {
  readonly name: string;
  readonly directory: string;
  readonly displayName: string;
}

/** A kernelspec cannot be installed or removed; the message says why and what helps. */
export class KernelspecError extends Error {
  override readonly name = "KernelspecError";
}

const LOGOS = ["logo-svg.svg", "logo-64x64.png", "logo-32x32.png"] as const;
/** jupyter_client takes other names for no kernelspec's, and asks for small letters. */
const NAME = /^[a-z0-9][a-z0-9._-]*$/;
const SECRET = /TOKEN$|PASSWORD|SECRET|CREDENTIAL/i;

export interface SpecWishes {
  readonly displayName: string;
  readonly env: Readonly<Record<string, string>>;
  /** The Node that runs the kernel, and its program. */
  readonly node: string;
  readonly program: string;
  readonly version: string;
}

/** @throws KernelspecError when a secret would be written where others can read it */
export const makeSpec = ({ displayName, env, node, program, version }: SpecWishes): Spec => {
  for (const [name, value] of Object.entries(env)) {
    if (SECRET.test(name)) {
      throw new KernelspecError(
        `${name} would stand in kernel.json, which others may read: use LONGWICK_TOKEN_FILE, or set it where Jupyter is started.`,
      );
    }
    const url = URL.parse(value);
    if (url !== null && url.password !== "")
      throw new KernelspecError(`${name} holds a password, and kernel.json may be read by others: use LONGWICK_TOKEN_FILE.`);
  }
  return {
    argv: [node, program, "kernel", "-f", "{connection_file}"],
    display_name: displayName,
    language: "python",
    interrupt_mode: "message",
    kernel_protocol_version: "5.5",
    env,
    metadata: { longwick: { version }, supported_encryption: ["curve"], debugger: false },
  };
};

/**
 * Writes a kernelspec below `root/kernels`, over an older one of ours. `kernel.json` comes last and at once, so that Jupyter never meets
 * half of one. Answers its directory.
 * @throws KernelspecError for a name that Jupyter does not take, or another program's kernelspec
 */
export const installSpec = async (root: string, name: string, spec: Spec, logos: string): Promise<string> => {
  if (!NAME.test(name))
    throw new KernelspecError(`${name} is no name of a kernelspec: use small letters, digits, dots, dashes and underscores.`);
  const directory = join(root, "kernels", name);
  const there = await readSpec(directory);
  if (there !== null && !isOurs(there)) {
    throw new KernelspecError(
      `${directory} is another program's kernelspec: choose a name with --name, or remove that one first (jupyter kernelspec remove ${name}).`,
    );
  }
  try {
    await mkdir(directory, { recursive: true });
    for (const logo of LOGOS) await replace(join(directory, logo), (path) => copyFile(join(logos, logo), path));
    await replace(join(directory, "kernel.json"), (path) => writeFile(path, `${JSON.stringify(spec, null, 2)}\n`));
  } catch (error) {
    throw new KernelspecError(
      `${directory} cannot be written: ${error instanceof Error ? error.message : String(error)}. Choose a place with --user, --sys-prefix or --prefix.`,
    );
  }
  return directory;
};

/** Our kernelspecs in these directories. */
export const listSpecs = async (roots: readonly string[]): Promise<readonly InstalledSpec[]> => {
  const found: InstalledSpec[] = [];
  for (const root of roots) {
    const names = await readdir(join(root, "kernels")).catch(() => []);
    for (const name of names.sort()) {
      const directory = join(root, "kernels", name);
      const spec = await readSpec(directory);
      if (spec !== null && isOurs(spec)) found.push({ name, directory, displayName: String(spec["display_name"]) });
    }
  }
  return found;
};

export const removeSpec = async ({ directory }: InstalledSpec): Promise<void> => {
  // What Jupyter goes by first: from then on the rest is no kernelspec.
  await rm(join(directory, "kernel.json"));
  await rm(directory, { recursive: true });
};

const replace = async (path: string, write: (path: string) => Promise<void>): Promise<void> => {
  const aside = `${path}.${randomUUID().slice(0, 8)}`;
  try {
    await write(aside);
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
};

const readSpec = async (directory: string): Promise<Readonly<Record<string, unknown>> | null> => {
  const text = await readFile(join(directory, "kernel.json"), "utf8").catch(() => null);
  if (text === null) return null;
  try {
    const spec: unknown = JSON.parse(text);
    // Only single fields are looked at.
    return typeof spec === "object" && spec !== null ? (spec as Record<string, unknown>) : {};
  } catch {
    return {};
  }
};

const isOurs = (spec: Readonly<Record<string, unknown>>): boolean => {
  const { metadata } = spec;
  return typeof metadata === "object" && metadata !== null && "longwick" in metadata;
};
