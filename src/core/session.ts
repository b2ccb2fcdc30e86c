import { randomUUID } from "node:crypto";
import type { Kind, RecordFrame, ReplyResult, RequestBody } from "../protocol/frames.ts";
import { passable } from "./depth.ts";
import { publishSession } from "./events.ts";
import { Life, lostBy } from "./life.ts";
import type { SessionEnd } from "./ports.ts";
import { Problem } from "./problems.ts";
import type { StatementView } from "./statement-view.ts";
import { isEnded, isFinalStatement, type SessionState, sessionState } from "./states.ts";
import { View } from "./view.ts";

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

const READ_LIMIT_BYTES = 8 * 1024 * 1024;
/** How far and how long the driver is asked for what has not come over the link yet. */
const AHEAD_LIMIT_BYTES = 1024 * 1024;
const AHEAD_MS = 2_000;
/** In base64 and JSON it still fits one line of the wire. */
const UPLOAD_PIECE_BYTES = 180 * 1024;

/** A session: a driver that runs statements, with what is known of them. */
export class Session extends Life {
  readonly #clients = new Set<SessionClient>();
  #recalled: Promise<void> | null = null;

  get state(): SessionState {
    return sessionState({
      workload: this.phase,
      stopping: this.stopping,
      linkRefused: this.driver.refused,
      interpreter: this.#view.interpreter,
      openStatements: this.#view.openStatements,
    });
  }

