import type { LaunchPlan, SessionDraft } from "../../core/ports.ts";
import { redactSpec } from "../../core/redaction.ts";
import type { Session } from "../../core/session.ts";
import type { MimeBundle, Output, StatementView } from "../../core/statement-view.ts";
import { isFinalStatement } from "../../core/states.ts";
import { uiUrlOf } from "../spark-ui/presence.ts";
import type { SessionObject, SessionPlan, StatementObject, StatementOutput } from "./schemas.ts";

/** Lines of log a session object carries. */
const LOG_LINES = 10;

const CANCELLED_BY: Readonly<Record<NonNullable<StatementView["rung"]>, string>> = {
  queue: "The statement was cancelled before it ran.",
  jobs: "The statement was cancelled: its Spark jobs were stopped.",
  signal: "The statement was cancelled: it was interrupted.",
  restart:
    "The statement was cancelled: the interpreter had to be restarted, so variables are lost; Spark's tables and views are still there.",
};

/** A session as Livy 0.9 shows it; what is ours stands in `longwick`. `at`: where its reader finds this server. */
export const sessionObject = (session: Session, at: string): SessionObject => {
  const { facts, end } = session;
  const spec = redactSpec(session.spec);
  return {
    id: session.id,
    name: session.name,
    appId: session.appId,
    owner: session.owner,
    proxyUser: spec.proxyUser,
    state: session.state,
    kind: spec.kind,
    appInfo: {
      driverLogUrl: `${at}/sessions/${session.id}/driver-log`,
      sparkUiUrl: uiUrlOf(session) === null ? null : `${at}/sessions/${session.id}/ui/`,
      executorLogUrls: session.showsExecutors ? `${at}/sessions/${session.id}/executors` : null,
    },
    log: [...session.logTail(LOG_LINES)],
    ttl: spec.ttl,
    idleTimeout: spec.idleTimeout,
    driverMemory: spec.driverMemory,
    driverCores: spec.driverCores,
    executorMemory: spec.executorMemory,
    executorCores: spec.executorCores,
    conf: spec.conf,
    archives: spec.archives,
    files: spec.files,
    heartbeatTimeoutInSecond: spec.heartbeatTimeoutMs / 1_000,
    jars: spec.jars,
    numExecutors: spec.numExecutors,
    pyFiles: spec.pyFiles,
    queue: spec.queue,
    longwick: {
      uid: session.uid,
      createdMs: session.createdMs,
      endedMs: end?.endedMs ?? 0,
      reason: end?.reason ?? null,
      preset: spec.preset?.name ?? null,
      executors: session.executors,
      spark: facts?.spark ?? null,
      python: facts?.python ?? null,
      sparkUser: facts?.sparkUser ?? null,
      clients: [...session.clients],
    },
  };
};

/** What a session would be; without secrets, as the plan is. */
export const planObject = ({ owner, spec, notes }: SessionDraft, plan: LaunchPlan): SessionPlan => ({
  owner,
  name: spec.name,
  proxyUser: spec.proxyUser,
  kind: spec.kind,
  preset: spec.preset?.name ?? null,
  ttlMs: spec.ttlMs,
  idleTimeoutMs: spec.idleTimeoutMs,
  log: [...notes],
  conf: plan.conf,
  jars: [...plan.jars],
  pyFiles: [...plan.pyFiles],
  files: [...plan.files],
  archives: [...plan.archives],
  workload: plan.workload,
});

/** The nine fields that every release of Livy's Java client can read; it fails on any other (clients.md §5). */
export const oldSessionObject = (session: Session, at: string) => {
  const { id, name, appId, owner, proxyUser, state, kind, appInfo, log } = sessionObject(session, at);
  return { id, name, appId, owner, proxyUser, state, kind, appInfo, log };
};

