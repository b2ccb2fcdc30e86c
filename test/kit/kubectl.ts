import { type ChildProcess, type ExecFileOptions, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import { until } from "./until.ts";

const run = promisify(execFile);

/** Runs `kubectl` on the cluster that KUBECONFIG names and answers what it printed. Rejects with what it said when it fails. */
export const kubectl = async (args: readonly string[], options: ExecFileOptions = {}): Promise<string> => {
  const { stdout } = await run("kubectl", [...args], { timeout: 180_000, maxBuffer: 64 * 1024 * 1024, ...options });
  return String(stdout);
};

/** What `kubectl` says besides: warnings of the API server, for one. */
export const warningsOf = async (args: readonly string[]): Promise<string> => {
  const { stderr } = await run("kubectl", [...args], { timeout: 60_000 });
  return stderr;
};

/** A way from this machine to something in the cluster, while it is open. */
export interface Forward extends AsyncDisposable {
  readonly port: number;
}

/** `kubectl port-forward` of a pod's or a Service's port to a free one here. */
export const forward = async (namespace: string, what: string, port: number): Promise<Forward> => {
  const child: ChildProcess = spawn("kubectl", ["--namespace", namespace, "port-forward", what, `:${port}`], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", (text: string) => (said += text));
  const end = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  try {
    const near = await until(`kubectl forwards a port to ${what}`, 30_000, () => {
      if (child.exitCode !== null) throw new Error(`kubectl port-forward ended: ${said}`);
      return /Forwarding from 127\.0\.0\.1:(\d+)/.exec(said)?.[1];
    });
    return { port: Number(near), [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    throw error;
  }
};
