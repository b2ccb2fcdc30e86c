import { createHmac, randomUUID } from "node:crypto";
import type { Duplex } from "node:stream";
import type { Kind, RecordFrame, ReplyResult, RequestBody, RequestName, SparkFacts } from "../protocol/frames.ts";
import { publishSession } from "./events.ts";
import type { Claim, Clock, DriverLink, ForwardPlace, Launcher, LinkEvent, OpenLink, SessionEnd, Workload } from "./ports.ts";
import { Problem } from "./problems.ts";
import { SessionLog } from "./session-log.ts";
import type { SessionSpec } from "./spec.ts";
import { type EndState, isEnded, isFinalStatement, type SessionState, sessionState, type WorkloadPhase } from "./states.ts";
import { Subscribers } from "./subscribers.ts";
import { type StatementView, View } from "./view.ts";

export interface SessionParts {
  readonly launcher: Launcher;
  readonly openLink: OpenLink;
  readonly clock: Clock;
  /** How long a statement may wait for a starting driver. */
  readonly startWaitMs: number;
  /** How long a driver that is stopped may take to end by itself. */
  readonly stopGraceMs: number;
}

export type SubmitBody = RequestBody<"submit">;
/** A notebook's cell; a driver of an older release runs it as a plain statement. */
export type CellBody = RequestBody<"cell">;
export type CommBody = RequestBody<"comm">;

/** Somebody who has the session open. */
export interface SessionClient {
  /** By which protocol. */
  readonly face: string;
  /** Who is logged in; null while authentication is off. */
  readonly user: string | null;
  readonly sinceMs: number;
}

/** A touch reaches the driver at most so often (design.md §3, 9). */
const TOUCH_EVERY_MS = 5_000;
/** A driver that is to go is waited for so long before it is told, and by it for its links. */
const LAST_WORDS_MS = 1_000;
/** The longest a timer can be told to wait. */
const FOREVER_MS = 2 ** 31 - 1;
const READ_LIMIT_BYTES = 8 * 1024 * 1024;
/** How far and how long the driver is asked for what has not come over the link yet. */
const AHEAD_LIMIT_BYTES = 1024 * 1024;
const AHEAD_MS = 2_000;
/** In base64 and JSON it still fits one line of the wire. */
const UPLOAD_PIECE_BYTES = 180 * 1024;

/**
 * One session: a claim, the workload that carries its driver, the link to it and the fold of what it said. Its state is computed from
 * these whenever asked. Nothing here survives only in memory.
 */
export class Session {
  readonly claim: Claim;
  readonly #parts: SessionParts;
  readonly #view = new View();
  readonly #subscribers: Subscribers;
  readonly #log: SessionLog;
  readonly #closing = new AbortController();
  #workload: Workload | null = null;
  #link: DriverLink | null = null;
  #phase: WorkloadPhase = { phase: "pending", reason: "" };
  #linkRefused: string | null = null;
  /** Why there is no connection to the driver; null while there is one, or nothing was tried. */
  #linkDown: string | null = null;
  /** The driver's last record when it was reached; null before that. */
  #headSeq: number | null = null;
  /** Whether the driver's past has been folded: before that, what is not known may be there all the same. */
  #caughtUp = false;
  #end: SessionEnd | null;
  #stopping: { state: EndState; reason: string } | null = null;
  #stopped: Promise<void> | null = null;
  #keeping: Promise<void> | null = null;
  #recalled: Promise<void> | null = null;
  #touchedMs = 0;
  #revision = 0;
  #followed: Promise<void> = Promise.resolve();
  /** Called at each change, by whoever waits for one. */
  readonly #waiters = new Set<() => void>();
  readonly #clients = new Set<SessionClient>();
  /** The life of the supervisor that is followed, and the protocol's version it speaks. */
  #hello: { readonly epoch: string; readonly version: number } | null = null;

