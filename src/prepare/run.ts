import { execFile } from "node:child_process";
import { promisify } from "node:util";

export interface Answer {
  /** Whether it ran and ended well. */
  readonly ok: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Nothing that is asked for its version may take longer. */
const DEADLINE_MS = 30_000;
const execute = promisify(execFile);

/** Runs a program that answers in a moment, and what it wrote; never rejects. */
export const run = async (command: string, args: readonly string[]): Promise<Answer> => {
  try {
    return { ok: true, ...(await execute(command, args, { timeout: DEADLINE_MS, killSignal: "SIGKILL", encoding: "utf8" })) };
  } catch {
    return { ok: false, stdout: "", stderr: "" };
  }
};
