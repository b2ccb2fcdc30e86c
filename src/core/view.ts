import type { RecordFrame, Snapshot, SparkFacts, StatementSummary } from "../protocol/frames.ts";
import { JOBS_SHOWN_MS, type Outcome, type Output, type StatementView } from "./statement-view.ts";
import { isFinalStatement } from "./states.ts";

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type Entry = Mutable<Omit<StatementView, "outputs">> & { outputs: Output[]; bytes: number; clearNext: boolean };

export interface ViewLimits {
  /** Code and outputs of final statements beyond so many bytes are let go, oldest first. */
  readonly bytes: number;
  /** Statements beyond so many are forgotten, oldest first. */
  readonly statements: number;
  readonly logLines: number;
}

export const VIEW_LIMITS: ViewLimits = { bytes: 4 * 1024 * 1024, statements: 10_000, logLines: 200 };

/** The fold of a driver's records: statements, outputs, progress, the log's tail. Knows no time, no sockets. */
export class View {
  readonly #limits: ViewLimits;
  readonly #statements = new Map<number, Entry>();
  #newest: Entry | null = null;
  #bytes = 0;
  #logTail: string[] = [];

  /** The last record folded. */
  lastSeq = 0;
  interpreter: "unknown" | "starting" | "ready" | "exited" = "unknown";
  facts: SparkFacts | null = null;
  executors = 0;
  /** The statement that runs. */
  running: StatementView | undefined;
  /** Number of the last statement in the interpreter's history. */
  executionCount = 0;
  /** Interpreters that have ended. */
  lives = 0;
  /** Why the last one that ended did; null: none has. */
  exitReason: string | null = null;
  /** When a statement was last heard of, by the driver's clock; 0: never. */
  activityMs = 0;
  /** Lines of log so far. */
  logTotal = 0;
  /** Statements that wait or run, silent ones too. */
  openStatements = 0;
  /** What the driver said of its coming end. */
  ending: Pick<RecordFrame<"ending">, "state" | "reason"> | null = null;
  /** Grows with whatever a session object shows. */
  revision = 0;

  constructor(limits: ViewLimits = VIEW_LIMITS) {
    this.#limits = limits;
  }

  /** About how much memory its code and outputs take. */
  get bytes(): number {
    return this.#bytes;
  }
  get logTail(): readonly string[] {
    return this.#logTail;
  }

  statement(id: number): StatementView | undefined {
    return this.#statements.get(id);
  }

