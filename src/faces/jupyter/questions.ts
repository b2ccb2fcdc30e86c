import type { StatementView } from "../../core/statement-view.ts";
import type { Connection } from "./connection.ts";
import type { Kernel } from "./kernel.ts";
import { type Request, textOf } from "./messages.ts";
import { causeOf } from "./origin.ts";

/** How long a reply waits for what was asked before the server's start. */
const CATCH_UP_MS = 60_000;
/** What `translate` calls the first message of a record; other ids are the clients' own. */
const FIRST_OF_RECORD = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}_(\d{1,15})_0$/;

/** What was typed goes to the statement that asked; to nobody when that question is over. */
export const reply = async (kernel: Kernel, connection: Connection, request: Request): Promise<void> => {
  const { session, parts } = kernel;
  try {
    // It may be typed while the server is away: the next one hears first what was asked before it.
    await session.caughtUp(CATCH_UP_MS, parts.closing);
    const { running } = session;
    if (running?.input == null || !answers(request, running, running.input.seq, kernel, connection)) return;
    await session.answer(running.id, running.input.seq, textOf(request.content, "value").toWellFormed(), parts.closing);
  } catch {
    // A driver that is gone asks nobody.
  }
};

/**
 * Whether an input_reply is for the question that is asked now, and not for one before it. JupyterLab names the input_request as parent.
 * Others, jupyter_client among them, name none: of those it is the client that was asked.
 */
const answers = ({ parent, session }: Request, statement: StatementView, seq: number, kernel: Kernel, connection: Connection): boolean => {
  const named = questionOf(parent);
  if (named !== null) return named === seq;
  const { client } = causeOf(statement);
  return client !== null && (client === session || kernel.tells(connection, client));
};

/** The record that the input_request of this msg_id told of; null: it is no message of a record's. */
const questionOf = (id: string): number | null => {
  const [, seq] = FIRST_OF_RECORD.exec(id) ?? [];
  return seq === undefined ? null : Number(seq);
};
