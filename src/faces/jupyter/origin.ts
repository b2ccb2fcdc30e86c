import type { StatementView } from "../../core/statement-view.ts";
import { isContent, MESSAGING_VERSION } from "./messages.ts";

/** What a statement of a Jupyter client carries with it, kept by the driver (design.md §3, 3–4). */
export interface Origin {
  readonly face: "jupyter";
  /** The client's session: replies and questions go there, and an error drops what it queued behind. */
  readonly client: string;
  /** The request's whole header as JSON text. */
  readonly header: string;
  /** False: not in history, no number. */
  readonly stored: boolean;
  /** The request's type when it is no execute_request. */
  readonly comm: boolean;
  /** The notebook's cell, as a front end names it in the request's metadata; null: it names none. */
  readonly cell: string | null;
}

/** What is known of a statement's cause, whoever sent it. */
export interface Cause {
  readonly header: string;
  /** Null: no client of Jupyter waits for a reply. */
  readonly client: string | null;
  readonly stored: boolean;
  readonly comm: boolean;
  readonly cell: string | null;
}

const CAUSES = new WeakMap<StatementView, Cause>();

export const causeOf = (statement: StatementView): Cause => {
  const known = CAUSES.get(statement);
  if (known !== undefined) return known;
  const cause = readCause(statement);
  CAUSES.set(statement, cause);
  return cause;
};

const readCause = (statement: StatementView): Cause => {
  const { origin } = statement;
  if (isContent(origin) && origin["face"] === "jupyter" && isHeader(origin["header"])) {
    const { client, header, stored, comm, cell } = origin;
    return {
      ...{ header, client: typeof client === "string" ? client : "", stored: stored !== false, comm: comm === true },
      cell: typeof cell === "string" ? cell : null,
    };
  }
  return { header: foreignHeader(statement), client: null, stored: !statement.silent, comm: false, cell: null };
};

/** Drivers are their users', who may write anything. */
const isHeader = (value: unknown): value is string => {
  try {
    return typeof value === "string" && isContent(JSON.parse(value));
  } catch {
    return false;
  }
};

/** For statements of other faces: what their execute_request would have said. */
const foreignHeader = ({ id, key, origin, queuedMs }: StatementView): string => {
  const face = isContent(origin) && typeof origin["face"] === "string" ? origin["face"] : "other";
  return JSON.stringify({
    msg_id: `${face}-${id}-${key}`,
    session: face,
    username: isContent(origin) && typeof origin["client"] === "string" ? origin["client"] : "",
    date: new Date(queuedMs).toISOString(),
    msg_type: "execute_request",
    version: MESSAGING_VERSION,
  });
};
