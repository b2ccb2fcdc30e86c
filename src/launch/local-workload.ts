import { mkdir, open, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { publishSession } from "../core/events.ts";
import type { Claim, Workload } from "../core/ports.ts";
import type { WorkloadPhase } from "../core/states.ts";
import { endStateOf, Termination } from "./ending.ts";
import { describe, readWhole } from "./files.ts";
import { readLogEnd } from "./journal.ts";
import { opened } from "./opened.ts";
import { Phases } from "./phases.ts";
import { bootId, findByArgument, isAlive, sweep } from "./processes.ts";
import { RESTART_LIMIT, recentOf, TOO_OFTEN } from "./restarts.ts";
import type { SessionPaths } from "./runtime.ts";
import {
  adoptSupervisor,
  readSupervisorFile,
  type Supervisor,
  type SupervisorFile,
  startSupervisor,
  supervisorArguments,
  writeSupervisorFile,
} from "./supervisor.ts";

type Ended = Extract<WorkloadPhase, { phase: "ended" }>;

/** What a workload needs of its launcher. */
export interface LocalWorkloadParts {
  readonly claim: Claim;
  readonly key: Uint8Array;
  readonly seal: Uint8Array;
  readonly paths: SessionPaths;
  /** The command for the supervisor, without its output. */
  readonly python: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Whether an earlier server may have started it without having written that down. */
  readonly mayRunUnknown: boolean;
  /** Writes what the supervisor is told, where it is not there yet. */
  prepare(): Promise<void>;
}

const TAIL_LINES = 100;
/** Of an application's log, that an end holds itself. */
const KEPT_LINES = 1_000;
const TAIL_BYTES = 64 * 1024;
/** What supervisors may have written before the next one is started. */
const OUTPUT_LIMIT_BYTES = 1024 * 1024;
/** A socket ends a moment before its process does. */
const AFTER_SOCKET_MS = 100;

/**
 * A driver as processes of this machine. One loop looks where it stands and does what is next, whoever left it there: adopt what runs,
 * tell of what ended, start what never ran, start again what crashed.
 */
export class LocalWorkload implements Workload {
  readonly mute = null;
  readonly key: Uint8Array;
  readonly seal: Uint8Array;
  readonly #parts: LocalWorkloadParts;
  readonly #phases: Phases;
  readonly #released = Promise.withResolvers<"released">();
  readonly #life: Promise<void>;
  #releasing = false;
  #supervisor: Supervisor | null = null;
  #stopped: Promise<void> | null = null;
  #stopSignal: NodeJS.Signals | null = null;
  #mayRunUnknown: boolean;

  constructor(parts: LocalWorkloadParts) {
    this.#parts = parts;
    this.key = parts.key;
    this.seal = parts.seal;
    this.#mayRunUnknown = parts.mayRunUnknown;
    const { end } = parts.claim;
    this.#phases = new Phases(end, "The driver's process is being started.");
    this.#life = end === null ? this.#live() : Promise.resolve();
  }

  get phase(): WorkloadPhase {
    return this.#phases.current;
  }

  phases(signal: AbortSignal): AsyncIterable<WorkloadPhase> {
    return this.#phases.follow(signal);
  }

  async dial(signal: AbortSignal): Promise<Duplex> {
    await this.#phases.running(signal);
    const socket = await opened(connect({ path: this.#parts.paths.socket }), "connect", signal);
    socket.once("close", () => setTimeout(() => this.#supervisor?.look(), AFTER_SOCKET_MS).unref());
    return socket;
  }

  stop(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  /** Stops watching; the processes go on. Idempotent. */
  async release(): Promise<void> {
    this.#releasing = true;
    this.#released.resolve("released");
    await this.#life;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#signal("SIGTERM");
    const timer = setTimeout(() => this.#signal("SIGKILL"), graceMs);
    await this.#life;
    clearTimeout(timer);
  }

  #signal(signal: NodeJS.Signals): void {
    this.#stopSignal = signal;
    this.#supervisor?.signal(signal);
  }

  async #live(): Promise<void> {
    try {
      while (!this.#releasing && this.phase.phase !== "ended") await this.#step();
    } catch (error) {
      this.#phases.set({ ...(await this.#dead(`The driver could not be started: ${describe(error)}.`)), cause: "submission-refused" });
    }
  }

  async #step(): Promise<void> {
    const supervisor = (await this.#find()) ?? (await this.#endOrStart());
    if (supervisor === null) return;
    this.#supervisor = supervisor;
    if (this.#stopSignal !== null) supervisor.signal(this.#stopSignal);
    this.#phases.set({ phase: "running" });
    await Promise.race([supervisor.exited, this.#released.promise]);
    supervisor.release();
    this.#supervisor = null;
  }

  /** The supervisor that runs already. */
  async #find(): Promise<Supervisor | null> {
    const { claim, paths } = this.#parts;
    const known = await readSupervisorFile(paths.supervisor);
    if (known?.process && isAlive(known.process)) return adoptSupervisor(known.process);
    if (!this.#mayRunUnknown) return null;
    // A server that was killed between starting it and writing that down.
    this.#mayRunUnknown = false;
    const unknown = await findByArgument(claim.uid, paths.driver);
    if (unknown === null) return null;
    // On a full disk it runs all the same, and is found this way again.
    await writeSupervisorFile(paths.supervisor, { process: unknown, boot: unknown.boot, restartsMs: known?.restartsMs ?? [] }).catch(
      () => undefined,
    );
    return adoptSupervisor(unknown);
  }

  /** No supervisor runs: either that was the end, or one is started. */
  async #endOrStart(): Promise<Supervisor | null> {
    const known = await readSupervisorFile(this.#parts.paths.supervisor);
    if (known !== null) await this.#sweep();
    const end = await this.#end(known);
    if (end !== null) {
      this.#phases.set(end);
      return null;
    }
    return this.#start(known);
  }

  async #sweep(): Promise<void> {
    const { id, uid } = this.#parts.claim;
    const left = await sweep(uid);
    if (left.length > 0)
      publishSession({ session: id, event: "fault", detail: `these processes of it could not be killed: ${left.join(", ")}` });
  }

  /** How it ended, if it did. */
  async #end(known: SupervisorFile | null): Promise<Ended | null> {
    const termination = await readWhole(this.#parts.paths.termination, Termination).catch(() => null);
    if (termination !== null) {
      const { appId: _known, ...told } = termination;
      return { phase: "ended", ...told, ...(await this.#keptLog()), state: endStateOf(termination) };
    }
    if (this.#stopSignal !== null) {
      const reason = "The session was stopped.";
      return { phase: "ended", state: "killed", reason, logTail: await this.#lastWords(reason) };
    }
    if (known === null) return null;
    if (known.boot !== bootId()) return this.#dead("The machine was restarted while the session ran.");
    if (recentOf(known.restartsMs).length < RESTART_LIMIT) return null;
    return this.#dead(`The driver's supervisor crashed, and was started again ${TOO_OFTEN}.`);
  }

  async #start(known: SupervisorFile | null): Promise<Supervisor> {
    const { paths, python, environment } = this.#parts;
    const restartsMs = known === null ? [] : [...recentOf(known.restartsMs), Date.now()];
    if (restartsMs.length > 0)
      this.#phases.set({ phase: "pending", reason: "The driver's supervisor crashed and is being started again." });
    await this.#parts.prepare();
    await mkdir(paths.work, { recursive: true, mode: 0o700 });
    // Written before the start too: on a full disk nothing is started that could not be found again.
    const boot = bootId();
    await writeSupervisorFile(paths.supervisor, { process: null, boot, restartsMs });
    await shorten(paths.output);
    const output = await open(paths.output, "a", 0o600);
    try {
      const supervisor = await startSupervisor({
        python,
        arguments: supervisorArguments(paths.driver),
        directory: paths.directory,
        environment,
        outputFd: output.fd,
      });
      // If this cannot be written the next server finds the process by the session's mark in its environment.
      await writeSupervisorFile(paths.supervisor, { process: supervisor.identity, boot, restartsMs }).catch(() => undefined);
      return supervisor;
    } finally {
      await output.close();
    }
  }

  async #dead(reason: string): Promise<Ended> {
    return { phase: "ended", state: "dead", reason, logTail: await this.#lastWords(reason), cause: "driver-lost" };
  }

  /** An application's log stays where its supervisor left it. */
  async #keptLog(): Promise<{ logTail: readonly string[]; logLines: number } | object> {
    if (this.#parts.claim.spec.application === undefined) return {};
    const { total, lines } = await readLogEnd(this.#parts.paths.log, KEPT_LINES).catch(() => ({ total: 0, lines: [] }));
    return total === 0 ? {} : { logTail: lines, logLines: total };
  }

  async #lastWords(reason: string): Promise<string[]> {
    return [...(await tail(this.#parts.paths.output)), reason];
  }
}

/** Only a supervisor that crashes writes there, so that a file that has grown is one of many lives: its end is kept. */
const shorten = async (path: string): Promise<void> => {
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  if (size > OUTPUT_LIMIT_BYTES) await writeFile(path, `${(await tail(path)).join("\n")}\n`, { mode: 0o600 });
};

const tail = async (path: string): Promise<string[]> => {
  try {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      const from = Math.max(0, size - TAIL_BYTES);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(size, TAIL_BYTES)), 0, TAIL_BYTES, from);
      return buffer
        .toString("utf8", 0, bytesRead)
        .split("\n")
        .filter((line) => line !== "")
        .slice(-TAIL_LINES);
    } finally {
      await file.close();
    }
  } catch {
    return [];
  }
};
