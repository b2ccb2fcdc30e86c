import { createHash } from "node:crypto";
import { publishAudit } from "../../core/events.ts";
import type { CellBody, CommBody } from "../../core/session.ts";
import { cellOf, cells, isAgain, tellAgain } from "./cells.ts";
import { configure, isConfigure } from "./configure.ts";
import type { Connection } from "./connection.ts";
import { history } from "./history.ts";
import type { Kernel } from "./kernel.ts";
import { kernelInfo } from "./kernel-info.ts";
import { type Content, flag, integerOf, isContent, type Request, textOf } from "./messages.ts";
import type { Origin } from "./origin.ts";
import { reply } from "./questions.ts";

/** Completion that takes longer is of no use to anybody. */
const LOOK_MS = 10_000;
/** The longest code; the socket's limit is higher by what JSON adds to it. */
const CODE_LIMIT_BYTES = 64 * 1024 * 1024;

type Answer = (kernel: Kernel, request: Request, signal: AbortSignal, connection: Connection) => Promise<Content> | Content;

/** Requests that are answered beside the statements: at once, while one runs too. */
const ANSWERS: Readonly<Record<string, Answer>> = {
  kernel_info_request: (kernel, _request, _signal, connection) => kernelInfo(kernel, connection),
  history_request: (kernel, { content }, signal) => history(kernel.session, content, signal),
  complete_request: complete,
  inspect_request: inspect,
  is_complete_request: isComplete,
  comm_info_request: commInfo,
  longwick_cells_request: (kernel, request, signal, connection) => {
    connection.findsCells = true;
    return cells(kernel, request, signal);
  },
  interrupt_request: async (kernel, _request, signal) => {
    await kernel.interrupt(signal);
    return { status: "ok" };
  },
  shutdown_request: shutdown,
};

/** What a client asked for is done and answered. Never rejects; what nobody knows is answered with busy and idle alone. */
export const answer = async (kernel: Kernel, connection: Connection, request: Request): Promise<void> => {
  const { type } = request;
  if (type === "execute_request") return execute(kernel, connection, request);
  if (Object.hasOwn(COMM_EVENTS, type)) return comm(kernel, connection, request);
  if (type === "input_reply") return reply(kernel, connection, request);
  const { header: parent } = request;
  kernel.publishStatus("busy", parent);
  const make = Object.hasOwn(ANSWERS, type) ? ANSWERS[type] : undefined;
  if (make !== undefined) {
    auditControl(kernel, connection, request);
    const signal = AbortSignal.any([connection.closed, AbortSignal.timeout(LOOK_MS)]);
    const replyOf = (content: Content) => {
      const said = { type: type.replace(/_request$/, "_reply"), content, parent };
      return { said, message: kernel.message({ ...said, channel: request.channel, to: request.session }) };
    };
    const { said, message } = await Promise.resolve()
      .then(() => make(kernel, request, signal, connection))
      // What a driver says may be nested more deeply than can be written.
      .then(replyOf)
      .catch((error: unknown) => replyOf(FALLBACKS[type]?.(request) ?? failureOf(error)));
    connection.post(message);
    if (type === "shutdown_request") kernel.publish(said);
  }
  kernel.publishStatus("idle", parent);
  kernel.sayBusyAgain();
};

/** Control that changes something; over HTTP its routes say so. */
const auditControl = ({ session: { id: session, proxyUser } }: Kernel, { options }: Connection, { type, content }: Request): void => {
  const action =
    type === "interrupt_request" ? "interrupt" : type !== "shutdown_request" ? null : flag(content, "restart") ? "restart" : "delete";
  const { name: user, remote } = options.caller;
  if (action !== null) publishAudit({ action, user, remote, proxyUser, session, statement: null, problem: null });
};

const failureOf = (error: unknown): Content => {
  const evalue = error instanceof Error ? error.message : String(error);
  return { status: "error", ename: error instanceof Error ? error.name : "Error", evalue, traceback: [] };
};

/** What is said of code when nobody can be asked: nothing is known, which is no error. */
const FALLBACKS: Readonly<Record<string, (request: Request) => Content>> = {
  complete_request: ({ content }) => {
    const cursor = integerOf(content, "cursor_pos", 0);
    return { status: "ok", matches: [], cursor_start: cursor, cursor_end: cursor, metadata: {} };
  },
  inspect_request: () => ({ status: "ok", found: false, data: {}, metadata: {} }),
  is_complete_request: () => ({ status: "unknown" }),
  comm_info_request: () => ({ status: "ok", comms: {} }),
  longwick_cells_request: () => ({ status: "ok", cells: {} }),
};

// ── Execution ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

const execute = (kernel: Kernel, connection: Connection, request: Request): void => {
  if (isAgain(request)) return tellAgain(kernel, connection, request);
  const { content, header, session } = request;
  const code = textOf(content, "code").toWellFormed();
  const silent = flag(content, "silent");
  const stored = !silent && flag(content, "store_history", true);
  const origin: Origin = { face: "jupyter", client: session, header, stored, comm: false, cell: cellOf(request) };
  const refusal = refusalOf(content, code);
  if (refusal !== null) return refuse(kernel, connection, request, refusal);
  if (isConfigure(code)) return configure(kernel, connection, request);
  const cell: CellBody = {
    ...{ key: keyOf(request), code, kind: "pyspark", origin, silent, stored, parent: request.id },
    stopOnError: flag(content, "stop_on_error", true),
    stdin: flag(content, "allow_stdin"),
    expressions: expressionsOf(content),
  };
  kernel.outbox.push(request, { cell }, connection.options.caller);
};

