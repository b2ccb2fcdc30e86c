import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { WebSocket } from "ws";
import { V1_PROTOCOL } from "../../src/faces/jupyter/frames.ts";
import { until } from "./until.ts";

export interface ChannelsOptions {
  readonly session?: string;
  /** Offers the newer framing. */
  readonly v1?: boolean;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What else a request says of itself. */
export interface Sent {
  readonly id?: string;
  readonly session?: string;
  readonly date?: string;
  readonly metadata?: object;
  /** The header of what it answers. */
  readonly parent?: object;
}

export interface Received {
  readonly channel: string;
  readonly type: string;
  readonly header: object;
  readonly parent: string | undefined;
  readonly metadata: { readonly longwick?: { readonly at: string }; readonly longwick_joined?: boolean };
  readonly content: Readonly<Record<string, unknown>>;
  readonly buffers: readonly Buffer[];
  /** Whether it came in a binary frame. */
  readonly binary: boolean;
}

/** A kernel's WebSocket without any client's manners: what is sent and what comes, as it is. */
export class Channels {
  readonly session: string;
  readonly socket: WebSocket;
  readonly received: Received[] = [];
  /** Close code; null while it is open. */
  closed: number | null = null;

  constructor(url: string, kernel: string, options: ChannelsOptions = {}) {
    this.session = options.session ?? randomUUID();
    const query = new URLSearchParams({ session_id: this.session, ...options.query });
    const address = `${url.replace(/^http/, "ws")}/api/kernels/${kernel}/channels?${query}`;
    this.socket = new WebSocket(address, options.v1 === true ? [V1_PROTOCOL] : [], { headers: options.headers ?? {} });
    this.socket.on("message", (data: Buffer, binary: boolean) => {
      this.received.push(this.socket.protocol === V1_PROTOCOL ? readV1(data) : readLegacy(data, binary));
    });
    this.socket.on("close", (code) => {
      this.closed = code;
    });
    this.socket.on("error", () => undefined);
  }

  /** Opens one and waits until it is open. */
  static async open(url: string, kernel: string, options: ChannelsOptions = {}): Promise<Channels> {
    const channels = new Channels(url, kernel, options);
    await once(channels.socket, "open", { signal: AbortSignal.timeout(10_000) });
    return channels;
  }

  /** The HTTP status an opening was refused with, and the answer's body. */
  static async refused(url: string, kernel: string, options: ChannelsOptions = {}): Promise<{ status: number; body: unknown }> {
    const { socket } = new Channels(url, kernel, options);
    const [, response] = await once(socket, "unexpected-response", { signal: AbortSignal.timeout(10_000) });
    let body = "";
    for await (const chunk of response) body += String(chunk);
    socket.terminate();
    return { status: response.statusCode, body: JSON.parse(body) };
  }

  /** Sends a request and answers its msg_id. */
  send(channel: string, type: string, content: object, more: Sent = {}): string {
    const { id = randomUUID(), session = this.session, date = new Date().toISOString(), metadata = {}, parent = {} } = more;
    const header = { msg_id: id, msg_type: type, session, username: "ann", version: "5.4", date };
    const parts = [channel, ...[header, parent, metadata, content].map((part) => JSON.stringify(part))];
    if (this.socket.protocol === V1_PROTOCOL) this.socket.send(writeV1(parts.map((part) => Buffer.from(part))));
    else this.socket.send(JSON.stringify({ channel, header, parent_header: parent, metadata, content, buffers: [] }));
    return id;
  }

  execute(code: string, content: object = {}, options: Sent = {}): string {
    const standard = { silent: false, store_history: true, user_expressions: {}, allow_stdin: false, stop_on_error: true };
    return this.send("shell", "execute_request", { code, ...standard, ...content }, options);
  }

  of(parent: string): readonly Received[] {
    return this.received.filter((each) => each.parent === parent);
  }

  /** Waits for the last message of a request: idle. */
  async idle(parent: string, deadlineMs = 60_000): Promise<readonly Received[]> {
    await until(`${parent} is done`, deadlineMs, () =>
      this.of(parent).some(({ type, content }) => type === "status" && content["execution_state"] === "idle") ? true : undefined,
    );
    return this.of(parent);
  }

  async until(what: string, fact: (received: readonly Received[]) => boolean, deadlineMs = 60_000): Promise<void> {
    await until(what, deadlineMs, () => (fact(this.received) ? true : undefined));
  }

  /** Position of the last message that has one. */
  get position(): string {
    return this.received.findLast(({ metadata }) => metadata.longwick !== undefined)?.metadata.longwick?.at ?? "";
  }

  /** What a request's cell shows by now: a clear_output takes away what came before it. */
  shown(parent: string): string {
    const messages = this.of(parent);
    const from = messages.findLastIndex(({ type }) => type === "clear_output");
    return messages
      .slice(from + 1)
      .map(({ content }) => (typeof content["text"] === "string" ? content["text"] : ""))
      .join("");
  }

  close(): void {
    this.socket.terminate();
  }
}

/** Parts of a v1 frame, channel first. */
export const writeV1 = (parts: readonly Buffer[]): Buffer => {
  const head = Buffer.alloc(8 * (parts.length + 2));
  head.writeBigUInt64LE(BigInt(parts.length + 1), 0);
  let offset = head.length;
  for (const [index, part] of [...parts, Buffer.alloc(0)].entries()) {
    head.writeBigUInt64LE(BigInt(offset), 8 * (index + 1));
    offset += part.length;
  }
  return Buffer.concat([head, ...parts]);
};

const readV1 = (frame: Buffer): Received => {
  const count = Number(frame.readBigUInt64LE(0));
  const offsets = Array.from({ length: count }, (_, index) => Number(frame.readBigUInt64LE(8 * (index + 1))));
  const [channel, header, parent, metadata, content, ...buffers] = offsets
    .slice(0, -1)
    .map((from, index) => frame.subarray(from, offsets[index + 1]));
  const json = (part: Buffer | undefined) => JSON.parse(String(part));
  return {
    channel: String(channel),
    ...{
      type: json(header).msg_type,
      header: json(header),
      parent: json(parent).msg_id,
      metadata: json(metadata),
      content: json(content),
      buffers,
      binary: true,
    },
  };
};

const readLegacy = (frame: Buffer, binary: boolean): Received => {
  const count = binary ? frame.readUInt32BE(0) : 1;
  const offsets = binary ? Array.from({ length: count }, (_, index) => frame.readUInt32BE(4 * (index + 1))) : [0];
  const [text, ...buffers] = offsets.map((from, index) => frame.subarray(from, offsets[index + 1] ?? frame.length));
  const { channel, header, parent_header: parent, metadata, content } = JSON.parse(String(text));
  return { channel, type: header.msg_type, header, parent: parent.msg_id, metadata, content, buffers, binary };
};
