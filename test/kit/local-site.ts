import { chmod, mkdir, mkdtemp, readdir, readFile, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Claim, Launcher } from "../../src/core/ports.ts";
import { type LocalSettings, openLocalLauncher } from "../../src/launch/local.ts";
import { processesOf, sweep } from "../../src/launch/processes.ts";
import type { LaunchSite } from "../launch/contract.ts";
import { DRIVER_LIMITS, SHIM, SPARK_SETTINGS, STUB_JAVA } from "./launch-settings.ts";

/** Settings for drivers whose supervisor and interpreter are the real ones, with a
 * JVM that never comes up and ends when its stdin does: these tests need no Spark. */
export const settingsWithoutSpark = async (root: string, runtimeDir = join(root, "run")): Promise<LocalSettings> => {
  const sparkHome = join(root, "spark");
  const java = join(root, "java");
  await mkdir(join(sparkHome, "jars"), { recursive: true });
  await writeFile(join(sparkHome, "jars", "spark-core_2.13-4.0.0.jar"), "");
  await writeFile(java, STUB_JAVA);
  await chmod(java, 0o755);
  return {
    ...DRIVER_LIMITS,
    ...SPARK_SETTINGS,
    runtimeDir,
    shimDir: SHIM,
    python: "python3",
    java,
    sparkHome,
    archiveDir: null,
    uploadPath: () => null,
    environment: process.env,
    orphanTimeoutMs: 60_000,
  };
};

/** A runtime directory of its own, with what its sessions are found by. */
export class LocalSite implements LaunchSite {
  readonly root: string;
  readonly settings: LocalSettings;

  private constructor(root: string, settings: LocalSettings) {
    this.root = root;
    this.settings = settings;
  }

  static async make(asked: Partial<LocalSettings> = {}): Promise<LocalSite> {
    const root = await mkdtemp(join(tmpdir(), "longwick-site-"));
    return new LocalSite(root, { ...(await settingsWithoutSpark(root)), ...asked });
  }

  session(id: number, ...names: string[]): string {
    return join(this.settings.runtimeDir, "sessions", String(id), ...names);
  }

  open(): Promise<Launcher> {
    return openLocalLauncher(this.settings);
  }

  openBroken(): Promise<Launcher> {
    return openLocalLauncher({ ...this.settings, python: join(this.root, "no-python") });
  }

  /** A dead process holds no lock; the launcher that is left has nothing more to do in these tests. */
  async abandon(_launcher: Launcher): Promise<void> {
    for (const name of await readdir(this.settings.runtimeDir)) {
      if (name.startsWith("lock-")) await unlink(join(this.settings.runtimeDir, name));
    }
  }

  async running(claim: Claim): Promise<number> {
    return (await processesOf(claim.uid)).length;
  }

  async supervisorPid(id: number): Promise<number> {
    const file: { process: { pid: number } } = JSON.parse(await readFile(this.session(id, "supervisor.json"), "utf8"));
    return file.process.pid;
  }

  async crash(claim: Claim): Promise<void> {
    process.kill(await this.supervisorPid(claim.id), "SIGKILL");
  }

  async dispose(): Promise<void> {
    const sessions = join(this.settings.runtimeDir, "sessions");
    for (const id of await readdir(sessions).catch(() => [])) {
      const text = await readFile(join(sessions, id, "driver.json"), "utf8").catch(() => "{}");
      const uid = /"session":"([0-9a-f-]{36})"/.exec(text)?.[1];
      if (uid !== undefined) await sweep(uid);
    }
    await rm(this.root, { recursive: true, force: true });
  }
}
