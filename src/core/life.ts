import type { Duplex } from "node:stream";
import type { SparkFacts } from "../protocol/frames.ts";
import { Changes } from "./changes.ts";
import { Driver, type EndedPhase } from "./driver.ts";
import { publishSession } from "./events.ts";
import type { Claim, Clock, ExecutorView, ForwardPlace, Launcher, OpenLink, SessionEnd } from "./ports.ts";
import { Problem } from "./problems.ts";
import { nextAttemptMs } from "./retry.ts";
import { type DriverLines, endOfAttempt, endOfPast, type LinePlace, linesLeft, linesOfAttempt } from "./session-log.ts";
import type { SessionSpec } from "./spec.ts";
import type { EndState, SessionState, WorkloadPhase } from "./states.ts";
import type { UploadSource } from "./uploads.ts";

export interface LifeParts {
  readonly launcher: Launcher;
  readonly openLink: OpenLink;
  readonly clock: Clock;
  /** How long a statement may wait for a starting driver. */
  readonly startWaitMs: number;
  /** How long a driver that is stopped may take to end by itself. */
  readonly stopGraceMs: number;
  /** null: there are no uploads. */
  readonly uploads: UploadSource | null;
}

/** A touch reaches the driver at most so often (design.md §3, 9). */
const TOUCH_EVERY_MS = 5_000;
/** The longest a timer can be told to wait. */
const FOREVER_MS = 2 ** 31 - 1;

/**
 * What is claimed and has a driver, from the claim to the end that is written down: launched or adopted, followed, tried again where
 * that was asked for, stopped, concluded; its log. What the driver is there for is its kind's own business.
 */
export abstract class Life {
  protected readonly parts: LifeParts;
  #claim: Claim;
  #driver: Driver;
  /** Revisions of the drivers before this one. */
  #past = 0;
  #begun = false;
  readonly #closing = new AbortController();
  #end: SessionEnd | null;
  #stopping: { state: EndState; reason: string } | null = null;
  #stopped: Promise<void> | null = null;
  /** What was heard of its end while nothing of it was followed. */
  #elsewhere: SessionEnd | null = null;
  #touchedMs = 0;
  #followed: Promise<void> = Promise.resolve();
  /** Of anything that is shown. */
  protected readonly changes = new Changes();

  constructor(claim: Claim, parts: LifeParts) {
    this.#claim = claim;
    this.parts = parts;
    this.#end = claim.end;
    this.#driver = this.#newDriver();
  }

  /** In Livy's words; computed from facts, never assigned. */
  abstract get state(): SessionState;

  get claim(): Claim {
    return this.#claim;
  }
  /** That of the current attempt. */
  protected get driver(): Driver {
    return this.#driver;
  }
  get id(): number {
    return this.claim.id;
  }
  get uid(): string {
    return this.claim.uid;
  }
  get name(): string | null {
    return this.claim.spec.name;
  }
  get owner(): string | null {
    return this.claim.owner;
  }
  get proxyUser(): string | null {
    return this.claim.spec.proxyUser;
  }
  get spec(): SessionSpec {
    return this.claim.spec;
  }
  get createdMs(): number {
    return this.claim.createdMs;
  }
  get facts(): SparkFacts | null {
    return this.driver.view.facts;
  }
  get appId(): string | null {
    return this.facts?.appId ?? this.#end?.appId ?? null;
  }
  get executors(): number {
    return this.driver.view.executors;
  }
  /** One life of the driver's supervisor; null before it was reached. */
  get epoch(): string | null {
    return this.driver.epoch;
  }
  /** The protocol's version that the driver speaks; 0 before it was reached. */
  get protocolVersion(): number {
    return this.driver.protocolVersion;
  }
  /** Whether the driver can be asked at once. */
  get up(): boolean {
    return this.driver.up;
  }
  /** Number of the last record known. */
  get lastSeq(): number {
    return this.driver.view.lastSeq;
  }
  /** What the launcher says of a driver that does not run yet; empty when it does, or nothing is known. */
  get pendingReason(): string {
    const { phase } = this;
    return phase.phase === "pending" ? phase.reason : "";
  }
  /** How it ended; null while it lives. */
  get end(): SessionEnd | null {
    return this.#end;
  }
  /** Grows whenever anything that is shown of it, or its log's tail, has changed. */
  get revision(): number {
    return this.changes.count + this.#past + this.driver.view.revision;
  }

