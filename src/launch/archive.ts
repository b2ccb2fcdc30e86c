import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { constants, setPriority } from "node:os";
import { sweep } from "./processes.ts";
import { driverEnvironment } from "./spark.ts";

export interface ArchiveSettings {
  readonly python: string;
  readonly java: string | null;
  readonly sparkHome: string | null;
  readonly shimDir: string;
  /** Where archives are cached; null: none are made. */
  readonly archiveDir: string | null;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface ArchiveJob {
  /** Ends it, and the JVM it trains, if they still run. Idempotent. */
  close(): Promise<void>;
}

/** How long it may take to tidy up after itself. */
const GRACE_MS = 2_000;

/**
 * Makes the class-data archive for this Java and Spark, if it is missing, at the lowest priority: drivers started later load their
 * classes from it. Whether it succeeds only changes how fast they start, so nobody is told.
 */
export const startArchiveJob = (settings: ArchiveSettings): ArchiveJob => {
  const { archiveDir, java, python, sparkHome } = settings;
  if (archiveDir === null) return { close: () => Promise.resolve() };
  const options = [...(java === null ? [] : ["--java", java]), ...(sparkHome === null ? [] : ["--spark-home", sparkHome])];
  // Marked as a driver's processes are, so that they can be found as those are.
  const mark = `archive-${randomUUID()}`;
  const child = spawn(python, ["-m", "spark_shim.archive", "--cache", archiveDir, ...options], {
    env: driverEnvironment(settings.environment, mark, settings.shimDir),
    // Away from our terminal: it is ended by `close`, not by a Ctrl-C that is meant for the server.
    detached: true,
    stdio: "ignore",
  });
  const gone = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  child.unref();
  try {
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
  } catch {
    // It has ended already.
  }
  return {
    close: async () => {
      // Python's KeyboardInterrupt: it ends its JVM and removes what is half made.
      child.kill("SIGINT");
      const timer = setTimeout(() => child.kill("SIGKILL"), GRACE_MS);
      await gone;
      clearTimeout(timer);
      await sweep(mark);
    },
  };
};