  /** Visible statements in order of id. */
  statements(): StatementView[] {
    const visible: StatementView[] = [];
    for (const entry of this.#statements.values()) if (!entry.silent) visible.push(entry);
    return visible;
  }

  /** Statements, silent ones too, that are not final or were heard of after a record. */
  heardAfter(seq: number): StatementView[] {
    return [...this.#statements.values()].filter((entry) => entry.lastSeq > seq || !isFinalStatement(entry.state));
  }

  /** Starts anew from what the driver still knows; the records it still keeps follow. */
  reset(snapshot: Snapshot, firstSeq: number): void {
    this.#statements.clear();
    this.#bytes = 0;
    this.openStatements = 0;
    this.running = undefined;
    this.executionCount = 0;
    this.lives = 0;
    this.lastSeq = firstSeq - 1;
    this.interpreter = snapshot.interpreter;
    this.facts = snapshot.facts;
    this.ending = null;
    this.logTotal = snapshot.logTotal;
    this.#logTail = snapshot.logTail.slice(-this.#limits.logLines);
    for (const summary of snapshot.statements) this.#restore(summary);
    this.revision += 1;
  }

  /** Folds one record. Records of statements nobody announced, and record types of later versions, change nothing. */
  apply(record: RecordFrame): void {
    if (record.seq <= this.lastSeq) return;
    this.lastSeq = record.seq;
    switch (record.type) {
      case "queued":
        return this.#queue(record);
      case "log":
        return this.#log(record);
      case "interpreter":
        this.interpreter = record.phase;
        // Its history begins anew.
        if (record.phase === "exited") {
          this.executionCount = 0;
          this.lives += 1;
          this.exitReason = record.reason;
        }
        if (record.facts !== null) this.facts = record.facts;
        this.revision += 1;
        return;
      case "executors":
        this.executors = record.count;
        this.revision += 1;
        return;
      case "ending":
        this.ending = { state: record.state, reason: record.reason };
        this.revision += 1;
        return;
      default: {
        const entry = this.#statements.get(record.statement);
        this.activityMs = record.atMs;
        if (entry !== undefined) this.#fold(entry, record);
      }
    }
  }

  /** The question that this record told of has its answer: drivers of older releases write no record of that. */
  answered(id: number, seq: number): void {
    const entry = this.#statements.get(id);
    if (entry?.input?.seq === seq) entry.input = null;
  }

  /** Ends every open statement as lost: its driver is gone and no record of it will follow. */
  lose(reason: string, atMs: number): void {
    for (const entry of this.#statements.values()) {
      if (isFinalStatement(entry.state)) continue;
      this.#push(entry, { type: "error", ename: "DriverLost", evalue: reason, traceback: [] }, reason.length);
      this.#finish(entry, "lost", null, atMs);
    }
    this.interpreter = "exited";
    this.revision += 1;
  }

  #restore(summary: StatementSummary): void {
    const { statement: id, codeCut, ename, evalue, ...rest } = summary;
    const outputs: Output[] = ename === null ? [] : [{ type: "error", ename, evalue: evalue ?? "", traceback: [] }];
    const open = !isFinalStatement(rest.state);
    const entry: Entry = {
      ...rest,
      id,
      rung: null,
      progress: open ? 0 : 1,
      jobs: [],
      jobsSeq: 0,
      count: 0,
      returned: null,
      outputs,
      input: null,
      revision: 0,
      whole: open && !codeCut,
      bytes: rest.code.length,
      clearNext: false,
    };
    this.#statements.set(id, entry);
    this.#bytes += rest.code.length;
    if (open) this.openStatements += 1;
    if (open && rest.startedMs > 0) this.running = entry;
  }

  #queue(record: RecordFrame<"queued">): void {
    this.activityMs = record.atMs;
    // After a reset the snapshot may already tell of a statement whose first record is still kept: the records win.
    const known = this.#statements.get(record.statement);
    if (known !== undefined) {
      this.#bytes -= known.bytes;
      if (!isFinalStatement(known.state)) this.openStatements -= 1;
    }
    const { statement: id, key, code, kind, origin, silent, atMs, seq } = record;
    const entry: Entry = {
      ...{ id, key, code, kind, origin, silent, state: "waiting", queuedMs: atMs, startedMs: 0, finishedMs: 0, outcome: null, rung: null },
      ...{
        progress: 0,
        jobs: [],
        jobsSeq: 0,
        count: 0,
        returned: null,
        outputs: [],
        input: null,
        revision: 0,
        whole: true,
        firstSeq: seq,
        lastSeq: seq,
        bytes: code.length,
        clearNext: false,
      },
    };
    this.#statements.set(id, entry);
    this.#newest = entry;
    this.#bytes += code.length;
    this.openStatements += 1;
    this.revision += 1;
    this.#letGo();
  }