  protected get phase(): WorkloadPhase {
    return this.driver.phase;
  }
  /** Whether somebody asked for the end, or the driver said that it is ending. */
  protected get stopping(): boolean {
    return this.#stopping !== null || this.driver.view.ending !== null;
  }

  /** Starts the workload or adopts the one that is there, and follows it. Does nothing for one that has ended. */
  start(): void {
    if (this.#end !== null || this.#begun) return;
    this.#begun = true;
    this.#followed = this.#live();
  }

  async #live(): Promise<void> {
    while (this.#end === null) {
      const resting = this.#rest();
      if (resting !== null) await resting;
      if (this.#elsewhere !== null) return this.#over(this.#elsewhere);
      if (this.#closing.signal.aborted) return;
      // At once: whoever stops it finds the workload.
      const ended = this.#stopping === null ? await this.driver.follow(this.parts.launcher.launch(this.claim)) : STOPPED;
      if (ended === null) return;
      const end = this.#endOf(ended);
      const nextMs = this.#stopping === null ? nextAttemptMs(this.claim, end) : null;
      await (nextMs === null ? this.#conclude(end) : this.#again(end, nextMs));
    }
  }

  /** Until the current attempt may begin, or shall not; null: it may now. */
  #rest(): Promise<unknown> | null {
    const { attempts } = this.claim;
    const nextMs = attempts.at(-1)?.nextMs ?? 0;
    const restMs = nextMs - this.parts.clock.now();
    if (restMs <= 0) return null;
    this.driver.waits(`Attempt ${attempts.length + 1} begins at ${new Date(nextMs).toISOString()}.`);
    return this.changes
      .until(() => this.#stopping !== null || this.#elsewhere !== null, restMs, this.#closing.signal)
      .catch(() => undefined);
  }

  async #again(end: SessionEnd, nextMs: number): Promise<void> {
    const { id } = this;
    publishSession({ session: id, event: "attempt", detail: `${end.state}: ${end.reason}` });
    const claim = await this.parts.launcher.retry(this.claim, { ...endOfPast(end), nextMs }).catch((error: unknown) => {
      publishSession({ session: id, event: "fault", detail: `its next attempt could not be written down: ${String(error)}` });
      return null;
    });
    if (claim === null) return this.#conclude(end);
    if (claim.end !== null) return this.#over(claim.end);
    this.#claim = claim;
    this.#past += this.#driver.view.revision + 1;
    this.#driver = this.#newDriver();
    this.changes.tell();
  }

  #newDriver(): Driver {
    const { openLink, launcher, uploads, clock } = this.parts;
    const claim = this.#claim;
    return new Driver(claim, {
      openLink,
      now: () => clock.now(),
      uploads,
      changed: () => this.changes.tell(),
      keptLog: (from, lines) => launcher.log(claim, from, lines),
      fail: (reason) => void this.stop("dead", reason),
    });
  }

  /** Another server has ended it. A driver that is followed tells of that itself. */
  endedElsewhere(end: SessionEnd): void {
    this.#elsewhere = end;
    this.changes.tell();
  }

  /**
   * Ends the workload; what is claimed stays listed until retention. Idempotent: the first reason stays. Resolves when nothing of the
   * driver is left and the end is written down.
   */
  stop(state: "dead" | "killed" | "success", reason: string): Promise<void> {
    this.#stopped ??= this.#stop(state, reason);
    return this.#stopped;
  }

  async #stop(state: "dead" | "killed" | "success", reason: string): Promise<void> {
    if (this.#end === null && this.#begun) {
      this.#stopping = { state, reason };
      this.changes.tell();
      await this.driver.stop(state, reason, this.parts.stopGraceMs);
    }
    await this.#followed;
  }

