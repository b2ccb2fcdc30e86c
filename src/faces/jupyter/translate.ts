import type { StatementView } from "../../core/statement-view.ts";
import type { RecordFrame } from "../../protocol/frames.ts";
import { type Content, type Draft, type ExecutionState, type Message, message, NO_PARENT } from "./messages.ts";
import { type Cause, causeOf } from "./origin.ts";
import { progressBundle } from "./progress.ts";
import { colouredTraceback } from "./traceback.ts";

/** What a record's messages need besides the record. */
export interface Surroundings {
  /** Its statement as the view has it, which may be ahead of the record; undefined for records of none. */
  readonly statement: StatementView | undefined;
  /** The kernel process's session. */
  readonly session: string;
  /** Of Spark's user interface; null: unknown. */
  readonly uiUrl: string | null;
  /** Why the interpreter before this one ended; null: there was none. */
  readonly exitReason: string | null;
}

/**
 * The Jupyter messages that a record of the driver is, in order (messaging specification 5.5). The same record gives the same messages
 * whenever it is asked, so that a position in them can be resumed.
 */
export const translate = (record: RecordFrame, { statement, session, uiUrl, exitReason }: Surroundings): readonly Message[] => {
  const from = (drafts: readonly Omit<Draft, "session" | "atMs" | "id">[]): readonly Message[] =>
    drafts.map((draft, index) => message({ ...draft, session, atMs: record.atMs, id: `${session}_${record.seq}_${index}` }));
  if (record.type === "interpreter") return from(lifeOf(record, exitReason));
  if (statement === undefined || !("statement" in record)) return [];
  const cause = causeOf(statement);
  // Code that is to run silently shows nothing; what a widget's message makes the kernel do is shown.
  if (statement.silent && !cause.comm && SHOWN.has(record.type)) return [];
  return from(draftsOf(record, statement, cause, uiUrl));
};

type Part = Omit<Draft, "session" | "atMs" | "id">;
const SHOWN: ReadonlySet<RecordFrame["type"]> = new Set(["stream", "display", "clear", "result", "error", "progress", "dropped"]);

const draftsOf = (record: RecordFrame, statement: StatementView, cause: Cause, uiUrl: string | null): readonly Part[] => {
  const parent = cause.header;
  const iopub = (type: string, content: Content): Part => ({ channel: "iopub", type, content, parent });
  switch (record.type) {
    case "started":
      return begun(statement, cause);
    case "stream":
      return [iopub("stream", { name: record.name, text: record.text })];
    case "display": {
      const { data, metadata, displayId, update } = record;
      const transient = displayId === null ? {} : { display_id: displayId };
      return [iopub(update ? "update_display_data" : "display_data", { data, metadata, transient })];
    }
    case "clear":
      return [iopub("clear_output", { wait: record.wait })];
    case "result":
      return [iopub("execute_result", { execution_count: statement.count, data: record.data, metadata: record.metadata })];
    case "error":
      // What never ran is told of with its end.
      return statement.startedMs === 0 ? [] : [iopub("error", errorContent(record))];
    case "progress":
      if (statement.jobsSeq === 0 || record.seq < statement.jobsSeq) return [];
      return [
        iopub(record.seq === statement.jobsSeq ? "display_data" : "update_display_data", {
          data: progressBundle({ jobs: record.jobs, elapsedMs: record.atMs - statement.startedMs, outcome: null, uiUrl }),
          metadata: {},
          transient: { display_id: progressId(statement) },
        }),
      ];
    case "input":
      // A front end that is told of a question which nobody asks any more runs no cell until it is answered.
      if (statement.input?.seq !== record.seq) return [];
      return [
        {
          channel: "stdin",
          type: "input_request",
          content: { prompt: record.prompt, password: record.password },
          parent,
          to: cause.client,
        },
      ];
    case "dropped":
      return [iopub("stream", { name: "stderr", text: `\n[${record.bytes} bytes of output were dropped here: over the limit]\n` })];
    case "comm":
      return [commPart(record, parent)];
    case "finished":
      return ended(record, statement, cause, uiUrl);
    default:
      return [];
  }
};

