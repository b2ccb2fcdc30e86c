import type { StatementView } from "../../core/statement-view.ts";
import { isEnded, isFinalStatement } from "../../core/states.ts";
import type { Connection } from "./connection.ts";
import type { Kernel } from "./kernel.ts";
import { type Content, flag, isContent, type Request, textOf } from "./messages.ts";
import { causeOf } from "./origin.ts";

/**
 * What a page needs that was loaded anew: front ends keep in their memory alone which request is which cell's. Ours (`kernelspec/labextension/`) asks
 * by `longwick_cells_request` what became of a notebook's cells. For those that it does not show whole it sends their execute_request as it
 * was, with `longwick.again` in its metadata: nothing runs, the messages that answered it come once more, and those that follow. When the
 * kernel is reached anew, which the first message over each socket says (`longwick_joined`), it asks again; a request of its own that nobody
 * knows then was held by a server that died, or lost on its way, and is sent again as it was: it runs once, and as before only in the same session.
 */

/** Bounds of a cell's name, and of how many are asked for. */
const CELL_CHARS = 128;
const CELLS = 10_000;
/** Shorter than the client's patience; what is known by then is told. */
const CATCH_UP_MS = 8_000;

/** The cell that an execute_request is of. */
export const cellOf = ({ metadata }: Request): string | null => {
  const { cellId } = metadata;
  return typeof cellId === "string" && cellId.length <= CELL_CHARS ? cellId : null;
};

/** Whether an execute_request is not to be run, but to be told of once more. */
export const isAgain = ({ metadata: { longwick } }: Request): boolean => isContent(longwick) && flag(longwick, "again");

/** What was last run of each of these cells: its code, its request's header, and when it ended (Unix time in milliseconds; null: not yet); and in which session. */
export const cells = async (kernel: Kernel, { content, session: client }: Request, signal: AbortSignal): Promise<Content> => {
  const { session } = kernel;
  const { cells: named } = content;
  const wanted = new Set(Array.isArray(named) ? named.slice(0, CELLS) : []);
  const told: Record<string, Content> = {};
  // A server that has just started hears first what ran before it.
  if (kernel.inherited) await session.caughtUp(CATCH_UP_MS, signal);
  if (isEnded(session.state)) return { status: "ok", session: session.id, cells: told };
  const last = new Map<string, StatementView>();
  for (const statement of session.heardAfter(0)) {
    const { cell } = causeOf(statement);
    if (cell !== null && wanted.has(cell)) last.set(cell, statement);
  }
  for (const [cell, known] of last) {
    const { code, state, finishedMs } = known.whole ? known : await session.statement(known.id, signal);
    told[cell] = { code, header: JSON.parse(causeOf(known).header), finished: isFinalStatement(state) ? finishedMs : null };
  }
  const { waiting, task } = kernel.outbox;
  for (const request of task?.session === client ? [...waiting, task] : waiting) {
    const cell = cellOf(request);
    if (cell !== null && wanted.has(cell))
      told[cell] = { code: textOf(request.content, "code"), header: JSON.parse(request.header), finished: null };
  }
  return { status: "ok", session: session.id, cells: told };
};

/** Tells a client once more what answered a request of before; one that is not known is answered as aborted. */
export const tellAgain = (kernel: Kernel, connection: Connection, request: Request): void => {
  const { session, outbox } = kernel;
  const { header: parent, session: to } = request;
  if (!isEnded(session.state)) {
    const known = session.heardAfter(0).findLast((statement) => isSame(causeOf(statement).header, request));
    // What waits for its driver has shown nothing yet.
    if (known !== undefined || outbox.waiting.some(({ header }) => isSame(header, request)))
      return kernel.tellAgain(connection, to, known?.id ?? null);
  }
  const content = { status: "aborted", execution_count: 0, ename: "Aborted", evalue: "", traceback: [] };
  kernel.publishStatus("busy", parent);
  connection.post(kernel.message({ channel: "shell", type: "execute_reply", content, parent, to }));
  kernel.publishStatus("idle", parent);
};

/** Whether it is this request's header, whoever wrote its JSON since. */
const isSame = (header: string, { header: asked }: Request): boolean => {
  const [one, other]: unknown[] = [JSON.parse(header), JSON.parse(asked)];
  return isContent(one) && isContent(other) && ["msg_id", "session", "date"].every((name) => one[name] === other[name]);
};
