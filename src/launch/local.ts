import { stat } from "node:fs/promises";
import { join } from "node:path";
import { publishSession } from "../core/events.ts";
import {
  type Attempt,
  type Claim,
  type ClaimDraft,
  type ClaimListener,
  type Launcher,
  type LaunchPlan,
  PLANNED,
  type SessionDraft,
  type SessionEnd,
  type Workload,
} from "../core/ports.ts";
import { redactLists, redactValue } from "../core/redaction.ts";
import { uploadsIn } from "../core/upload-uri.ts";
import type { RecordFrame } from "../protocol/frames.ts";
import { type ArchiveJob, startArchiveJob } from "./archive.ts";
import { shownConf, sourced } from "./conf.ts";
import { type DriverLimits, driverFile } from "./driver-file.ts";
import { writeWhole } from "./files.ts";
import { readJournal, readLog } from "./journal.ts";
import { LocalSchedules } from "./local-schedules.ts";
import { LocalWorkload } from "./local-workload.ts";
import { signalProcess, sweep } from "./processes.ts";
import { currentPaths, RuntimeDirectory, type SessionPaths } from "./runtime.ts";
import { admittedSpec, driverEnvironment, type SparkSettings, sparkLaunch } from "./spark.ts";
import { readSupervisorFile, supervisorArguments } from "./supervisor.ts";
import { copyUploads } from "./upload-copies.ts";

/** What the local launcher must be told. */
export interface LocalSettings extends SparkSettings, DriverLimits {
  /** Made if missing, 0700; one server at a time. */
  readonly runtimeDir: string;
  /** The directory or zip file that holds the Python package spark_shim. */
  readonly shimDir: string;
  /** Runs supervisors and interpreters. */
  readonly python: string;
  /** null: JAVA_HOME's or the PATH's. */
  readonly java: string | null;
  /** null: that of the Python's pyspark package. */
  readonly sparkHome: string | null;
  /** Where class-data archives are cached; null: none are made. */
  readonly archiveDir: string | null;
  /** Where this machine has an upload as a file; null: nowhere, drivers are sent it over their links. */
  readonly uploadPath: (id: string) => string | null;
}

/**
 * Drivers as detached processes of this machine, known by a runtime directory. Begins to make the class-data archive in the background.
 * Rejects when another server holds the directory or nothing can be stored there.
 */
export const openLocalLauncher = async (settings: LocalSettings): Promise<Launcher> => {
  const runtime = await RuntimeDirectory.open(settings.runtimeDir);
  return new LocalLauncher(settings, runtime, startArchiveJob(settings));
};

class LocalLauncher implements Launcher {
  readonly schedules: LocalSchedules;
  readonly #settings: LocalSettings;
  readonly #runtime: RuntimeDirectory;
  readonly #archive: ArchiveJob;
  readonly #workloads = new Map<number, LocalWorkload>();
  /** Claims made by this server: nobody else can have started their drivers. */
  readonly #fresh = new Set<number>();

  constructor(settings: LocalSettings, runtime: RuntimeDirectory, archive: ArchiveJob) {
    this.#settings = settings;
    this.#runtime = runtime;
    this.#archive = archive;
    this.schedules = new LocalSchedules(runtime.schedules, { now: Date.now });
  }

