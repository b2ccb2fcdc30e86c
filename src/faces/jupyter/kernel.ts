import { v5 as uuidv5 } from "uuid";
import { Problem } from "../../core/problems.ts";
import type { Session } from "../../core/session.ts";
import type { StatementView } from "../../core/statement-view.ts";
import { isEnded } from "../../core/states.ts";
import type { RecordFrame } from "../../protocol/frames.ts";
import { isAgain } from "./cells.ts";
import type { Connection } from "./connection.ts";
import { Follower } from "./follower.ts";
import { type Content, type Draft, type ExecutionState, type Message, message, type Request, withMetadata } from "./messages.ts";
import { causeOf } from "./origin.ts";
import { Outbox } from "./outbox.ts";
import type { Position } from "./position.ts";
import { answer } from "./requests.ts";
import { sparkUiFor } from "./spark-ui-link.ts";
import { status, translate } from "./translate.ts";

/** Clients whose socket was lost are remembered, with what they had; the oldest is forgotten first. */
const REMEMBERED = 1_000;
/** A client that finds its cells by itself has asked for them by then. */
const ASKED_MS = 3_000;
/** Client sessions there may be at once, of all sockets. */
const ROUTES = 10_000;

/** Records whose messages depend on the client, or on what has happened since. */
const CHANGING: ReadonlySet<RecordFrame["type"]> = new Set(["progress", "finished", "input"]);

export interface KernelParts {
  /** Version of this program. */
  readonly version: string;
  readonly serverStartMs: number;
  /** How long the first statement waits for Spark before its cell says what is being waited for. */
  readonly launchDisplayMs: number;
  /** Aborts when the server goes away. */
  readonly closing: AbortSignal;
  /** Ends a kernel as its owner wishes, in the background. */
  readonly shutDown: (kernel: Kernel) => void;
  /** Gives a kernel a new session that asks for something else; the one before is gone. */
  readonly replace: (kernel: Kernel, asked: Content, signal: AbortSignal) => Promise<void>;
}

/**
 * A session as Jupyter sees it. Nothing here survives only in memory: what a statement needs to be told of travels with it through the
 * driver, and the rest is what clients that are connected now have seen.
 */
export class Kernel {
  readonly id: string;
  /** Its kernelspec's. */
  readonly name: string;
  readonly parts: KernelParts;
  readonly outbox: Outbox;
  readonly #connections = new Set<Connection>();
  /** Which socket a client's replies go to. */
  readonly #routes = new Map<string, Connection>();
  readonly #left = new Map<string, Position | null>();
  readonly #messages = new WeakMap<RecordFrame, readonly Message[]>();
  readonly #leave = new Map<Connection, () => void>();
  readonly #followers = new WeakMap<Connection, Follower>();
  /** Whether its session goes and another one comes: the kernel lives on meanwhile. */
  replacing = false;
  #session: Session;
  #process: { readonly lives: number; readonly uid: string; readonly name: string } | null = null;
  #succeeded = Promise.withResolvers<void>();

  constructor(id: string, name: string, session: Session, parts: KernelParts) {
    this.id = id;
    this.name = name;
    this.#session = session;
    this.parts = parts;
    this.outbox = new Outbox(this);
  }

