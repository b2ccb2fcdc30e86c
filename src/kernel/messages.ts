import { randomUUID } from "node:crypto";
import type { Parts } from "./wire.ts";

/** What the adapter itself has to read of a message's header; all else passes through unread. */
export interface Header {
  readonly id: string;
  readonly type: string;
  /**
   * Tells messages apart. Their ids alone do not: the clients that jupyter_client's KernelManager makes share its session, and each counts
   * from zero.
   */
  readonly key: string;
}

/** Null: these bytes are no header. */
export const readHeader = (bytes: Buffer | undefined): Header | null => {
  if (bytes === undefined) return null;
  try {
    const header: unknown = JSON.parse(bytes.toString());
    if (typeof header !== "object" || header === null || !("msg_id" in header) || !("msg_type" in header)) return null;
    const { msg_id: id, msg_type: type } = header;
    if (typeof id !== "string" || typeof type !== "string" || type === "") return null;
    return { id, type, key: `${type} ${"date" in header ? String(header.date) : ""} ${id}` };
  } catch {
    return null;
  }
};

/** The parent of messages that nobody asked for. */
export const NO_PARENT: Buffer = Buffer.from("{}");
const VERSION = "5.5";

/** Makes the few messages the adapter says itself. */
export class MessageMaker {
  /** One for each life of the process, as the protocol wants it. */
  readonly session = randomUUID();
  readonly #username: string;

  constructor(username: string) {
    this.#username = username;
  }

  /** `parent`: the whole header of the request, as it came. */
  make(type: string, parent: Buffer, content: object): Parts {
    const header = {
      msg_id: randomUUID(),
      msg_type: type,
      session: this.session,
      username: this.#username,
      date: new Date().toISOString(),
      version: VERSION,
    };
    return [Buffer.from(JSON.stringify(header)), parent, NO_PARENT, Buffer.from(JSON.stringify(content))];
  }
}
