import { spawn } from "node:child_process";
import { constants, setPriority } from "node:os";
import { driverEnvironment } from "./spark.ts";

export interface ArchiveSettings {
  readonly python: string;
  readonly java: string | null;
  readonly sparkHome: string | null;
  readonly shimDir: string;
  /** null: no archive is wanted. */
  readonly archiveDir: string | null;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface ArchiveJob {
  /** Kills it if it still runs. Idempotent. */
  close(): Promise<void>;
}

/** Marks the job's processes as LONGWICK_SESSION marks a driver's. */
const MARK = "class-data-archive";

/**
 * Makes the class-data archive for this Java and Spark, if it is missing, at the lowest priority: drivers started later load their
 * classes from it. Whether it succeeds only changes how fast they start, so nobody is told.
 */
export const startArchiveJob = (settings: ArchiveSettings): ArchiveJob => {
  const { archiveDir, java, python, sparkHome } = settings;
  if (archiveDir === null) return { close: () => Promise.resolve() };
  const options = [...(java === null ? [] : ["--java", java]), ...(sparkHome === null ? [] : ["--spark-home", sparkHome])];
  const child = spawn(python, ["-m", "spark_shim.archive", "--directory", archiveDir, ...options], {
    env: driverEnvironment(settings.environment, MARK, settings.shimDir),
    // A group of its own: it is killed with the JVM that it started.
    detached: true,
    stdio: "ignore",
  });
  const gone = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  child.unref();
  const { pid } = child;
  if (pid === undefined) return { close: () => gone };
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW);
  } catch {
    // It has ended already.
  }
  return {
    close: async () => {
      if (child.exitCode === null && child.signalCode === null) killGroup(pid);
      await gone;
    },
  };
};

const killGroup = (pid: number): void => {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It went by itself.
  }
};