  /** Lets go of the driver without ending it: the server goes, the driver stays. Idempotent. */
  async detach(): Promise<void> {
    this.#closing.abort(new Problem("DRAINING", "The server is shutting down."));
    await this.driver.detach();
    await this.#followed;
  }

  #endOf(phase: EndedPhase): SessionEnd {
    const { view, log } = this.driver;
    // A driver that is ended from outside knows of a signal only; a workload that knows nothing leaves it to the driver to say.
    const own = phase.reason === "" ? view.ending : null;
    const { state: last, reason } = this.#stopping ?? own ?? { ...phase, reason: phase.reason || "The driver exited." };
    // `error` is a word for drivers that are up and broken; nothing follows an end.
    const state = last === "error" ? "dead" : last;
    const endedMs = this.parts.clock.now();
    view.lose(lostBy(this.id, reason), endedMs);
    const { cause, exitCode } = this.#stopping === null ? phase : {};
    return {
      ...{ state, reason, endedMs, appId: this.appId },
      ...log.end(phase.logTail, phase.logLines),
      ...(cause === undefined ? {} : { cause }),
      ...(exitCode === undefined ? {} : { exitCode }),
    };
  }

  async #conclude(end: SessionEnd): Promise<void> {
    const written = await this.parts.launcher.conclude(this.claim, end).catch((error: unknown) => {
      publishSession({ session: this.id, event: "fault", detail: `its end could not be written down: ${String(error)}` });
      return end;
    });
    this.#over(written);
  }

  #over(written: SessionEnd): void {
    this.#end = written;
    this.driver.conclude(written);
    this.changes.tell();
    publishSession({ session: this.id, event: "ended", detail: `${written.state}: ${written.reason}` });
  }

  /** Resolves with true once the driver can be asked or never will be, with false after `waitMs`. */
  reachable(waitMs: number, signal: AbortSignal): Promise<boolean> {
    return this.changes.until(() => this.driver.up || this.#end !== null || this.driver.refused !== null, waitMs, signal);
  }

  /** Resolves with how it ended, once it has; rejects with the signal's reason. */
  async ended(signal: AbortSignal): Promise<SessionEnd> {
    while (this.#end === null) await this.changes.until(() => this.#end !== null, FOREVER_MS, signal);
    return this.#end;
  }

  /** Resolves with true once `revision` is past the one given, with false after `waitMs`. */
  changed(revision: number, waitMs: number, signal: AbortSignal): Promise<boolean> {
    return this.changes.until(() => this.revision !== revision, waitMs, signal);
  }

  /** Resolves with whether the driver's past is known (or there is none to come) within `waitMs`. */
  caughtUp(waitMs: number, signal: AbortSignal): Promise<boolean> {
    return this.changes.until(() => this.driver.knowsPast, waitMs, signal);
  }

  /** Says that somebody looked. Cheap: reaches the driver at most every five seconds, and is forgotten while it cannot. */
  touch(client: string): void {
    const now = this.parts.clock.now();
    // A clock that was put back says nothing of when the last one was.
    if (!this.driver.up || Math.abs(now - this.#touchedMs) < TOUCH_EVERY_MS) return;
    this.#touchedMs = now;
    this.driver.touch(client);
  }

  /** What every server of this claim makes of a text, and nobody else: base64url. Empty once it has ended. */
  seal(text: string): string {
    return this.driver.seal(text);
  }

  /**
   * A connection of its own to a place in the driver, for plain bytes.
   * @throws Problem SESSION_ENDED, DRIVER_UNREACHABLE (also when nothing listens there), NOT_SUPPORTED
   */
  async forward(to: ForwardPlace, signal: AbortSignal): Promise<Duplex> {
    const joined = this.driver.forward(to, signal);
    if (joined === null) throw new Problem("SESSION_ENDED", `Session is in state ${this.state}`);
    return joined;
  }

  /** Whether its executors have logs of their own now. */
  get showsExecutors(): boolean {
    return this.parts.launcher.showsExecutors && this.#end === null && this.phase.phase === "running";
  }

  /** Its executors that are workloads of their own now. @throws Problem DRIVER_UNREACHABLE */
  async executorWorkloads(signal: AbortSignal): Promise<readonly ExecutorView[]> {
    return this.#end === null ? this.#asked(this.parts.launcher.executors(this.claim, signal)) : [];
  }

  /** The last lines of an executor's log while it is there; null: there is none of that name. @throws Problem DRIVER_UNREACHABLE */
  async executorLog(name: string, lines: number, signal: AbortSignal): Promise<string | null> {
    return this.#end === null ? this.#asked(this.parts.launcher.executorLog(this.claim, name, lines, signal)) : null;
  }

  async #asked<Answer>(asked: Promise<Answer>): Promise<Answer> {
    try {
      return await asked;
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new Problem("DRIVER_UNREACHABLE", `The executors cannot be asked for now: ${why}.`, { cause });
    }
  }

  /** Lines of log so far. */
  get logTotal(): number {
    return this.driver.log.total;
  }

  /** The last lines of the log. */
  logTail(lines: number): readonly string[] {
    return this.driver.log.tail(lines);
  }

  /** Lines of the log by absolute position; old ones are read from the driver. */
  log(from: number, lines: number, signal: AbortSignal): Promise<readonly string[]> {
    return this.driver.log.read(from, lines, signal);
  }

  /**
   * What its drivers wrote from a line of an attempt on, as it comes: a line has the same place on every server. Each attempt's lines are
   * followed by how it ended; the last one's end is the end. An attempt that is not known yet is waited for: another server may know it.
   */
  async *driverLines(from: LinePlace, signal: AbortSignal): AsyncGenerator<DriverLines> {
    for (let { attempt, line } = from; ; attempt += 1, line = 0) {
      await this.changes.until(() => this.claim.attempts.length >= attempt - 1 || this.#end !== null, FOREVER_MS, signal);
      const past = this.claim.attempts[attempt - 1];
      const { driver } = this;
      if (past !== undefined) yield { attempt, ...linesLeft(past, line) };
      else if (attempt === this.claim.attempts.length + 1) {
        const over = () => this.#end !== null || this.driver !== driver;
        const settled = () => this.changes.until(() => over() || driver.up, FOREVER_MS, signal);
        const more = async (others: () => boolean): Promise<boolean> => {
          while (!over() && !others()) await this.changes.until(() => others() || over(), FOREVER_MS, signal);
          return others();
        };
        for await (const piece of driver.log.driverLines(line, more, settled, signal)) yield { attempt, ...piece };
      }
      const ended = this.claim.attempts[attempt - 1];
      const end = ended ?? this.#end;
      if (end !== null) yield { attempt, end, last: ended === undefined };
      if (ended === undefined) return;
    }
  }

  /** The whole log in pieces; to be followed, what comes until the end too, through all attempts. */
  async *wholeLog(follow: boolean, signal: AbortSignal): AsyncGenerator<readonly string[]> {
    for (let own = false; ; own = true) {
      const { driver } = this;
      const told = this.claim.attempts.length;
      const over = () => this.#end !== null || !follow || this.driver !== driver;
      const more = async (others: () => boolean): Promise<boolean> => {
        while (!over() && !others()) await this.changes.until(() => others() || over(), FOREVER_MS, signal);
        return others();
      };
      yield* driver.log.pages(more, signal, { own });
      const [ended, ...missed] = this.claim.attempts.slice(told);
      if (ended === undefined) return yield driver.log.tidings;
      // Whoever reads slowly may have been overtaken by more than one.
      yield [endOfAttempt(ended, told), ...missed.flatMap((attempt, index) => linesOfAttempt(attempt, told + 1 + index))];
    }
  }
}

/** A batch that is stopped between two attempts. */
const STOPPED: EndedPhase = { phase: "ended", state: "killed", reason: "", logTail: [] };

/** What a statement that was open at the end is told. */
export const lostBy = (id: number, reason: string): string => `Session ${id} has ended: ${reason}`;