/** A statement as Livy 0.9 shows it: no output before the end, always one after it. */
export const statementObject = (statement: StatementView): StatementObject => ({
  id: statement.id,
  code: statement.code,
  state: statement.state,
  output: isFinalStatement(statement.state) ? statementOutput(statement) : null,
  progress: statement.progress,
  started: statement.startedMs,
  completed: statement.finishedMs,
});

/** The output of a statement that has ended. */
export const statementOutput = (statement: StatementView): StatementOutput => {
  const { id, outputs, outcome } = statement;
  const error = outputs.findLast((output) => output.type === "error");
  if (outcome === "ok" && error === undefined) {
    if (!statement.whole) return failure(id, "OutputGone", "The output is no longer kept: the driver that had it is gone.");
    return { status: "ok", execution_count: id, data: dataOf(outputs) };
  }
  // Livy loses what was printed before an error; here it stands beside it.
  const data = dataOf(outputs);
  const shown = Object.keys(data).length > 1 || data["text/plain"] !== "" ? { data } : {};
  if (outcome === "cancelled") return { ...cancellation(statement, error), ...shown };
  if (error === undefined) return { ...failure(id, "StatementLost", "The statement's result is lost with its driver."), ...shown };
  return { ...failure(id, error.ename, error.evalue, error.traceback), ...shown };
};

const failure = (id: number, ename: string, evalue: string, traceback: readonly string[] = []) => ({
  status: "error" as const,
  execution_count: id,
  ename,
  evalue,
  traceback: traceback.map((line) => (line.endsWith("\n") ? line : `${line}\n`)),
});

const cancellation = ({ id, rung }: StatementView, error: Extract<Output, { type: "error" }> | undefined) => {
  const reason = CANCELLED_BY[rung ?? "signal"];
  if (error === undefined) return failure(id, "Cancelled", reason);
  // Past the last rung the user must be told what is gone, whatever the error says.
  const evalue = error.evalue === "" ? reason : rung === "restart" ? `${error.evalue}\n${reason}` : error.evalue;
  return failure(id, error.ename, evalue, error.traceback);
};

/**
 * What a statement showed, as one bundle. `text/plain` is what it wrote through Python's stdout and the values of its expressions, in
 * order, then what it wrote to stderr; only white space at the end is cut, since clients read it line by line. Later values of another
 * type replace earlier ones. Where there are such and no text, `text/plain` is left out (clients.md §1).
 */
const dataOf = (outputs: readonly Output[]): Record<string, unknown> => {
  const data: Record<string, unknown> = {};
  const printed: string[] = [];
  const complaints: string[] = [];
  for (const output of outputs) {
    if (output.type === "stream" && output.via === "python") {
      (output.name === "stdout" ? printed : complaints).push(output.text);
    } else if (output.type === "dropped") {
      printed.push(`\n[${output.bytes} bytes of output were dropped here: over the limit]\n`);
    } else if (output.type === "display" || output.type === "result") {
      const { text, rich } = splitBundle(output.type, output.data);
      if (text !== null) printed.push(text, "\n");
      Object.assign(data, rich);
    }
  }
  const text = [...printed, ...complaints].join("").trimEnd();
  return text === "" && Object.keys(data).length > 0 ? data : { ...data, "text/plain": text };
};

/**
 * The text a bundle adds to `text/plain`, and the rest of it. Data and images are the value itself: their text is only a stand-in. HTML
 * is another dress of the value: an expression's text stays beside it, a displayed object's goes.
 */
const splitBundle = (type: "display" | "result", bundle: MimeBundle): { text: string | null; rich: MimeBundle } => {
  const { "text/plain": plain, ...rest } = bundle;
  const values = Object.entries(rest).filter(([mime]) => mime.startsWith("image/") || DATA_TYPES.has(mime));
  if (values.length > 0) return { text: null, rich: Object.fromEntries(values) };
  const dressed = type === "display" && Object.keys(rest).length > 0;
  return { text: typeof plain === "string" && !dressed ? plain : null, rich: rest };
};

const DATA_TYPES: ReadonlySet<string> = new Set(["application/json", "application/vnd.livy.table.v1+json"]);