  get session(): Session {
    return this.#session;
  }
  get connections(): number {
    return this.#connections.size;
  }
  get serverStartMs(): number {
    return this.parts.serverStartMs;
  }
  /** Whether an earlier server may have told clients of it. */
  get inherited(): boolean {
    return this.#session.createdMs < this.parts.serverStartMs;
  }
  /** As a header says it: another one for each interpreter. */
  get processSession(): string {
    const { lives, uid } = this.#session;
    if (this.#process?.lives !== lives || this.#process.uid !== uid) this.#process = { lives, uid, name: uuidv5(String(lives), uid) };
    return this.#process.name;
  }

  get executionState(): ExecutionState {
    const { state } = this.#session;
    if (this.replacing) return "starting";
    if (state === "busy" || state === "idle") return state;
    return isEnded(state) || state === "error" || state === "shutting_down" ? "dead" : "starting";
  }

  /** The session that goes on for this one: with other settings, under the same id. */
  succeed(session: Session): void {
    this.#session = session;
    for (const connection of this.#connections) this.#attend(connection);
    const before = this.#succeeded;
    this.#succeeded = Promise.withResolvers();
    before.resolve();
  }

  /** Resolves with the session that follows, once there is one. Never resolves without; rejects when the signal aborts. */
  async successor(session: Session, signal: AbortSignal): Promise<Session> {
    const aborted = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
    while (this.#session === session) await Promise.race([this.#succeeded.promise, aborted]);
    return this.#session;
  }

  // ── Connections ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes a client in: says how things stand, then what it missed, then what happens. */
  join(connection: Connection): void {
    const { sessionId, after, counted } = connection.options;
    const before = after ?? (counted ? null : (this.#left.get(sessionId) ?? null));
    const stranger = sessionId !== "" && !this.#left.has(sessionId) && !this.#routes.has(sessionId);
    this.#left.delete(sessionId);
    this.#connections.add(connection);
    this.#attend(connection);
    if (sessionId !== "") this.#routes.set(sessionId, connection);
    if (before !== null) connection.resumeAt(before);
    else if (stranger && !counted && this.#mayHaveLost) setTimeout(() => this.#giveUp(connection), ASKED_MS).unref();
    this.#sayState((each) => connection.post(withMetadata(each, { longwick_joined: true })));
    // Ends with the connection; what a driver that is gone cannot tell any more ends it too, and the client comes back.
    const follower = new Follower(this, connection);
    this.#followers.set(connection, follower);
    follower.run(before).catch(() => {
      if (!connection.closed.aborted) connection.close(1011, "the driver's records cannot be read");
    });
  }

  /**
   * Cells that waited for their driver in a server that died are known to nobody but the client that sent them. It gives up what it waits
   * for at the word `restarting` and connects anew (@jupyterlab/services), so that no cell waits for ever; one that counts sends them again,
   * and so does one that finds its cells.
   */
  #giveUp(connection: Connection): void {
    const { closed, findsCells, options } = connection;
    const waits = this.#session.heardAfter(this.#session.lastSeq).some((statement) => causeOf(statement).client === options.sessionId);
    if (closed.aborted || findsCells || waits) return;
    // What it has sent since it would give up too, and not be shown.
    this.outbox.drop(options.sessionId);
    connection.post(this.message(status("restarting")));
  }

  get #mayHaveLost(): boolean {
    return this.inherited && this.#session.epoch === null && this.executionState === "starting";
  }

  /** The session shows that the client has it open. */
  #attend(connection: Connection): void {
    this.#leave.get(connection)?.();
    this.#leave.set(connection, this.#session.join({ face: "jupyter", user: connection.options.caller.name, sinceMs: Date.now() }));
  }

  left(connection: Connection): void {
    const { sessionId } = connection.options;
    this.#connections.delete(connection);
    this.#leave.get(connection)?.();
    this.#leave.delete(connection);
    for (const [client, route] of this.#routes) if (route === connection) this.#routes.delete(client);
    if (sessionId === "") return;
    const other = [...this.#connections].findLast((each) => each.options.sessionId === sessionId);
    if (other !== undefined) this.#routes.set(sessionId, other);
    this.#left.delete(sessionId);
    this.#left.set(sessionId, connection.confirmed);
    if (this.#left.size > REMEMBERED) this.#left.delete(this.#left.keys().next().value ?? "");
  }

  /** Closes every socket so that clients come back: the server goes, the kernel stays. */
  close(code: number, reason: string): void {
    this.outbox.leave();
    for (const connection of this.#connections) connection.close(code, reason);
  }

  /** A socket is told what another client's request brings, and of its statement once more from the beginning. */
  tellAgain(connection: Connection, client: string, statement: number | null): void {
    this.#followers.get(connection)?.tellAgain(client, statement);
  }

  /** Whether a socket is told what another client's request brings. */
  tells(connection: Connection, client: string): boolean {
    return this.#followers.get(connection)?.tells(client) === true;
  }

  /** The socket a client's replies go to; undefined while it has none. */
  routeOf(client: string): Connection | undefined {
    return this.#routes.get(client);
  }

  // ── Messages ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  receive(request: Request, connection: Connection): void {
    const routed = this.#routes.has(request.session);
    if (routed ? !isAgain(request) : this.#routes.size < ROUTES) this.#routes.set(request.session, connection);
    void answer(this, connection, request);
  }

  message(draft: Omit<Draft, "session">): Message {
    return message({ ...draft, session: this.processSession });
  }

  /** To every client. */
  publish(draft: Omit<Draft, "session" | "channel">): void {
    const made = this.message({ ...draft, channel: "iopub" });
    for (const connection of this.#connections) connection.post(made);
  }

  publishStatus(state: ExecutionState, parent?: string): void {
    this.publish(status(state, parent));
  }

  /** After a request was answered beside a statement that runs: front ends show the last state they were told. */
  sayBusyAgain(): void {
    if (this.#session.running !== undefined) this.publishStatus("busy", causeOf(this.#session.running).header);
  }

  #sayState(post: (message: Message) => void): void {
    const { running } = this.#session;
    const busy = running === undefined ? undefined : causeOf(running).header;
    post(this.message(status(this.executionState, busy)));
  }

  /** A record's messages; made once for all clients, but for those with links. */
  messagesOf(record: RecordFrame, session: Session, statement: StatementView | undefined, to: Connection): readonly Message[] {
    const known = this.#messages.get(record);
    if (known !== undefined) return known;
    const { exitReason } = session;
    const made = translate(record, { statement, session: this.processSession, uiUrl: sparkUiFor(session, to), exitReason });
    if (!CHANGING.has(record.type)) this.#messages.set(record, made);
    return made;
  }

  // ── Verbs ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Interrupts what runs; while Spark starts, what waits for it is dropped.
   * @throws Problem DRIVER_UNREACHABLE: what runs there goes on
   */
  async interrupt(signal: AbortSignal): Promise<void> {
    this.outbox.drop();
    const { session } = this;
    if (!(await this.#reached(signal)) || isEnded(session.state)) return;
    if ((await session.interrupt(signal)) !== null || session.state !== "starting") return;
    for (const { id, state, origin } of session.heardAfter(session.lastSeq))
      if (state === "waiting" && origin !== null) await session.cancel(id, { restart: false }, signal);
  }

  /** Whether its driver can be asked. One that has never been is starting. @throws Problem DRIVER_UNREACHABLE */
  async #reached(signal: AbortSignal): Promise<boolean> {
    const { session } = this;
    if (await session.reachable(0, signal)) return true;
    if (session.epoch === null) return false;
    throw new Problem("DRIVER_UNREACHABLE", "The kernel's Spark driver cannot be reached now: what runs there goes on. Try again.");
  }

  /**
   * A new interpreter in the same driver.
   * @throws Problem SESSION_ENDED, DRIVER_UNREACHABLE
   */
  async restart(signal: AbortSignal): Promise<void> {
    this.outbox.drop();
    const { session } = this;
    if (session.end !== null)
      throw new Problem("SESSION_ENDED", `The kernel's Spark driver has ended (${session.end.reason}): start a new kernel.`);
    // A driver that is starting is as fresh as it can be.
    if (await this.#reached(signal)) await session.restart(signal);
  }

  shutDown(): void {
    this.outbox.drop();
    this.parts.shutDown(this);
  }
}