const expressionsOf = ({ user_expressions: expressions }: Content): Record<string, string> => {
  const entries = isContent(expressions) ? Object.entries(expressions) : [];
  return Object.fromEntries(entries.flatMap(([name, code]) => (typeof code === "string" ? [[name, code.toWellFormed()]] : [])));
};

const COMM_EVENTS: Readonly<Record<string, "open" | "msg" | "close">> = { comm_open: "open", comm_msg: "msg", comm_close: "close" };
const COMM_ID_CHARS = 255;

/** A message to a widget's other half waits its turn among the cells. One to nobody needs no answer. */
const comm = (kernel: Kernel, connection: Connection, request: Request): void => {
  const { content, header, session: client, metadata, buffers } = request;
  const { data } = content;
  const event = COMM_EVENTS[request.type];
  const id = textOf(content, "comm_id").toWellFormed();
  if (event === undefined || id === "" || id.length > COMM_ID_CHARS) return;
  const origin: Origin = { face: "jupyter", client, header, stored: false, comm: true, cell: null };
  const body: CommBody = {
    ...{ key: keyOf(request), origin, parent: request.id, event, comm: id },
    target: event === "open" ? textOf(content, "target_name") : null,
    data: isContent(data) ? data : {},
    metadata,
    buffers: buffers.map((buffer) => Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength).toString("base64")),
  };
  kernel.outbox.push(request, { comm: body }, connection.options.caller);
};

/**
 * The same request runs once, however often it is sent: after a lost socket it may be sent again. Its whole header, because ids alone tell
 * nothing: the clients that jupyter_client's KernelManager makes share its session, and each counts from zero.
 */
const keyOf = ({ header }: Request): string => `jupyter-${createHash("sha256").update(header).digest("hex")}`;

const refusalOf = (content: Content, code: string): string | null => {
  if (typeof content["code"] !== "string") return "An execute_request must have its code as text.";
  if (Buffer.byteLength(code) > CODE_LIMIT_BYTES) return `The code is larger than ${CODE_LIMIT_BYTES / 1024 / 1024} MiB, the limit.`;
  return null;
};

const refuse = (kernel: Kernel, connection: Connection, { header: parent, session: to }: Request, evalue: string): void => {
  const failure = { ename: "InvalidRequest", evalue, traceback: [evalue] };
  const content = { status: "error", execution_count: 0, ...failure, payload: [], user_expressions: {} };
  kernel.publishStatus("busy", parent);
  kernel.publish({ type: "error", content: failure, parent });
  connection.post(kernel.message({ channel: "shell", type: "execute_reply", content, parent, to }));
  kernel.publishStatus("idle", parent);
};

async function shutdown(kernel: Kernel, { content }: Request, signal: AbortSignal): Promise<Content> {
  const restart = flag(content, "restart");
  if (restart) await kernel.restart(signal);
  else kernel.shutDown();
  return { status: "ok", restart };
}

// ── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Position in code points, as the client counts; within the code. */
const cursorOf = (content: Content, code: string): number => {
  const length = [...code].length;
  return Math.max(0, Math.min(integerOf(content, "cursor_pos", length), length));
};

async function complete(kernel: Kernel, { content }: Request, signal: AbortSignal): Promise<Content> {
  const code = textOf(content, "code").toWellFormed();
  if (kernel.executionState === "starting") throw new Error("the driver is starting");
  const { matches, start, end, metadata } = await kernel.session.complete(code, "pyspark", cursorOf(content, code), signal);
  return { status: "ok", matches, cursor_start: start, cursor_end: end, metadata };
}

async function inspect(kernel: Kernel, { content }: Request, signal: AbortSignal): Promise<Content> {
  const code = textOf(content, "code").toWellFormed();
  const detail = integerOf(content, "detail_level", 0) === 0 ? 0 : 1;
  if (kernel.executionState === "starting") throw new Error("the driver is starting");
  const { found, data, metadata } = await kernel.session.inspect(code, "pyspark", cursorOf(content, code), detail, signal);
  return { status: "ok", found, data: isContent(data) ? data : {}, metadata };
}

async function isComplete(kernel: Kernel, { content }: Request, signal: AbortSignal): Promise<Content> {
  if (kernel.executionState === "starting") throw new Error("the driver is starting");
  const { status, indent } = await kernel.session.parse(textOf(content, "code").toWellFormed(), signal);
  return status === "incomplete" ? { status, indent } : { status };
}

async function commInfo(kernel: Kernel, { content }: Request, signal: AbortSignal): Promise<Content> {
  if (kernel.executionState === "starting") throw new Error("the driver is starting");
  const wanted = textOf(content, "target_name");
  const open = Object.entries(await kernel.session.comms(signal)).filter(([, target]) => wanted === "" || target === wanted);
  return { status: "ok", comms: Object.fromEntries(open.map(([id, target]) => [id, { target_name: target }])) };
}
