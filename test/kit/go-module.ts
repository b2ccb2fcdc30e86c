import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { promisify } from "node:util";

const run = promisify(execFile);
const DOWNLOAD_MS = 240_000;

/** The directory of a Go module's version, by `go` as it is on the PATH: many a project's schemas come with its module. */
export const goModule = async (module: string, version: string): Promise<string> => {
  const options = { cwd: tmpdir(), env: { ...process.env, GOFLAGS: "-mod=mod" }, timeout: DOWNLOAD_MS };
  const { stdout } = await run("go", ["mod", "download", "-json", `${module}@${version}`], options);
  return String(JSON.parse(stdout).Dir);
};
