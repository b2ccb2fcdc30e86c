import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
};
const link = (path: string): string => {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
};

export interface RunningProcess {
  readonly pid: number;
  readonly command: string;
}

/** Whether a process is there and not merely waiting to be reaped by its parent. */
export const lives = (pid: number): boolean => /^State:\s+[^ZX\s]/m.test(read(`/proc/${pid}/status`));

/** Processes whose command line, environment or working directory names this text. */
export const processesNaming = (text: string): readonly RunningProcess[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((name) => ({ pid: Number(name), command: read(`/proc/${name}/cmdline`).replaceAll("\0", " ").trim() }))
    .filter(({ pid, command }) => {
      const named = command.includes(text) || read(`/proc/${pid}/environ`).includes(text) || link(`/proc/${pid}/cwd`).includes(text);
      return named && lives(pid);
    });

/** Resident memory of one process in KiB, pages shared with others counted in full; 0 when it is gone. */
export const residentKib = (pid: number): number => Number(/VmRSS:\s+(\d+) kB/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);

/** Memory of one process in KiB, shared pages divided among those who share them; 0 when it is gone. */
export const proportionalKib = (pid: number): number => Number(/^Pss:\s+(\d+) kB/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0);
