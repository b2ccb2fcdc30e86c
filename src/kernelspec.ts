import { execFile } from "node:child_process";
import { homedir } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { inheritedEnvironment } from "./config.ts";
import { kernelspecOf } from "./faces/jupyter/kernelspecs.ts";
import { type Machine, prefixDirectory, searchDirectories, userDirectory } from "./kernelspec/directories.ts";
import { installLabExtension, removeLabExtension } from "./kernelspec/lab-extension.ts";
import { installSpec, KernelspecError, listSpecs, makeSpec, removeSpec } from "./kernelspec/specs.ts";

/** `longwick kernelspec install | list | remove`: shows the kernel to Jupyter's clients. */

const FLAGS = {
  user: { type: "boolean" },
  "sys-prefix": { type: "boolean" },
  prefix: { type: "string" },
  name: { type: "string" },
  "display-name": { type: "string" },
  env: { type: "string", multiple: true },
  preset: { type: "string", multiple: true },
  gateway: { type: "boolean" },
} as const;
type Flags = ReturnType<typeof parseArgs<{ options: typeof FLAGS }>>["values"];

/** The words of this command cannot be understood. */
export class KernelspecUsageError extends Error {
  override readonly name = "KernelspecUsageError";
}

const PROGRAM = fileURLToPath(new URL("../bin/longwick.js", import.meta.url));
const LOGOS = fileURLToPath(new URL("../kernelspec", import.meta.url));
const LAB_EXTENSION = fileURLToPath(new URL("../kernelspec/labextension", import.meta.url));
const PYTHON_MS = 20_000;

type Say = (line: string) => void;

/** @throws KernelspecError, KernelspecUsageError */
export const kernelspec = async (argv: readonly string[], version: string, out: Say, say: Say): Promise<number> => {
  const { values, positionals } = read(argv);
  const [action = "list", ...names] = positionals;
  if (action !== "remove" && names.length > 0) throw new KernelspecUsageError(`Unexpected argument: ${names[0]}`);
  switch (action) {
    case "install":
      return install(values, version, out, say);
    case "list":
      return list(values, out, say);
    case "remove":
    case "uninstall":
      return remove(values, names, out);
    default:
      throw new KernelspecUsageError(`Unknown: longwick kernelspec ${action}. There are install, list and remove.`);
  }
};

const read = (argv: readonly string[]) => {
  try {
    return parseArgs({ args: [...argv], options: FLAGS, allowPositionals: true });
  } catch (error) {
    throw new KernelspecUsageError(error instanceof Error ? error.message : String(error));
  }
};

const install = async (flags: Flags, version: string, out: Say, say: Say): Promise<number> => {
  const root = (await rootOf(flags)) ?? userDirectory(machine());
  if (flags.gateway === true) {
    // The kernels are a server's; what JupyterLab's page does with them is here.
    out(`Installed JupyterLab's extension in ${await installLabExtension(root, LAB_EXTENSION)}`);
    return 0;
  }
  const given = environment(flags.env ?? []);
  const name = flags.name ?? "longwick";
  const displayName =
    flags["display-name"] ?? (given["LONGWICK_LAUNCHER"] === "kubernetes" ? "Spark on K8s (Longwick)" : "Spark (Longwick)");
  if (/[/\\]_npx[/\\]/.test(PROGRAM))
    say("This Longwick is in npx's cache, which npm may empty at any time: npm install -g longwick, then install the kernelspec again.");
  const presets = flags.preset ?? [];
  const kernels =
    presets.length === 0
      ? [{ name, displayName, env: given }]
      : presets.map((preset) => ({
          name: `${name}-${preset.toLowerCase()}`,
          displayName: `${displayName}: ${preset}`,
          env: { ...given, LONGWICK_KERNELSPEC: kernelspecOf(preset) },
        }));
  for (const kernel of kernels) {
    const spec = makeSpec({ ...kernel, node: process.execPath, program: PROGRAM, version });
    out(`Installed kernelspec ${kernel.name} in ${await installSpec(root, kernel.name, spec, LOGOS)}`);
  }
  await installLabExtension(root, LAB_EXTENSION);
  return 0;
};

const list = async (flags: Flags, out: Say, say: Say): Promise<number> => {
  const specs = await listSpecs(await rootsOf(flags));
  if (specs.length === 0) say("No kernelspec of Longwick is installed: longwick kernelspec install");
  const width = Math.max(...specs.map(({ name }) => name.length));
  for (const { name, directory, displayName } of specs) out(`${name.padEnd(width)}  ${displayName}  ${directory}`);
  return 0;
};

const remove = async (flags: Flags, names: readonly string[], out: Say): Promise<number> => {
  const wanted = [...names, ...(flags.name === undefined ? [] : [flags.name])];
  const roots = await rootsOf(flags);
  if (flags.gateway === true) {
    for (const root of roots) await removeLabExtension(root);
    return 0;
  }
  if (wanted.length === 0)
    throw new KernelspecUsageError("Which one? longwick kernelspec remove NAME; longwick kernelspec list shows them.");
  const specs = await listSpecs(roots);
  for (const name of wanted) {
    const found = specs.filter((spec) => spec.name === name);
    if (found.length === 0)
      throw new KernelspecError(`There is no kernelspec ${name} of Longwick: longwick kernelspec list shows those there are.`);
    for (const spec of found) {
      await removeSpec(spec);
      out(`Removed ${spec.directory}`);
    }
  }
  for (const root of roots) if ((await listSpecs([root])).length === 0) await removeLabExtension(root);
  return 0;
};

const machine = (): Machine => ({ platform: process.platform, env: inheritedEnvironment(), home: homedir() });

/** The one directory that the flags name; null: none. */
const rootOf = async (flags: Flags): Promise<string | null> => {
  const given = [flags.user && "--user", flags["sys-prefix"] && "--sys-prefix", flags.prefix && "--prefix"].filter(Boolean);
  if (given.length > 1) throw new KernelspecUsageError(`${given.join(" and ")} name different places: give one of them.`);
  if (flags.prefix !== undefined) return prefixDirectory(process.platform, resolve(flags.prefix));
  if (flags.user === true) return userDirectory(machine());
  if (flags["sys-prefix"] !== true) return null;
  const prefix = await pythonPrefix();
  if (prefix === null)
    throw new KernelspecError("--sys-prefix is the prefix of the first Python on the PATH, and there is none: use --prefix DIRECTORY.");
  return prefixDirectory(process.platform, prefix);
};

const rootsOf = async (flags: Flags): Promise<readonly string[]> => {
  const root = await rootOf(flags);
  return root === null ? searchDirectories(machine(), await pythonPrefix()) : [root];
};

/** `sys.prefix` of the Python that is found first: that of an active virtual environment. */
const pythonPrefix = async (): Promise<string | null> => {
  const python = process.platform === "win32" ? "python" : "python3";
  try {
    const { stdout } = await promisify(execFile)(python, ["-c", "import sys; print(sys.prefix)"], { timeout: PYTHON_MS });
    return stdout.trim();
  } catch {
    return null;
  }
};

const environment = (pairs: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(
    pairs.map((pair) => {
      const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(pair) ?? [];
      if (name === undefined || value === undefined) throw new KernelspecUsageError(`--env ${pair}: must be NAME=VALUE`);
      return [name, value];
    }),
  );