  get #view(): View {
    return this.driver.view;
  }

  /** Who has it open now, in order of coming. */
  get clients(): readonly SessionClient[] {
    return [...this.#clients];
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
  /** About how much memory its statements take here, in bytes. */
  get heldBytes(): number {
    return this.#view.bytes;
  }
  /** When it was last used, Unix time in milliseconds. */
  get activityMs(): number {
    return Math.max(this.claim.createdMs, this.#view.activityMs);
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
    const { startWaitMs } = this.parts;
    if (!(await this.reachable(startWaitMs, signal))) {
      const { state } = this;
      if (state === "starting" || state === "not_started") throw new Problem("SESSION_STARTING", `Session is in state ${state}`);
      throw new Problem("DRIVER_UNREACHABLE", ["The session's driver cannot be reached.", ...this.driver.tidings].join(" "));
    }
    this.#checkAlive();
    const { statement } = await this.driver.request(name, body, signal);
    // The answer may come before the record that tells of the statement.
    const known = () => this.#view.statement(statement) !== undefined || isEnded(this.state);
    await this.changes.until(known, startWaitMs, signal);
    return statement;
  }

  /**
   * Drops a queued statement or interrupts a running one; answers as soon as the view shows it. `restart` goes straight to the ladder's
   * last rung.
   * @throws Problem STATEMENT_NOT_FOUND, SESSION_ENDED, DRIVER_UNREACHABLE
   */
  async cancel(statement: number, { restart }: { restart: boolean }, signal: AbortSignal): Promise<void> {
    this.#checkAlive();
    if (isFinalStatement((await this.#known(statement, signal)).state)) return;
    const { state } = await this.driver.request("cancel", { statement, restart }, signal);
    // The answer may come before the record that tells of it: whoever asks for the statement next finds what became of it.
    const shown = () => {
      const now = this.#view.statement(statement)?.state;
      return now === undefined || now === state || isFinalStatement(now) || isEnded(this.state);
    };
    if (state !== null) await this.changes.until(shown, AHEAD_MS, signal);
  }

  /** Interrupts what runs now; answers its statement, null when nothing runs. */
  async interrupt(signal: AbortSignal): Promise<number | null> {
    this.#checkAlive();
    return (await this.driver.request("interrupt", {}, signal)).statement;
  }

  /** A new interpreter in the same driver; Spark's application stays, variables, temp views and cache go. */
  async restart(signal: AbortSignal): Promise<void> {
    this.#checkAlive();
    await this.driver.request("restart", {}, signal);
  }

  /** Gives a waiting `input()` its answer, which is to what the record `question` asked; false when that is not asked any more. */
  async answer(statement: number, question: number, value: string, signal: AbortSignal): Promise<boolean> {
    this.#checkAlive();
    const { taken } = await this.driver.request("answer", { statement, question, value }, signal);
    if (taken) this.#view.answered(statement, question);
    return taken;
  }

  /** Completions at a cursor (in code points); works while a statement runs. */
  async complete(code: string, kind: Kind, cursor: number, signal: AbortSignal): Promise<ReplyResult<"complete">> {
    this.#checkAlive();
    return this.driver.request("complete", { code, kind, cursor }, signal);
  }

  /** What is known of the name at a cursor (in code points); works while a statement runs. */
  async inspect(code: string, kind: Kind, cursor: number, detail: 0 | 1, signal: AbortSignal): Promise<ReplyResult<"inspect">> {
    this.#checkAlive();
    return this.driver.request("inspect", { code, kind, cursor, detail }, signal);
  }

  /** Whether Python code can run as it stands. */
  async parse(code: string, signal: AbortSignal): Promise<ReplyResult<"parse">> {
    this.#checkAlive();
    return this.driver.request("parse", { code }, signal);
  }

  /** Open channels between front ends and objects in the interpreter: id → target. */
  async comms(signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    this.#checkAlive();
    return (await this.driver.request("comms", {}, signal)).comms;
  }

  /**
   * Gives the driver a file under this name, which must be no path; answers where the driver has it.
   * @throws Problem INVALID (name), NOT_SUPPORTED (a driver of an older release), SESSION_ENDED, TOO_MANY_STATEMENTS (its disk is full)
   */
  async upload(name: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<string> {
    this.#checkAlive();
    const upload = randomUUID();
    let offset = 0;
    for await (const chunk of content) {
      for (let from = 0; from < chunk.length; from += UPLOAD_PIECE_BYTES) {
        const piece = chunk.subarray(from, from + UPLOAD_PIECE_BYTES);
        await this.driver.request("upload", { upload, name, offset, data: Buffer.from(piece).toString("base64"), last: false }, signal);
        offset += piece.length;
      }
    }
    const { path } = await this.driver.request("upload", { upload, name, offset, data: "", last: true }, signal);
    if (path === null) throw new Problem("DRIVER_UNREACHABLE", "The driver did not say where it has the file.");
    return path;
  }

  /** Notes that somebody has the session open, until the answer is called. */
  join(client: SessionClient): () => void {
    this.#clients.add(client);
    this.changes.tell();
    return () => {
      if (this.#clients.delete(client)) this.changes.tell();
    };
  }

  // ── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Lets go of what `statement` can read back. */
  letGo(): void {
    this.#view.letGo();
  }

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
    const [whole = known] = await this.whole([known], signal);
    return whole;
  }

  /**
   * These statements, each as `statement` answers it; after the session's end all of them cost one reading of the journal.
   * @throws Problem DRIVER_UNREACHABLE; a TimeoutError when the driver does not answer for so long as a statement would wait for it
   */
  async whole(statements: readonly StatementView[], signal: AbortSignal): Promise<readonly StatementView[]> {
    const parts = statements.filter((statement) => !statement.whole);
    const pasts = new Map(parts.map(({ id }) => [id, new View()]));
    const { end } = this;
    const soon = parts.length === 0 ? signal : AbortSignal.any([signal, AbortSignal.timeout(this.parts.startWaitMs)]);
    if (end === null) for (const part of parts) await fold(this.#reread(part, soon), pasts, part.id);
    else if (parts.length > 0) await fold(this.#kept(signal), pasts, null);
    if (end !== null) for (const past of pasts.values()) this.#lose(past, end);
    return statements.map((known) => pasts.get(known.id)?.statement(known.id) ?? known);
  }

  /** The records among which those of a statement are, from the driver. */
  async *#reread({ firstSeq, lastSeq }: StatementView, signal: AbortSignal): AsyncGenerator<readonly RecordFrame[]> {
    let fromSeq = firstSeq;
    while (fromSeq <= lastSeq) {
      const page = await this.driver.request("read", { fromSeq, toSeq: lastSeq, limitBytes: READ_LIMIT_BYTES }, signal);
      // `read` answers records; the link has checked the frame around them, the view ignores what it does not know.
      yield (page.records as RecordFrame[]).map(passable);
      if (page.nextSeq <= fromSeq) return;
      fromSeq = page.nextSeq;
    }
  }

  /** What is left of an ended session's records. */
  async *#kept(signal?: AbortSignal): AsyncGenerator<readonly RecordFrame[]> {
    for await (const records of this.parts.launcher.records(this.claim)) {
      signal?.throwIfAborted();
      yield records.map(passable);
    }
  }

  #lose(view: View, { reason, endedMs }: Pick<SessionEnd, "reason" | "endedMs">): void {
    view.lose(lostBy(this.id, reason), endedMs);
  }

  /** Resolves when the statement is final, or is not known, or after `waitMs`. */
  async settled(id: number, waitMs: number, signal: AbortSignal): Promise<void> {
    await this.#past(signal);
    const final = () => {
      const statement = this.#view.statement(id);
      return this.driver.knowsPast && (statement === undefined || isFinalStatement(statement.state));
    };
    await this.changes.until(final, waitMs, signal);
  }

  /** Of a session that ended before this server began, what its launcher still has is folded, once. */
  #recall(end: SessionEnd): Promise<void> {
    const recall = async () => {
      for await (const records of this.#kept()) for (const record of records) this.#view.apply(record);
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
    if (this.driver.caughtUp || (await this.caughtUp(this.parts.startWaitMs, signal))) return;
    throw new Problem("DRIVER_UNREACHABLE", "The session's driver has not been reached yet; try again in a moment.");
  }

  /**
   * What the view holds of a statement. Of one that was submitted through another server a moment ago the driver knows more.
   * @throws Problem STATEMENT_NOT_FOUND, DRIVER_UNREACHABLE
   */
  async #known(id: number, signal: AbortSignal): Promise<StatementView> {
    await this.#past(signal);
    if (this.#view.statement(id) === undefined && this.driver.up) await this.#lookAhead(id, signal);
    const known = this.#view.statement(id);
    if (known === undefined) throw new Problem("STATEMENT_NOT_FOUND", `Statement '${id}' not found.`);
    return known;
  }

  /** Waits for the records that the driver has and the link has not brought yet. */
  async #lookAhead(id: number, signal: AbortSignal): Promise<void> {
    const asked = { fromSeq: this.#view.lastSeq + 1, toSeq: Number.MAX_SAFE_INTEGER - 1, limitBytes: AHEAD_LIMIT_BYTES };
    const page = await this.driver
      .request("read", asked, AbortSignal.any([signal, AbortSignal.timeout(AHEAD_MS)]))
      .catch((cause: unknown) => {
        signal.throwIfAborted();
        throw new Problem("DRIVER_UNREACHABLE", `The driver cannot be asked about statement ${id} now; try again in a moment.`, { cause });
      });
    // Checked border: the link validated the reply; a record has its number, whatever else it has.
    const newest = (page.records as RecordFrame[]).at(-1)?.seq ?? 0;
    const come = () => this.#view.lastSeq >= newest || this.#view.statement(id) !== undefined || isEnded(this.state);
    await this.changes.until(come, AHEAD_MS, signal);
  }

  /**
   * The driver's records after a position, then each as it comes; "reset" when the past is another one and the reader must start
   * anew with what follows. Ends with the session. A slow reader loses nothing: it is fed from the driver's journal.
   */
  records(afterSeq: number, signal: AbortSignal): AsyncIterable<RecordFrame | "reset"> {
    return this.driver.records(afterSeq, signal);
  }

  /**
   * A statement's records, each as it comes, to its end; "reset" as for `records`. After the session's end what its journal still has; what
   * that has not is told as the view knows it.
   * @throws Problem as `statement`
   */
  async *recordsOf(id: number, signal: AbortSignal): AsyncGenerator<RecordFrame | "reset"> {
    let { firstSeq: nextSeq } = await this.#known(id, signal);
    let told = false;
    for await (const record of this.#recordsFrom(nextSeq, signal)) {
      if (record === "reset") nextSeq = 0;
      else if (!("statement" in record) || record.statement !== id || record.seq < nextSeq) continue;
      else nextSeq = record.seq + 1;
      told = record !== "reset";
      yield record;
      if (record !== "reset" && record.type === "finished") return;
    }
    const statement = this.#view.statement(id);
    if (!signal.aborted && statement !== undefined) yield* lastRecords(statement, told);
  }

  async *#recordsFrom(seq: number, signal: AbortSignal): AsyncGenerator<RecordFrame | "reset"> {
    if (this.end === null) yield* this.records(seq - 1, signal);
    // What the link had not brought when the driver went.
    if (this.end !== null && !signal.aborted) for await (const records of this.#kept()) yield* records;
  }

  #checkAlive(): void {
    const { state } = this;
    if (isEnded(state) || state === "shutting_down") throw new Problem("SESSION_ENDED", `Session is in state ${state}`);
    if (this.driver.refused !== null) throw new Problem("SESSION_ENDED", `Session is in state error: ${this.driver.refused}`);
  }
}

/** Folds records of statements into a view of each; `only`: those of this statement. */
const fold = async (pages: AsyncIterable<readonly RecordFrame[]>, views: ReadonlyMap<number, View>, only: number | null): Promise<void> => {
  for await (const records of pages)
    for (const record of records)
      if ("statement" in record && (only === null || record.statement === only)) views.get(record.statement)?.apply(record);
};

/** The end of a statement whose driver is gone with the record of it, after all its outputs or, when they were told, why it was lost. */
function* lastRecords({ id, lastSeq, finishedMs, outcome, rung, outputs }: StatementView, told: boolean): Generator<RecordFrame> {
  const left = told ? outputs.filter((output) => outcome === "lost" && output.type === "error").slice(-1) : outputs;
  const numbered = (index: number) => ({ frame: "record" as const, seq: lastSeq + 1 + index, atMs: finishedMs, statement: id });
  // What became an output was a record with the same fields.
  for (const [index, output] of left.entries())
    yield { ...numbered(index), ...output, ...(output.type === "display" ? { update: false } : {}) } as RecordFrame;
  yield { ...numbered(left.length), type: "finished", outcome: outcome ?? "lost", rung };
}
