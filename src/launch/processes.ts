import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** A process for good: its id alone may be given to another one. */
export interface ProcessIdentity {
  readonly pid: number;
  /** As the system counts it; only compared. */
  readonly startTime: string;
  /** The boot it ran under: after another one it is gone, whatever its id says now. */
  readonly boot: string;
}

/** Every process of a driver has its session's uid in this variable. */
const SESSION_VARIABLE = "LONGWICK_SESSION";
const LINUX = process.platform === "linux";
/** How long killed processes may take to be gone. */
const SWEEP_MS = 10_000;

/** Which boot of the machine this is; the empty string where the system does not say. */
export const bootId = (): string => {
  try {
    return LINUX
      ? readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()
      : execFileSync("sysctl", ["-n", "kern.boottime"], { encoding: "utf8" }).trim();
  } catch {
    return "";
  }
};

/** The process that has this id now; null when there is none or only its corpse. */
export const identify = (pid: number): ProcessIdentity | null => {
  const startTime = LINUX ? linuxStat(pid)?.startTime : psStartTime(pid);
  return startTime === undefined ? null : { pid, startTime, boot: bootId() };
};

/** Cheap: one small read on Linux. */
export const isAlive = ({ pid, startTime, boot }: ProcessIdentity): boolean => {
  const now = identify(pid);
  return now !== null && now.startTime === startTime && now.boot === boot;
};

/** Signals the process if it is still this one. */
export const signalProcess = (identity: ProcessIdentity, signal: NodeJS.Signals): void => {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, signal);
  } catch {
    // It went between the look and the signal.
  }
};

/** Processes with the session in their environment and the descendants of those; only Linux tells. */
export const processesOf = async (session: string): Promise<number[]> => {
  if (!LINUX) return [];
  const mark = Buffer.from(`${SESSION_VARIABLE}=${session}\0`);
  const parents = new Map<number, number>();
  const found = new Set<number>();
  for (const name of await readdir("/proc")) {
    const pid = Number(name);
    const stat = Number.isInteger(pid) && pid !== process.pid ? linuxStat(pid) : undefined;
    if (stat === undefined) continue;
    parents.set(pid, stat.parent);
    // Other users' environments cannot be read; they cannot be ours either.
    const environment = await readFile(`/proc/${name}/environ`).catch(() => Buffer.alloc(0));
    if (hasEntry(environment, mark)) found.add(pid);
  }
  const descends = (pid: number): boolean => {
    for (let at = parents.get(pid); at !== undefined; at = parents.get(at)) if (found.has(at)) return true;
    return false;
  };
  return [...parents.keys()].filter((pid) => found.has(pid) || descends(pid));
};

/** The session's process whose command line holds this argument: a supervisor that nobody wrote down. */
export const findByArgument = async (session: string, argument: string): Promise<ProcessIdentity | null> => {
  for (const pid of await processesOf(session)) {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (command.split("\0").includes(argument)) return identify(pid);
  }
  return null;
};

/** Kills what is left of a session, again and again until nothing is; answers the ids that would not go. */
export const sweep = async (session: string): Promise<readonly number[]> => {
  const endMs = performance.now() + SWEEP_MS;
  for (;;) {
    const left = await processesOf(session);
    if (left.length === 0 || performance.now() > endMs) return left;
    for (const pid of left) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone by itself.
      }
    }
    await sleep(10);
  }
};

const hasEntry = (environment: Buffer, entry: Buffer): boolean => {
  for (let at = environment.indexOf(entry); at !== -1; at = environment.indexOf(entry, at + 1)) {
    if (at === 0 || environment[at - 1] === 0) return true;
  }
  return false;
};

/** Undefined for no process and for zombies: where nobody reaps, a driver that ended stays one for ever. */
const linuxStat = (pid: number): { parent: number; startTime: string } | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // After the command's name, which may hold anything: state, parent, …; the start time is the 20th of these (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, parent, startTime] = [fields[0], fields[1], fields[19]];
    return state === "Z" || state === "X" || parent === undefined || startTime === undefined
      ? undefined
      : { parent: Number(parent), startTime };
  } catch {
    return undefined;
  }
};

const psStartTime = (pid: number): string | undefined => {
  try {
    const [state, ...started] = execFileSync("ps", ["-o", "state=,lstart=", "-p", String(pid)], { encoding: "utf8" })
      .trim()
      .split(/\s+/);
    return state === undefined || state.startsWith("Z") ? undefined : started.join(" ");
  } catch {
    return undefined;
  }
};
