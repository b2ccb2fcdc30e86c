import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "./until.ts";

const ROOT = "/sys/fs/cgroup";
const GONE_MS = 20_000;

/** Where the kernel's two versions of control groups keep what is needed here. */
const LAYOUT = existsSync(join(ROOT, "cgroup.controllers"))
  ? { parent: ROOT, limit: "memory.max", events: "memory.events" }
  : { parent: join(ROOT, "memory"), limit: "memory.limit_in_bytes", events: "memory.oom_control" };

/** A control group that the kernel lets have so much memory and no more: beyond it the largest process in there is killed. Needs root. */
export class MemoryLimit implements AsyncDisposable {
  readonly #path: string;

  constructor(bytes: number) {
    const { parent, limit } = LAYOUT;
    this.#path = join(parent, `longwick-test-${process.pid}`);
    try {
      if (parent === ROOT) writeFileSync(join(ROOT, "cgroup.subtree_control"), "+memory");
      mkdirSync(this.#path);
      writeFileSync(join(this.#path, limit), String(bytes));
    } catch (cause) {
      throw new Error("no control groups here: run the tests where root may make one that limits memory", { cause });
    }
  }

  /** From now on what these processes and their children allocate counts; what they have already does not. */
  hold(pids: readonly number[]): void {
    for (const pid of pids) writeFileSync(join(this.#path, "cgroup.procs"), String(pid));
  }

  /** How many processes the kernel killed for it. */
  get kills(): number {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(join(this.#path, LAYOUT.events), "utf8"))?.[1] ?? Number.NaN);
  }

  /** Once nothing in there lives any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await until("the control group is empty", GONE_MS, () => {
      try {
        rmdirSync(this.#path);
        return true;
      } catch {
        return undefined;
      }
    });
  }
}
