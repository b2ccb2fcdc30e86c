import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { installKernel } from "../test/kit/kernelspec.ts";
import { startServer } from "../test/kit/server.ts";
import type { Bench } from "./measures.ts";
import type { Row } from "./report.ts";

type Samples = Readonly<Record<string, Readonly<Record<"longwick" | "ipykernel", readonly number[]>>>>;

/** Cells in the native kernel with a server beside it, against the same in ipykernel, in turn (bench/kernel.py). Both as people run them: built. */
export const kernel = async (bench: Bench): Promise<readonly Row[]> => {
  const root = fileURLToPath(new URL("..", import.meta.url));
  await promisify(execFile)("npm", ["run", "build"], { cwd: root });
  await using server = await startServer({ entry: join(root, "dist/cli.js"), python: bench.driverPython });
  const env = installKernel(server.directory, "bench", {
    LONGWICK_URL: server.url,
    LONGWICK_RUNTIME_DIR: join(server.directory, "kernels"),
  });
  const spec = join(server.directory, "share/jupyter/kernels/bench/kernel.json");
  writeFileSync(spec, readFileSync(spec, "utf8").replace(join(root, "bin/longwick.js"), join(root, "dist/kernel.js")));
  const out = join(server.directory, "kernel.json");
  const script = fileURLToPath(new URL("kernel.py", import.meta.url));
  await promisify(execFile)(bench.clientsPython, [script, out, String(bench.rounds)], { env: { ...env }, maxBuffer: 2 ** 26 });
  // Written by our own script.
  const samples = JSON.parse(readFileSync(out, "utf8")) as Samples;
  const row = (measure: string, what: string, goal: Row["goal"], unit: Row["unit"] = "ms"): Row => {
    const { longwick = [], ipykernel = [] } = samples[measure] ?? {};
    return { what, unit, ours: longwick, floor: { name: "ipykernel", values: ipykernel }, goal };
  };
  return [
    row("1+1", "native kernel: `1+1`, execute → idle", { kind: "ratio", atMost: 0.6 }),
    row("first output", "native kernel: a write → its message", { kind: "value", atMost: 60 }),
    row("no newline", "the same without a newline", { kind: "value", atMost: 60 }),
    row("10 MB", "native kernel: 10 MB printed", { kind: "ratio", atMost: 1.2 }),
    row("completion", "native kernel: completion", { kind: "none" }),
    row("start", "native kernel: process started → kernel_info", { kind: "value", atMost: 700 }),
    row("memory", "native kernel: resident memory of its process", { kind: "none" }, "MB"),
  ];
};