  constructor(claim: Claim, parts: SessionParts) {
    this.claim = claim;
    this.#parts = parts;
    this.#end = claim.end;
    this.#subscribers = new Subscribers((fromSeq, signal) => this.#read(fromSeq, signal));
    this.#log = new SessionLog(claim, this.#view, {
      ask: (fromLine, lines, signal) => this.#askLog(fromLine, lines, signal),
      tidings: () => this.#tidings(),
    });
    if (claim.end !== null) this.#phase = { phase: "ended", ...claim.end };
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
    return this.#view.facts;
  }
  get appId(): string | null {
    return this.#view.facts?.appId ?? this.#end?.appId ?? null;
  }
  get executors(): number {
    return this.#view.executors;
  }
  /** Who has it open now, in order of coming. */
  get clients(): readonly SessionClient[] {
    return [...this.#clients];
  }
  /** One life of the driver's supervisor; null before it was reached. */
  get epoch(): string | null {
    return this.#hello?.epoch ?? null;
  }
  /** The protocol's version that the driver speaks; 0 before it was reached. */
  get protocolVersion(): number {
    return this.#hello?.version ?? 0;
  }
  /** Number of the last record known. */
  get lastSeq(): number {
    return this.#view.lastSeq;
  }
  /** The statement that runs now. */
  get running(): StatementView | undefined {
    return this.#view.running;
  }
  /** The number of the last statement in the interpreter's history; 0: none yet. */
  get executionCount(): number {
    return this.#view.executionCount;
  }
  /** Interpreters that have ended so far. */
  get lives(): number {
    return this.#view.lives;
  }
  /** Why the last of them did; null: none has. */
  get exitReason(): string | null {
    return this.#view.exitReason;
  }
  /** When it was last used, Unix time in milliseconds. */
  get activityMs(): number {
    return Math.max(this.claim.createdMs, this.#view.activityMs);
  }
  /** What the launcher says of a driver that does not run yet; empty when it does, or nothing is known. */
  get pendingReason(): string {
    return this.#phase.phase === "pending" ? this.#phase.reason : "";
  }
  /** How it ended; null while it lives. */
  get end(): SessionEnd | null {
    return this.#end;
  }
  /** Grows whenever anything a session object or its log tail shows has changed. */
  get revision(): number {
    return this.#revision + this.#view.revision;
  }

  get state(): SessionState {
    return sessionState({
      workload: this.#phase,
      stopping: this.#stopping !== null || this.#view.ending !== null,
      linkRefused: this.#linkRefused,
      interpreter: this.#view.interpreter,
      openStatements: this.#view.openStatements,
    });
  }

  // ── Life ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Starts the workload or adopts the one that is there, and follows it. Does nothing for a session that has ended. */
  start(): void {
    if (this.#end !== null || this.#workload !== null) return;
    const workload = this.#parts.launcher.launch(this.claim);
    this.#workload = workload;
    this.#setPhase(workload.phase);
    this.#linkRefused = workload.mute;
    const following = [this.#followWorkload(workload)];
    if (workload.mute === null) {
      const { uid } = this;
      this.#link = this.#parts.openLink({ session: uid, key: workload.key, dial: (signal) => workload.dial(signal) });
      following.push(this.#followLink(this.#link));
    }
    this.#followed = Promise.all(following).then(() => undefined);
  }

  /**
   * Ends the workload; the session stays listed until retention. Idempotent: the first reason stays. Resolves when nothing of the
   * driver is left and the end is written down.
   */
  stop(state: "dead" | "killed" | "success", reason: string): Promise<void> {
    this.#stopped ??= this.#stop(state, reason);
    return this.#stopped;
  }

  async #stop(state: "dead" | "killed" | "success", reason: string): Promise<void> {
    if (this.#end === null && this.#workload !== null) {
      this.#stopping = { state, reason };
      this.#changed();
      await this.#keepLog();
      if (this.#link?.up === true)
        await this.#request("close", { state, reason }, AbortSignal.timeout(LAST_WORDS_MS)).catch(() => undefined);
      await this.#workload.stop(this.#parts.stopGraceMs);
    }
    await this.#followed;
  }

  /** Lets go of the driver without ending it: the server goes, the driver stays. Idempotent. */
  async detach(): Promise<void> {
    this.#closing.abort(new Problem("DRAINING", "The server is shutting down."));
    await this.#link?.close();
    await this.#followed;
  }

  async #followLink(link: DriverLink): Promise<void> {
    let told = false;
    for await (const event of link.events()) {
      this.#fold(event);
      if (event.type === "reset") {
        // Another supervisor's past: what it holds is known only when its records have come.
        told = true;
        this.#caughtUp = false;
      }
      this.#caughtUp ||= told && this.#view.lastSeq >= (this.#headSeq ?? 0);
      this.#changed();
    }
  }

  #fold(event: LinkEvent): void {
    const session = this.id;
    switch (event.type) {
      case "records":
        for (const record of event.records) this.#view.apply(record);
        if (this.#view.ending !== null) void this.#keepLog();
        this.#subscribers.publish(event.records);
        return;
      case "reset":
        this.#view.reset(event.snapshot, event.firstSeq);
        this.#subscribers.reset();
        publishSession({ session, event: "reset", detail: "the driver's supervisor is another one" });
        return;
      case "up":
        this.#linkDown = null;
        this.#headSeq = event.hello.lastSeq;
        this.#hello = event.hello;
        publishSession({ session, event: "link-up", detail: event.hello.epoch });
        return;
      case "down":
        this.#linkDown = event.reason;
        publishSession({ session, event: "link-down", detail: event.reason });
        return;
      case "refused":
        this.#linkRefused = event.reason;
        publishSession({ session, event: "fault", detail: event.reason });
    }
  }

  async #followWorkload(workload: Workload): Promise<void> {
    for await (const phase of workload.phases(this.#closing.signal)) {
      if (phase.phase !== "ended") {
        this.#setPhase(phase);
        this.#changed();
        continue;
      }
      // What the driver said last is still on the link; it closes by itself, the socket's other end being gone.
      await this.#link?.close();
      await this.#conclude(phase);
    }
  }

  #setPhase(phase: WorkloadPhase): void {
    this.#phase = phase;
    if (phase.phase === "pending") this.#log.launching(phase.reason);
  }

  /** The driver is about to go: what its log shall be remembered by is fetched, once. */
  #keepLog(): Promise<void> {
    this.#keeping ??= this.#log.keep(AbortSignal.timeout(LAST_WORDS_MS));
    return this.#keeping;
  }

  async #conclude(phase: Extract<WorkloadPhase, { phase: "ended" }>): Promise<void> {
    // A driver that is ended from outside knows of a signal only; a workload that knows nothing leaves it to the driver to say.
    const own = phase.reason === "" ? this.#view.ending : null;
    const { state: last, reason } = this.#stopping ?? own ?? { ...phase, reason: phase.reason || "The driver exited." };
    // `error` is a word for drivers that are up and broken; nothing follows an end.
    const state = last === "error" ? "dead" : last;
    const endedMs = this.#parts.clock.now();
    this.#lose(this.#view, { reason, endedMs });
    await this.#keeping;
    const logTail = this.#log.end(phase.logTail);
    const end: SessionEnd = { state, reason, logTail, endedMs, appId: this.appId };
    const written = await this.#parts.launcher.conclude(this.claim, end).catch((error: unknown) => {
      publishSession({ session: this.id, event: "fault", detail: `its end could not be written down: ${String(error)}` });
      return end;
    });
    this.#end = written;
    this.#phase = { ...phase, state: written.state, reason: written.reason };
    this.#subscribers.end();
    this.#changed();
    publishSession({ session: this.id, event: "ended", detail: `${written.state}: ${written.reason}` });
  }

  #changed(): void {
    this.#revision += 1;
    for (const wake of [...this.#waiters]) wake();
  }

  /** Resolves with true once `fact` holds, with false after `waitMs`; looks again at each change. */
  #until(fact: () => boolean, waitMs: number, signal: AbortSignal): Promise<boolean> {
    if (fact()) return Promise.resolve(true);
    if (waitMs <= 0) return Promise.resolve(false);
    return new Promise((resolve, reject) => {
      const finish = (end: () => void) => {
        clearTimeout(timer);
        this.#waiters.delete(look);
        signal.removeEventListener("abort", abort);
        end();
      };
      const look = () => {
        if (fact()) finish(() => resolve(true));
      };
      const abort = () => finish(() => reject(signal.reason));
      const timer = setTimeout(() => finish(() => resolve(false)), waitMs);
      this.#waiters.add(look);
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
    });
  }

  // ── Verbs ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Queues a statement and returns its id once the view knows it. Waits, bounded, for a driver that is starting. The same key answers
   * the same id.
   * @throws Problem SESSION_ENDED, SESSION_STARTING (nothing was queued), TOO_MANY_STATEMENTS, DRIVER_UNREACHABLE
   */
  async submit(body: SubmitBody, signal: AbortSignal): Promise<number> {
    return this.#queue("submit", body, signal);
  }

  /** Queues a notebook's cell, as `submit` does. */
  async cell(body: CellBody, signal: AbortSignal): Promise<number> {
    return this.#queue(this.protocolVersion >= 3 ? "cell" : "submit", body, signal);
  }

  /**
   * Queues a front end's message to an object in the interpreter, as `submit` does.
   * @throws Problem NOT_SUPPORTED (a driver of an older release)
   */
  async comm(body: CommBody, signal: AbortSignal): Promise<number> {
    return this.#queue("comm", body, signal);
  }

  async #queue<Name extends "submit" | "cell" | "comm">(name: Name, body: RequestBody<Name>, signal: AbortSignal): Promise<number> {
    this.#checkAlive();
    const { startWaitMs } = this.#parts;
    if (!(await this.reachable(startWaitMs, signal))) {
      const { state } = this;
      if (state === "starting" || state === "not_started") throw new Problem("SESSION_STARTING", `Session is in state ${state}`);
      throw new Problem("DRIVER_UNREACHABLE", ["The session's driver cannot be reached.", ...this.#tidings()].join(" "));
    }
    this.#checkAlive();
    const { statement } = await this.#request(name, body, signal);
    // The answer may come before the record that tells of the statement.
    const known = () => this.#view.statement(statement) !== undefined || isEnded(this.state);
    await this.#until(known, startWaitMs, signal);
    return statement;
  }

  /**
   * Drops a queued statement or interrupts a running one; answers at once. `restart` goes straight to the ladder's last rung.
   * @throws Problem STATEMENT_NOT_FOUND, SESSION_ENDED, DRIVER_UNREACHABLE
   */
  async cancel(statement: number, { restart }: { restart: boolean }, signal: AbortSignal): Promise<void> {
    this.#checkAlive();
    if (isFinalStatement((await this.#known(statement, signal)).state)) return;
    await this.#request("cancel", { statement, restart }, signal);
  }

  /** Interrupts what runs now; answers its statement, null when nothing runs. */
  async interrupt(signal: AbortSignal): Promise<number | null> {
    this.#checkAlive();
    return (await this.#request("interrupt", {}, signal)).statement;
  }

  /** A new interpreter in the same driver; Spark's application stays, variables, temp views and cache go. */
  async restart(signal: AbortSignal): Promise<void> {
    this.#checkAlive();
    await this.#request("restart", {}, signal);
  }

  /** Gives a waiting `input()` its answer; false when nothing waited. */
  async answer(statement: number, value: string, signal: AbortSignal): Promise<boolean> {
    this.#checkAlive();
    return (await this.#request("answer", { statement, value }, signal)).taken;
  }

  /** Completions at a cursor (in code points); works while a statement runs. */
  async complete(code: string, kind: Kind, cursor: number, signal: AbortSignal): Promise<ReplyResult<"complete">> {
    this.#checkAlive();
    return this.#request("complete", { code, kind, cursor }, signal);
  }

  /** What is known of the name at a cursor (in code points); works while a statement runs. */
  async inspect(code: string, kind: Kind, cursor: number, detail: 0 | 1, signal: AbortSignal): Promise<ReplyResult<"inspect">> {
    this.#checkAlive();
    return this.#request("inspect", { code, kind, cursor, detail }, signal);
  }

  /** Whether Python code can run as it stands. */
  async parse(code: string, signal: AbortSignal): Promise<ReplyResult<"parse">> {
    this.#checkAlive();
    return this.#request("parse", { code }, signal);
  }

  /** Open channels between front ends and objects in the interpreter: id → target. */
  async comms(signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    this.#checkAlive();
    return (await this.#request("comms", {}, signal)).comms;
  }

  /**
   * Gives the driver a file under this name, which must be no path; answers where the driver has it.
   * @throws Problem INVALID (name), NOT_SUPPORTED (a driver of an older release), SESSION_ENDED, TOO_MANY_STATEMENTS (its disk is full)
   */
  async upload(name: string, content: AsyncIterable<Buffer>, signal: AbortSignal): Promise<string> {
    this.#checkAlive();
    const upload = randomUUID();
    let offset = 0;
    for await (const chunk of content) {
      for (let from = 0; from < chunk.length; from += UPLOAD_PIECE_BYTES) {
        const piece = chunk.subarray(from, from + UPLOAD_PIECE_BYTES);
        await this.#request("upload", { upload, name, offset, data: piece.toString("base64"), last: false }, signal);
        offset += piece.length;
      }
    }
    const { path } = await this.#request("upload", { upload, name, offset, data: "", last: true }, signal);
    if (path === null) throw new Problem("DRIVER_UNREACHABLE", "The driver did not say where it has the file.");
    return path;
  }

  /** Notes that somebody has the session open, until the answer is called. */
  join(client: SessionClient): () => void {
    this.#clients.add(client);
    this.#changed();
    return () => {
      if (this.#clients.delete(client)) this.#changed();
    };
  }

  /** Says that somebody looked at the session. Cheap: reaches the driver at most every five seconds, and is forgotten while it cannot. */
  touch(client: string): void {
    const now = this.#parts.clock.now();
    if (this.#link?.up !== true || now - this.#touchedMs < TOUCH_EVERY_MS) return;
    this.#touchedMs = now;
    this.#request("touch", { client }, this.#closing.signal).catch(() => undefined);
  }

  /** What every server of this session makes of a text, and nobody else: base64url. Empty once the session has ended. */
  seal(text: string): string {
    return this.#workload === null || this.#end !== null ? "" : createHmac("sha256", this.#workload.seal).update(text).digest("base64url");
  }

  /**
   * A connection of its own to a place in the driver, for plain bytes.
   * @throws Problem SESSION_ENDED, DRIVER_UNREACHABLE (also when nothing listens there), NOT_SUPPORTED
   */
  async forward(to: ForwardPlace, signal: AbortSignal): Promise<Duplex> {
    if (this.#link === null || this.#end !== null) throw new Problem("SESSION_ENDED", `Session is in state ${this.state}`);
    return this.#link.forward(to, signal);
  }

  // ── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What the view holds of a statement, without asking the driver. */
  peek(id: number): StatementView | undefined {
    return this.#view.statement(id);
  }

  /** Statements, silent ones too, that are not final or were heard of after a record. */
  heardAfter(seq: number): readonly StatementView[] {
    return this.#view.heardAfter(seq);
  }

  /**
   * Visible statements in order of id; code and outputs of old ones may have been let go (`whole` false): `statement` has them.
   * @throws Problem DRIVER_UNREACHABLE
   */
  async statements(signal: AbortSignal): Promise<readonly StatementView[]> {
    await this.#past(signal);
    return this.#view.statements();
  }

  /**
   * A statement with its code and all its outputs, read back from the driver if they were let go.
   * @throws Problem STATEMENT_NOT_FOUND, also when the driver no longer keeps it; DRIVER_UNREACHABLE
   */
  async statement(id: number, signal: AbortSignal): Promise<StatementView> {
    const known = await this.#known(id, signal);
    if (known.whole) return known;
    const past = new View();
    const pages = this.#end === null ? this.#reread(known, signal) : this.#parts.launcher.records(this.claim);
    for await (const records of pages)
      for (const record of records) if ("statement" in record && record.statement === id) past.apply(record);
    if (this.#end !== null) this.#lose(past, this.#end);
    return past.statement(id) ?? known;
  }

  /** The records among which those of a statement are, from the driver. */
  async *#reread({ firstSeq, lastSeq }: StatementView, signal: AbortSignal): AsyncGenerator<readonly RecordFrame[]> {
    let fromSeq = firstSeq;
    while (fromSeq <= lastSeq) {
      const page = await this.#request("read", { fromSeq, toSeq: lastSeq, limitBytes: READ_LIMIT_BYTES }, signal);
      // `read` answers records; the link has checked the frame around them, the view ignores what it does not know.
      yield page.records as RecordFrame[];
      if (page.nextSeq <= fromSeq) return;
      fromSeq = page.nextSeq;
    }
  }

  #lose(view: View, { reason, endedMs }: Pick<SessionEnd, "reason" | "endedMs">): void {
    view.lose(`Session ${this.id} has ended: ${reason}`, endedMs);
  }

  /** Resolves when the statement is final, or is not known, or after `waitMs`. */
  async settled(id: number, waitMs: number, signal: AbortSignal): Promise<void> {
    await this.#past(signal);
    const final = () => {
      const statement = this.#view.statement(id);
      return this.#knowsPast && (statement === undefined || isFinalStatement(statement.state));
    };
    await this.#until(final, waitMs, signal);
  }

  /** Resolves with true once the driver can be asked or never will be, with false after `waitMs`. */
  reachable(waitMs: number, signal: AbortSignal): Promise<boolean> {
    return this.#until(() => this.#link?.up === true || isEnded(this.state) || this.#linkRefused !== null, waitMs, signal);
  }

  /** Resolves with true once `revision` is past the one given, with false after `waitMs`. */
  changed(revision: number, waitMs: number, signal: AbortSignal): Promise<boolean> {
    return this.#until(() => this.revision !== revision, waitMs, signal);
  }

  /** Resolves with whether the driver's past is known (or there is none to come) within `waitMs`. */
  caughtUp(waitMs: number, signal: AbortSignal): Promise<boolean> {
    return this.#until(() => this.#knowsPast, waitMs, signal);
  }

  get #knowsPast(): boolean {
    return this.#caughtUp || isEnded(this.state) || this.#linkRefused !== null;
  }

  /** Of a session that ended before this server began, what its launcher still has is folded, once. */
  #recall(end: SessionEnd): Promise<void> {
    const recall = async () => {
      for await (const records of this.#parts.launcher.records(this.claim)) for (const record of records) this.#view.apply(record);
    };
    this.#recalled ??= recall()
      .catch((error: unknown) => {
        publishSession({ session: this.id, event: "fault", detail: `its records cannot be read back whole: ${String(error)}` });
      })
      .finally(() => this.#lose(this.#view, end));
    return this.#recalled;
  }

  /** After a server's start the driver is asked for its past first. */
  async #past(signal: AbortSignal): Promise<void> {
    if (this.claim.end !== null) return this.#recall(this.claim.end);
    if (this.#caughtUp || (await this.caughtUp(this.#parts.startWaitMs, signal))) return;
    throw new Problem("DRIVER_UNREACHABLE", "The session's driver has not been reached yet; try again in a moment.");
  }

  /**
   * What the view holds of a statement. Of one that was submitted through another server a moment ago the driver knows more.
   * @throws Problem STATEMENT_NOT_FOUND, DRIVER_UNREACHABLE
   */
  async #known(id: number, signal: AbortSignal): Promise<StatementView> {
    await this.#past(signal);
    if (this.#view.statement(id) === undefined && this.#link?.up === true) await this.#lookAhead(id, signal);
    const known = this.#view.statement(id);
    if (known === undefined) throw new Problem("STATEMENT_NOT_FOUND", `Statement '${id}' not found.`);
    return known;
  }

  /** Waits for the records that the driver has and the link has not brought yet. */
  async #lookAhead(id: number, signal: AbortSignal): Promise<void> {
    const asked = { fromSeq: this.#view.lastSeq + 1, toSeq: Number.MAX_SAFE_INTEGER - 1, limitBytes: AHEAD_LIMIT_BYTES };
    const page = await this.#request("read", asked, AbortSignal.any([signal, AbortSignal.timeout(AHEAD_MS)])).catch((cause: unknown) => {
      signal.throwIfAborted();
      throw new Problem("DRIVER_UNREACHABLE", `The driver cannot be asked about statement ${id} now; try again in a moment.`, { cause });
    });
    // Checked border: the link validated the reply; a record has its number, whatever else it has.
    const newest = (page.records as RecordFrame[]).at(-1)?.seq ?? 0;
    const come = () => this.#view.lastSeq >= newest || this.#view.statement(id) !== undefined || isEnded(this.state);
    await this.#until(come, AHEAD_MS, signal);
  }

  /** Lines of log so far. */
  get logTotal(): number {
    return this.#log.total;
  }

  /** The last lines of the log. */
  logTail(lines: number): readonly string[] {
    return this.#log.tail(lines);
  }

  /** Lines of the log by absolute position; old ones are read from the driver. */
  log(from: number, lines: number, signal: AbortSignal): Promise<readonly string[]> {
    return this.#log.read(from, lines, signal);
  }

  /** The whole log in pieces; to be followed, what comes until the session's end too. */
  wholeLog(follow: boolean, signal: AbortSignal): AsyncIterable<readonly string[]> {
    const over = () => this.#end !== null || !follow;
    return this.#log.pages(async (others) => {
      while (!over() && !others()) await this.#until(() => others() || over(), FOREVER_MS, signal);
      return others();
    }, signal);
  }

  async #askLog(fromLine: number, lines: number, signal: AbortSignal): Promise<ReplyResult<"log">> {
    if (this.#link?.up !== true) return { fromLine, total: 0, lines: [] };
    return this.#request("log", { fromLine, lines }, signal);
  }

  /** What the log says at its end that no driver wrote. */
  #tidings(): readonly string[] {
    if (this.#end !== null) return [`Session ended (${this.#end.state}): ${this.#end.reason}`];
    if (this.#linkRefused !== null) return [`The driver cannot be spoken to: ${this.#linkRefused}`];
    const phase = this.#phase;
    if (phase.phase === "pending") return phase.reason === "" ? [] : [phase.reason];
    const down = this.#linkDown === null ? [] : [`The driver does not answer and is called again: ${this.#linkDown}`];
    return phase.phase === "running" && phase.trouble !== undefined ? [...down, phase.trouble] : down;
  }

  /**
   * The driver's records after a position, then each as it comes; "reset" when the past is another one and the reader must start
   * anew with what follows. Ends with the session. A slow reader loses nothing: it is fed from the driver's journal.
   */
  records(afterSeq: number, signal: AbortSignal): AsyncIterable<RecordFrame | "reset"> {
    return this.#subscribers.follow(afterSeq, this.#view.lastSeq, signal);
  }

  async #read(fromSeq: number, signal: AbortSignal): Promise<{ records: readonly RecordFrame[]; nextSeq: number }> {
    const page = await this.#request("read", { fromSeq, toSeq: this.#view.lastSeq, limitBytes: READ_LIMIT_BYTES }, signal);
    // Checked border: the link validated the reply, records of later versions are passed on as they are.
    return { records: page.records as RecordFrame[], nextSeq: page.nextSeq };
  }

  #checkAlive(): void {
    const { state } = this;
    if (isEnded(state) || state === "shutting_down") throw new Problem("SESSION_ENDED", `Session is in state ${state}`);
    if (this.#linkRefused !== null) throw new Problem("SESSION_ENDED", `Session is in state error: ${this.#linkRefused}`);
  }

  #request<Name extends RequestName>(name: Name, body: RequestBody<Name>, signal: AbortSignal): Promise<ReplyResult<Name>> {
    if (this.#link === null) return Promise.reject(new Problem("SESSION_ENDED", `Session is in state ${this.state}`));
    return this.#link.request(name, body, signal);
  }
}