const commPart = ({ event, comm, target, data, metadata, buffers }: RecordFrame<"comm">, parent: string): Part => ({
  channel: "iopub",
  type: `comm_${event}`,
  content: { comm_id: comm, data, ...(event === "open" ? { target_name: target ?? "", target_module: null } : {}) },
  metadata,
  parent,
  buffers: buffers.map((buffer) => Buffer.from(buffer, "base64")),
});

const begun = (statement: StatementView, cause: Cause): readonly Part[] => {
  const { header: parent } = cause;
  const input: Part = {
    channel: "iopub",
    type: "execute_input",
    content: { code: statement.code, execution_count: statement.count },
    parent,
  };
  return [status("busy", parent), ...(statement.silent ? [] : [input])];
};

const ended = (record: RecordFrame<"finished">, statement: StatementView, cause: Cause, uiUrl: string | null): readonly Part[] => {
  const { header: parent, client } = cause;
  const ran = statement.startedMs > 0;
  const error = statement.outputs.findLast((output) => output.type === "error");
  const failure = record.outcome === "ok" ? null : errorContent(error ?? NO_ERROR);
  const parts: Part[] = [];
  const dropped = !ran && record.rung === "queue";
  if (!ran) parts.push(...(dropped ? [status("busy", parent)] : begun(statement, cause)));
  if (!ran && !dropped && failure !== null && !statement.silent) parts.push({ channel: "iopub", type: "error", content: failure, parent });
  if (statement.jobsSeq > 0 && !statement.silent) {
    const { jobs, startedMs } = statement;
    const data = progressBundle({ jobs, elapsedMs: record.atMs - startedMs, outcome: record.outcome, uiUrl });
    const content = { data, metadata: {}, transient: { display_id: progressId(statement) } };
    parts.push({ channel: "iopub", type: "update_display_data", content, parent });
  }
  if (client !== null && !cause.comm) {
    const content = replyOf(statement, failure, dropped);
    parts.push({ channel: "shell", type: "execute_reply", content, parent, to: client });
  }
  return [...parts, status("idle", parent)];
};

const replyOf = (statement: StatementView, failure: Content | null, dropped: boolean): Content => {
  const execution_count = statement.count;
  // Deprecated by the specification, and what JupyterLab, nbclient and ipykernel speak of what an error before it dropped.
  if (dropped) return { status: "aborted", execution_count, ename: "Aborted", evalue: "", traceback: [] };
  if (failure !== null) return { status: "error", execution_count, ...failure, payload: [], user_expressions: {} };
  const { payload = [], expressions = {} } = statement.returned ?? {};
  return { status: "ok", execution_count, payload, user_expressions: expressions };
};

const NO_ERROR = { ename: "StatementLost", evalue: "The statement's result is lost with its driver.", traceback: [] };

/** As IPython has it: lines without their newline, in colour. */
export const errorContent = (error: {
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[];
}): Content => ({
  ename: error.ename,
  evalue: error.evalue,
  traceback: colouredTraceback(error),
});

const progressId = ({ id, key }: StatementView): string => `longwick-progress-${id}-${key.slice(-12)}`;

export const status = (state: ExecutionState, parent: string = NO_PARENT): Part => ({
  channel: "iopub",
  type: "status",
  content: { execution_state: state },
  parent,
});

const ON_REQUEST = /on request/;

/**
 * An interpreter that died is started anew by itself: to a front end that is `restarting`, unless it asked for it. It forgets its cells
 * at that word, so it comes after their ends.
 */
const lifeOf = ({ phase }: RecordFrame<"interpreter">, exitReason: string | null): readonly Part[] => {
  if (phase === "exited") return [];
  if (phase === "ready") return [status("idle")];
  return [status(exitReason === null || ON_REQUEST.test(exitReason) ? "starting" : "restarting")];
};
