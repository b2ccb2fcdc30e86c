import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const CLI = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));

/** Environment without what configures Longwick, the notebook server's directories in `directory`. */
const plain = (directory: string): Readonly<Record<string, string | undefined>> => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(LONGWICK_|JUPYTER_|KERNEL_)/.test(name))),
  JUPYTER_RUNTIME_DIR: join(directory, "jupyter-runtime"),
  JUPYTER_CONFIG_DIR: join(directory, "jupyter-config"),
  JUPYTER_DATA_DIR: join(directory, "jupyter-data"),
  IPYTHONDIR: join(directory, "ipython"),
});

/** Installs the native kernel as a user does; the answer is the environment in which Jupyter's clients find it, as KERNEL. */
export const installKernel = (
  directory: string,
  name: string,
  env: Readonly<Record<string, string>>,
  preset: string | null = null,
): Readonly<Record<string, string | undefined>> => {
  const variables = Object.entries(env).flatMap(([variable, value]) => ["--env", `${variable}=${value}`]);
  if (preset === null) return { ...install(directory, ["--name", name, ...variables]), KERNEL: name };
  return { ...install(directory, ["--name", name, "--preset", preset, ...variables]), KERNEL: `${name}-${preset}` };
};

/** Installs what a JupyterLab wants whose kernels are a server's. */
export const installForGateway = (directory: string): Readonly<Record<string, string | undefined>> => install(directory, ["--gateway"]);

const install = (directory: string, flags: readonly string[]): Readonly<Record<string, string | undefined>> => {
  const args = [CLI, "kernelspec", "install", "--prefix", directory, ...flags];
  const { status, stderr } = spawnSync(process.execPath, args, { env: plain(directory), encoding: "utf8", timeout: 60_000 });
  if (status !== 0) throw new Error(`kernelspec install ended with ${status}: ${stderr}`);
  return { ...plain(directory), JUPYTER_PATH: join(directory, "share/jupyter") };
};
