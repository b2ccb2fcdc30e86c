import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";

export interface Finished {
  /** Null when it could not be started or was killed. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Nothing that is asked for its version may take longer. */
const DEADLINE_MS = 30_000;

/** Runs a program to its end and answers what it wrote; never rejects. Meant for questions that are answered in a moment. */
export const run = async (command: string, args: readonly string[]): Promise<Finished> => {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], timeout: DEADLINE_MS, killSignal: "SIGKILL" });
  const code = new Promise<number | null>((resolve) => {
    child.on("error", () => resolve(null));
    child.on("close", resolve);
  });
  const written = await Promise.all([text(child.stdout), text(child.stderr), code]).catch(() => ["", "", null] as const);
  return { code: written[2], stdout: written[0], stderr: written[1] };
};
