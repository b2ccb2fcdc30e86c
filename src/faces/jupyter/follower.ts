import type { Session } from "../../core/session.ts";
import type { StatementView } from "../../core/statement-view.ts";
import { isFinalStatement } from "../../core/states.ts";
import type { RecordFrame } from "../../protocol/frames.ts";
import type { Connection } from "./connection.ts";
import type { Kernel } from "./kernel.ts";
import { type Message, message } from "./messages.ts";
import { causeOf } from "./origin.ts";
import { follows, type Position, WHOLE_RECORD } from "./position.ts";
import { status, translate } from "./translate.ts";

/** A client unknown to this server gets again what it asked for so long before the server's start, and so much of it at most. */
const REPEATED_MS = 3_600_000;
const REPEATED_STATEMENTS = 20;
/** The longest a timer can wait. */
const FOREVER_MS = 2 ** 31 - 1;

/** Where in the records a client begins. */
interface Start {
  readonly afterSeq: number;
  /** Messages of record `seq` up to this one it has already. */
  readonly skip: { readonly seq: number; readonly part: number } | null;
  /** Statements that are told from their beginning: their cell is cleared first. */
  readonly again: Set<number>;
  /** Up to here only of those. */
  readonly knownSeq: number;
  /** Whether the client has asked for them again: it has the rest, and its position stays where it is. */
  readonly asked: boolean;
}

const LIVE = { skip: null, again: new Set<number>(), asked: false } as const;

/** Records of the kernel's session, and of those that follow it, become one client's messages. Ends with the connection. */
export class Follower {
  readonly #kernel: Kernel;
  readonly #connection: Connection;
  /** Statements whose `busy` was sent and whose `idle` was not. */
  readonly #open = new Set<number>();
  readonly #cleared = new Set<number>();
  /** Whether anything of the session was told yet. */
  #begun = false;
  /** Statements that the client has asked for again; the turn that is read now ends when one is. */
  readonly #wanted = new Set<number>();
  /** Whose requests those were: their replies are for this client too. */
  readonly #clients = new Set<string>();
  #turn = new AbortController();
  /** The last record read. */
  #readSeq = 0;

  constructor(kernel: Kernel, connection: Connection) {
    this.#kernel = kernel;
    this.#connection = connection;
  }

  /** `before`: what a client whose socket was lost is known to have; null: nothing is known. */
  async run(before: Position | null): Promise<void> {
    const { closed } = this.#connection;
    let { session } = this.#kernel;
    let start = await this.#startOf(session, before);
    if (before === null) await this.#tellPosition(session, start);
    while (!closed.aborted) {
      const reset = await this.#follow(session, start, closed);
      if (closed.aborted) return;
      if (reset) {
        start = await this.#startAgain(session, start);
        continue;
      }
      if (this.#turn.signal.aborted) {
        start = this.#startAsked(session, start);
        continue;
      }
      this.#tellEnd(session);
      this.#begun = false;
      session = await this.#kernel.successor(session, closed);
      start = { ...LIVE, afterSeq: 0, knownSeq: 0 };
    }
  }

  /** What the client's statement has shown comes once more from its beginning, then what happens; null: it has shown nothing. */
  tellAgain(client: string, statement: number | null): void {
    this.#clients.add(client);
    if (statement === null) return;
    this.#wanted.add(statement);
    this.#turn.abort();
  }

  /** Whether it has asked for a request of this client's again. */
  tells(client: string): boolean {
    return this.#clients.has(client);
  }

  // ── Where to begin ──────────────────────────────────────────────────────────────────────────────────────────────────────

  async #startOf(session: Session, before: Position | null): Promise<Start> {
    // Of a driver that nobody has reached yet everything is news.
    if (session.lastSeq === 0 && !this.#kernel.inherited) return { ...LIVE, afterSeq: 0, knownSeq: 0 };
    await session.caughtUp(FOREVER_MS, this.#connection.closed);
    const { counted } = this.#connection.options;
    if (before !== null && counted && follows(before, session))
      return { ...LIVE, afterSeq: before.seq - 1, skip: before, knownSeq: before.seq - 1 };
    const missed = before === null ? (counted ? [] : this.#ownOf(session)) : this.#missed(session, before);
    return this.#tellAgain(session, missed);
  }

  /** A client that counts may lose its socket before the first record comes: it is told where it begins. */
  async #tellPosition(session: Session, { knownSeq: seq }: Start): Promise<void> {
    const { epoch, running } = session;
    if (!this.#connection.options.counted || epoch === null) return;
    const busy = running === undefined ? undefined : causeOf(running).header;
    const state = this.#kernel.message(status(this.#kernel.executionState, busy));
    await this.#connection.deliver(state, { session: session.id, epoch, seq, part: WHOLE_RECORD });
  }

  #tellAgain(session: Session, missed: readonly StatementView[]): Start {
    const knownSeq = session.lastSeq;
    const first = missed.reduce((seq, statement) => Math.min(seq, statement.firstSeq - 1), knownSeq);
    return { ...LIVE, afterSeq: first, again: new Set(missed.map(({ id }) => id)), knownSeq };
  }

  /** What was heard of after the client's position; another life's numbers say nothing, there it is what has not ended. */
  #missed(session: Session, before: Position): readonly StatementView[] {
    const since = before.session !== session.id ? 0 : before.seq;
    return session.heardAfter(since).filter((statement) => this.#concerns(statement));
  }

  /** For a client that this server has never seen: statements of its own that it may wait for. */
  #ownOf(session: Session): readonly StatementView[] {
    const { sessionId } = this.#connection.options;
    const since = this.#kernel.serverStartMs - REPEATED_MS;
    return session
      .heardAfter(0)
      .filter((statement) => !isFinalStatement(statement.state) || statement.finishedMs >= since)
      .filter((statement) => sessionId !== "" && causeOf(statement).client === sessionId)
      .slice(-REPEATED_STATEMENTS);
  }

