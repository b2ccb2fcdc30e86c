import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { installKernel } from "../test/kit/kernelspec.ts";
import { startServer } from "../test/kit/server.ts";
import type { Bench } from "./measures.ts";
import type { Row } from "./report.ts";

/** By measure and kernelspec. */
type Samples = Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;

/** The native kernel by itself, and with a server beside it. */
const ALONE = "alone";
const BESIDE = "beside";
const IPYKERNEL = "python3";

/** Cells in native kernels against the same in ipykernel, in turn (bench/kernel.py). All as people run them: built. */
export const kernel = async (bench: Bench): Promise<readonly Row[]> => {
  const root = fileURLToPath(new URL("..", import.meta.url));
  await promisify(execFile)("npm", ["run", "build"], { cwd: root });
  await using server = await startServer({ entry: join(root, "dist/cli.js"), python: bench.driverPython });
  const install = (name: string, variables: Readonly<Record<string, string>>) => {
    const env = installKernel(server.directory, name, { LONGWICK_RUNTIME_DIR: join(server.directory, name), ...variables });
    const spec = join(server.directory, `share/jupyter/kernels/${name}/kernel.json`);
    writeFileSync(spec, readFileSync(spec, "utf8").replace(join(root, "bin/longwick.js"), join(root, "dist/kernel.js")));
    return env;
  };
  install(ALONE, { LONGWICK_PYTHON: bench.driverPython });
  const env = install(BESIDE, { LONGWICK_URL: server.url });
  const out = join(server.directory, "kernel.json");
  const script = fileURLToPath(new URL("kernel.py", import.meta.url));
  const args = [script, out, String(bench.rounds), ALONE, BESIDE];
  await promisify(execFile)(bench.clientsPython, args, { env: { ...env }, maxBuffer: 2 ** 26 });
  // Written by our own script.
  const samples = JSON.parse(readFileSync(out, "utf8")) as Samples;
  const row = (name: string, measure: string, what: string, goal: Row["goal"], unit: Row["unit"] = "ms"): Row => ({
    ...{ what, unit, goal },
    ours: samples[measure]?.[name] ?? [],
    floor: { name: "ipykernel", values: samples[measure]?.[IPYKERNEL] ?? [] },
  });
  return [
    row(ALONE, "1+1", "native kernel: `1+1`, execute → idle", { kind: "ratio", atMost: 0.6 }),
    row(BESIDE, "1+1", "the same with a server beside it", { kind: "none" }),
    row(ALONE, "first output", "native kernel: a write → its message", { kind: "value", atMost: 60 }),
    row(ALONE, "no newline", "the same without a newline", { kind: "value", atMost: 60 }),
    row(ALONE, "10 MB", "native kernel: 10 MB printed", { kind: "ratio", atMost: 1.2 }),
    row(BESIDE, "10 MB", "the same with a server beside it", { kind: "none" }),
    row(ALONE, "completion", "native kernel: completion", { kind: "none" }),
    row(ALONE, "start", "native kernel: process started → kernel_info", { kind: "value", atMost: 700 }),
    row(ALONE, "memory", "native kernel: resident memory of its process, server included", { kind: "none" }, "MB"),
    row(BESIDE, "memory", "the same with a server beside it", { kind: "none" }, "MB"),
  ];
};