  #log(record: RecordFrame<"log">): void {
    // After a reset the snapshot's tail and the records that follow overlap; over a gap the tail starts anew.
    const fresh = record.lines.slice(Math.max(0, this.logTotal - record.line));
    if (record.line > this.logTotal) this.#logTail = [];
    this.logTotal = Math.max(this.logTotal, record.line + record.lines.length);
    this.#logTail = [...this.#logTail, ...fresh].slice(-this.#limits.logLines);
    this.revision += 1;
  }

  #fold(entry: Entry, record: Exclude<RecordFrame, RecordFrame<"queued" | "log" | "interpreter" | "executors" | "ending">>): void {
    entry.lastSeq = record.seq;
    entry.revision += 1;
    switch (record.type) {
      case "started":
        entry.state = "running";
        entry.startedMs = record.atMs;
        this.running = entry;
        // Drivers of older releases do not tell, and count what is not silent.
        this.executionCount = record.count ?? this.executionCount + (entry.silent || entry.kind !== "pyspark" ? 0 : 1);
        entry.count = this.executionCount;
        this.revision += 1;
        return;
      case "stream":
        return this.#stream(entry, record);
      case "display":
        return this.#display(entry, record);
      case "clear":
        if (record.wait) entry.clearNext = true;
        else this.#clear(entry);
        return;
      case "result":
        return this.#push(entry, { type: "result", data: record.data, metadata: record.metadata }, sizeOf(record.data));
      case "error":
        entry.input = null;
        return this.#push(
          entry,
          { type: "error", ename: record.ename, evalue: record.evalue, traceback: record.traceback },
          record.evalue.length + record.traceback.reduce((sum, line) => sum + line.length, 0),
        );
      case "progress":
        entry.progress = Math.max(entry.progress, record.fraction);
        entry.jobs = record.jobs;
        if (entry.jobsSeq === 0 && record.atMs - entry.startedMs > JOBS_SHOWN_MS) entry.jobsSeq = record.seq;
        return;
      case "input":
        entry.input = { prompt: record.prompt, password: record.password, seq: record.seq };
        return;
      case "answered":
        entry.input = null;
        return;
      case "cancelling":
        if (entry.state === "running") entry.state = "cancelling";
        this.revision += 1;
        return;
      case "finished":
        return this.#finish(entry, record.outcome, record.rung, record.atMs);
      case "returned":
        entry.returned = { payload: record.payload, expressions: record.expressions };
        return;
      case "comm":
        return;
      case "dropped":
        return this.#push(entry, { type: "dropped", bytes: record.bytes }, 0);
    }
  }

  #finish(entry: Entry, outcome: Outcome, rung: StatementView["rung"], atMs: number): void {
    if (isFinalStatement(entry.state)) return;
    entry.state = outcome === "cancelled" ? "cancelled" : "available";
    entry.outcome = outcome;
    entry.rung = rung;
    entry.finishedMs = atMs;
    if (this.running === entry) this.running = undefined;
    entry.progress = 1;
    entry.input = null;
    this.openStatements -= 1;
    this.revision += 1;
    this.#letGo();
  }

  #stream(entry: Entry, record: RecordFrame<"stream">): void {
    const last = entry.clearNext ? undefined : entry.outputs.at(-1);
    if (last?.type === "stream" && last.name === record.name && last.via === record.via) {
      last.text += record.text;
      this.#grow(entry, record.text.length);
    } else {
      this.#push(entry, { type: "stream", name: record.name, via: record.via, text: record.text }, record.text.length);
    }
  }

  #display(entry: Entry, record: RecordFrame<"display">): void {
    const { data, metadata, displayId } = record;
    if (!record.update) return this.#push(entry, { type: "display", data, metadata, displayId }, sizeOf(data));
    // An update reaches every output with that display id, whichever statement showed it (messaging spec, update_display_data).
    for (const other of this.#statements.values()) {
      for (const output of other.outputs) {
        if (output.type !== "display" || output.displayId !== displayId) continue;
        this.#grow(other, sizeOf(data) - sizeOf(output.data));
        output.data = data;
        output.metadata = metadata;
        other.revision += 1;
      }
    }
  }

  #clear(entry: Entry): void {
    this.#grow(entry, entry.code.length - entry.bytes);
    entry.outputs = [];
    entry.clearNext = false;
  }

  #push(entry: Entry, output: Output, bytes: number): void {
    if (entry.clearNext) this.#clear(entry);
    entry.outputs.push(output);
    this.#grow(entry, bytes);
  }

  #grow(entry: Entry, bytes: number): void {
    entry.bytes += bytes;
    this.#bytes += bytes;
  }

  /** Lets go of everything that can be read back, of the newest statement and of what runs too. */
  letGo(): void {
    for (const entry of this.#statements.values()) {
      // Records that follow tell what an open statement's code is.
      const code = isFinalStatement(entry.state) ? "" : entry.code;
      this.#grow(entry, code.length - entry.bytes);
      Object.assign(entry, { whole: false, outputs: [], code });
    }
  }

  /** Keeps the view within its limits: what is oldest and final goes first, the newest statement stays whatever its size. */
  #letGo(): void {
    const { bytes, statements } = this.#limits;
    if (this.#bytes <= bytes && this.#statements.size <= statements) return;
    // Down to three quarters, so that the next statements need no walk.
    const [wantedBytes, wantedStatements] = [bytes * 0.75, this.#statements.size > statements ? statements * 0.75 : statements];
    for (const entry of this.#statements.values()) {
      const tooMany = this.#statements.size > wantedStatements;
      if (!tooMany && this.#bytes <= wantedBytes) return;
      if (!isFinalStatement(entry.state) || entry === this.#newest) continue;
      this.#bytes -= entry.bytes;
      if (tooMany) this.#statements.delete(entry.id);
      else Object.assign(entry, { whole: false, outputs: [], jobs: [], code: "", bytes: 0 });
    }
  }
}

/** About how much memory a MIME bundle takes; strings are nearly all of it. */
const sizeOf = (value: unknown): number => {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null) return 8;
  let sum = 16;
  for (const item of Object.values(value)) sum += sizeOf(item);
  return sum;
};