  async claim(draft: ClaimDraft, signal: AbortSignal): Promise<Claim> {
    signal.throwIfAborted();
    const spec = admittedSpec(draft.spec, this.#settings);
    const claim = await this.#runtime.claim({ ...draft, spec }, Date.now());
    this.#fresh.add(claim.id);
    return claim;
  }

  async plan(draft: SessionDraft, signal: AbortSignal): Promise<LaunchPlan> {
    signal.throwIfAborted();
    const { id, uid } = PLANNED;
    const { python, environment: inherited, shimDir } = this.#settings;
    const { conf, jars, pyFiles, files, archives, env } = sparkLaunch(id, admittedSpec(draft.spec, this.#settings), this.#settings);
    const set = Object.entries({ ...driverEnvironment(inherited, uid, shimDir), ...env }).filter(
      ([name, value]) => inherited[name] !== value,
    );
    return {
      ...redactLists({ jars, pyFiles, files, archives }),
      conf: shownConf(conf),
      workload: {
        command: [python, ...supervisorArguments(this.#runtime.paths(id).driver)],
        // What it has besides is the server's own.
        environment: Object.fromEntries(set.map(([name, value]) => [name, redactValue(name, value)])),
      },
    };
  }

  /** The directory is this server's alone: nothing comes or goes that it does not do itself. */
  async follow(listener: ClaimListener, signal: AbortSignal): Promise<void> {
    for (const claim of await this.#runtime.claims()) {
      signal.throwIfAborted();
      if (claim.end !== null && !(await this.#runtime.concluded(claim.id))) await this.#abandon(claim, claim.end);
      listener.known(claim);
    }
  }

  async find(): Promise<null> {
    return null;
  }

  launch(claim: Claim): Workload {
    const known = this.#workloads.get(claim.id);
    if (known !== undefined) return known;
    const { uid } = claim;
    const { python, environment, shimDir } = this.#settings;
    const paths = currentPaths(this.#runtime, claim);
    const workload = new LocalWorkload({
      claim,
      key: this.#runtime.key(uid),
      seal: this.#runtime.seal(uid),
      paths,
      python,
      environment: driverEnvironment(environment, uid, shimDir),
      mayRunUnknown: !this.#fresh.has(claim.id),
      prepare: () => this.#prepare(claim, paths),
    });
    this.#workloads.set(claim.id, workload);
    return workload;
  }

  async retry(claim: Claim, attempt: Attempt): Promise<Claim> {
    const next = await this.#runtime.retry(claim, attempt);
    await this.#workloads.get(claim.id)?.release();
    this.#workloads.delete(claim.id);
    return next;
  }

  conclude(claim: Claim, end: SessionEnd): Promise<SessionEnd> {
    return this.#runtime.conclude(claim, end);
  }

  log(claim: Claim, from: number, lines: number): Promise<readonly string[]> {
    return readLog(currentPaths(this.#runtime, claim).log, from, lines);
  }

  records(claim: Claim): AsyncIterable<readonly RecordFrame[]> {
    return readJournal(currentPaths(this.#runtime, claim).records);
  }

  /** They are threads of the driver, or another Spark's. */
  readonly showsExecutors = false;

  async executors(): Promise<readonly []> {
    return [];
  }

  async executorLog(): Promise<null> {
    return null;
  }

  async remove(claim: Claim): Promise<void> {
    await this.#runtime.remove(claim);
    await this.#workloads.get(claim.id)?.release();
    this.#workloads.delete(claim.id);
    this.#fresh.delete(claim.id);
  }

  async close(): Promise<void> {
    await this.schedules.close();
    await this.#archive.close();
    await Promise.all([...this.#workloads.values()].map((workload) => workload.release()));
    await this.#runtime.close();
  }

  /** What a claim that cannot be read has left running is nobody's: it goes. */
  async #abandon(claim: Claim, end: SessionEnd): Promise<void> {
    publishSession({ session: claim.id, event: "fault", detail: end.reason });
    const known = await readSupervisorFile(currentPaths(this.#runtime, claim).supervisor);
    if (known?.process) signalProcess(known.process, "SIGKILL");
    await sweep(claim.uid);
    await this.#runtime.conclude(claim, end);
  }

  async #prepare(claim: Claim, paths: SessionPaths): Promise<void> {
    const present = await stat(paths.driver).catch(() => null);
    if (present === null) await writeWhole(paths.driver, JSON.stringify(await this.#driverFile(claim, paths)));
    await copyUploads(uploadsIn(claim.spec), paths.uploads, this.#settings.uploadPath);
    await this.#runtime.prepareSocket(paths);
  }

  async #driverFile(claim: Claim, paths: SessionPaths): Promise<object> {
    const settings = this.#settings;
    const spec = await this.#runtime.spec(claim.id);
    const startDir = spec.kernel?.directory ?? null;
    const launch = sparkLaunch(claim.id, spec, settings);
    // Tables go where they go without a directory of the user's: with the session.
    const warehouse = startDir === null ? {} : sourced("server", { "spark.sql.warehouse.dir": join(paths.work, "spark-warehouse") });
    const place = {
      listen: { unix: paths.socket },
      journal: paths.journal,
      termination: paths.termination,
      workDir: paths.work,
      startDir,
      python: settings.python,
      java: settings.java,
      sparkHome: settings.sparkHome,
      archive: settings.archiveDir,
    };
    return driverFile(claim, spec, this.#runtime.key(claim.uid), place, { ...launch, conf: { ...warehouse, ...launch.conf } }, settings);
  }
}