  #concerns(statement: StatementView): boolean {
    const { counted, sessionId } = this.#connection.options;
    return counted || causeOf(statement).client === sessionId;
  }

  /** After a reset the numbers may be told a second time: what was open is told again, and what is new. */
  async #startAgain(session: Session, start: Start): Promise<Start> {
    if (!this.#begun && start.knownSeq === 0) return { ...LIVE, afterSeq: 0, knownSeq: 0 };
    await session.caughtUp(FOREVER_MS, this.#connection.closed);
    const open = new Set(this.#open);
    this.#open.clear();
    this.#cleared.clear();
    return this.#tellAgain(
      session,
      session.heardAfter(0).filter((statement) => open.has(statement.id) || !isFinalStatement(statement.state)),
    );
  }

  /** The rest of what was being told again, if that is not done, is part of it. */
  #startAsked(session: Session, before: Start): Start {
    this.#turn = new AbortController();
    const done = this.#readSeq >= before.knownSeq;
    const again = new Set([...this.#wanted, ...(done ? [] : before.again)]);
    this.#wanted.clear();
    const knownSeq = Math.max(before.knownSeq, this.#readSeq);
    let afterSeq = knownSeq;
    for (const id of again) {
      this.#cleared.delete(id);
      afterSeq = Math.min(afterSeq, (session.peek(id)?.firstSeq ?? knownSeq + 1) - 1);
    }
    return { afterSeq, skip: before.skip, again, knownSeq, asked: done || before.asked };
  }

  // ── On the way ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether the driver's past became another one. */
  async #follow(session: Session, start: Start, closed: AbortSignal): Promise<boolean> {
    this.#readSeq = start.afterSeq;
    const turn = this.#turn.signal;
    for await (const record of this.#until(session.records(start.afterSeq, AbortSignal.any([closed, turn])), turn)) {
      if (record === "reset") return true;
      this.#readSeq = record.seq;
      const id = "statement" in record ? record.statement : null;
      if (record.seq <= start.knownSeq && (id === null || !start.again.has(id))) continue;
      const statement = id === null ? undefined : await this.#statement(session, id, record);
      if (statement !== undefined && start.again.has(statement.id)) this.#clear(statement);
      const messages = this.#kernel.messagesOf(record, session, statement, this.#connection);
      for (const [part, each] of messages.entries()) {
        if (start.skip !== null && record.seq === start.skip.seq && part <= start.skip.part) continue;
        const position = start.asked && record.seq <= start.knownSeq ? null : this.#positionOf(session, record, part);
        if (this.#isFor(each)) await this.#connection.deliver(each, position);
      }
      this.#note(record);
    }
    return false;
  }

  /** Records up to the turn's end, which may come while the driver is asked for older ones. */
  async *#until<Item>(records: AsyncIterable<Item>, turn: AbortSignal): AsyncGenerator<Item> {
    try {
      yield* records;
    } catch (error) {
      if (!turn.aborted) throw error;
    }
  }

  /** With its outputs where they are needed: a reply repeats the error. */
  async #statement(session: Session, id: number, record: RecordFrame): Promise<StatementView | undefined> {
    const known = session.peek(id);
    if (record.type !== "finished" || known === undefined || known.whole) return known;
    return session.statement(id, this.#connection.closed).catch(() => known);
  }

  #positionOf(session: Session, { seq }: RecordFrame, part: number): Position {
    return { session: session.id, epoch: session.epoch ?? "", seq, part };
  }

  #isFor({ to }: Message): boolean {
    const { options } = this.#connection;
    return to === null || options.counted || this.#clients.has(to) || this.#kernel.routeOf(to) === this.#connection;
  }

  /** Once: what the cell shows of the statement comes again. */
  #clear(statement: StatementView): void {
    if (this.#cleared.has(statement.id) || statement.startedMs === 0) return;
    this.#cleared.add(statement.id);
    const { header: parent, comm } = causeOf(statement);
    if (!comm) this.#connection.post(this.#kernel.message({ channel: "iopub", type: "clear_output", content: { wait: false }, parent }));
  }

  #note(record: RecordFrame): void {
    this.#begun = true;
    if (record.type === "started") this.#open.add(record.statement);
    if (record.type === "finished") this.#open.delete(record.statement);
  }

  /** The driver is gone: what ran is lost, and no record says so. */
  #tellEnd(session: Session): void {
    for (const statement of session.heardAfter(0)) {
      if (statement.outcome !== "lost" || !(this.#open.has(statement.id) || statement.startedMs === 0)) continue;
      for (const each of lostMessages(statement, this.#kernel.processSession)) if (this.#isFor(each)) this.#connection.post(each);
    }
    this.#open.clear();
    this.#connection.post(this.#kernel.message(status(this.#kernel.replacing ? "starting" : "dead")));
  }
}

/** What the missing records of a lost statement would have said. */
const lostMessages = (statement: StatementView, session: string): readonly Message[] => {
  const { id, lastSeq: seq, finishedMs: atMs } = statement;
  const error = statement.outputs.findLast((output) => output.type === "error");
  const frame = { frame: "record", seq, atMs, statement: id } as const;
  const surroundings = { statement, session, uiUrl: null, exitReason: null };
  const told = error === undefined ? [] : translate({ ...frame, ...error, traceback: [...error.traceback] }, surroundings);
  const end = translate({ ...frame, type: "finished", outcome: "lost", rung: null }, surroundings);
  return [...told, ...end].map((each) => ({ ...each, id: message({ channel: "iopub", type: "status", content: {}, session }).id }));
};
