import { randomUUID } from "node:crypto";

/** Version of the messaging specification these messages follow. */
export const MESSAGING_VERSION = "5.5";

/** Who our messages say they are from: some clients refuse a header without a name. */
const USERNAME = "longwick";

export type Channel = "shell" | "control" | "stdin" | "iopub";
export type Content = Readonly<Record<string, unknown>>;

/** A message to clients. Its parts are JSON text already: every socket sends the same ones, in its own framing. */
export interface Message {
  readonly channel: Channel;
  readonly id: string;
  readonly type: string;
  readonly header: string;
  readonly parent: string;
  readonly metadata: string;
  readonly content: string;
  readonly buffers: readonly Uint8Array[];
  /** The client session it is for; null: everybody. */
  readonly to: string | null;
}

/** A message from a client. */
export interface Request {
  readonly channel: Exclude<Channel, "iopub">;
  readonly id: string;
  readonly type: string;
  /** The client's own session. */
  readonly session: string;
  /** The whole header as JSON text: parent of whatever answers it. */
  readonly header: string;
  /** The msg_id of the message that it answers; empty: it names none. */
  readonly parent: string;
  readonly metadata: Content;
  readonly content: Content;
  readonly buffers: readonly Uint8Array[];
}

export interface Draft {
  readonly channel: Channel;
  readonly type: string;
  readonly content: Content;
  /** JSON text of the header that caused it; nothing did when absent. */
  readonly parent?: string;
  readonly metadata?: Content;
  readonly buffers?: readonly Uint8Array[];
  readonly to?: string | null;
  /** The kernel process's session: another one after each restart. */
  readonly session: string;
  readonly id?: string;
  /** Unix time in milliseconds; now when absent. */
  readonly atMs?: number;
}

export const NO_PARENT = "{}";

export const message = (draft: Draft): Message => {
  const { channel, type, content, session, parent = NO_PARENT, metadata = {}, buffers = [], to = null } = draft;
  const id = draft.id ?? randomUUID();
  const date = new Date(draft.atMs ?? Date.now()).toISOString();
  const header = JSON.stringify({ msg_id: id, session, username: USERNAME, date, msg_type: type, version: MESSAGING_VERSION });
  return { channel, id, type, header, parent, metadata: JSON.stringify(metadata), content: JSON.stringify(content), buffers, to };
};

/** A message with other metadata. */
export const withMetadata = (known: Message, metadata: Content): Message => ({
  ...known,
  metadata: JSON.stringify({ ...(JSON.parse(known.metadata) as object), ...metadata }),
});

export type ExecutionState = "busy" | "idle" | "starting" | "restarting" | "dead";

/** `silent` and the like: true only when the client says so. */
export const flag = (content: Content, name: string, fallback = false): boolean => {
  const value = content[name];
  return typeof value === "boolean" ? value : fallback;
};

export const textOf = (content: Content, name: string): string => {
  const value = content[name];
  return typeof value === "string" ? value : "";
};

/** A whole number of a client's, within bounds; `fallback` for what is none. */
export const integerOf = (content: Content, name: string, fallback: number): number => {
  const value = content[name];
  return typeof value === "number" && Number.isSafeInteger(value) ? value : fallback;
};

export const isContent = (value: unknown): value is Content => typeof value === "object" && value !== null && !Array.isArray(value);
