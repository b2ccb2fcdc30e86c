import type { Duplex } from "node:stream";
import WebSocket from "ws";
import { decodeFrame, encodeFrame, SUBPROTOCOL } from "./frames.ts";
import type { Parts } from "./wire.ts";

export interface RemoteSettings {
  /** The kernel's channels: `ws://…/api/kernels/{id}/channels?…`. */
  readonly url: string;
  /** Where in the driver's records the kernel begins; null: wherever it stands. */
  readonly after: string | null;
  /** Value of the `Authorization` header, asked at each attempt; null: none. */
  readonly authorization: () => string | null;
  readonly pauses: Pauses;
  /** Makes the connection; null: over the network. */
  readonly dial: (() => Duplex) | null;
}

/** How long to wait between attempts; shorter again after one that worked. */
export interface Pauses {
  next(): number;
  reset(): void;
}

export interface RemoteEvents {
  readonly onOpen: () => void;
  readonly onMessage: (channel: string, parts: Parts) => void;
  /** Something that was sent is longer than the server takes. */
  readonly onTooLong: () => void;
  /** The server cannot be reached, again and again; attempts go on. `reason` is for a person. */
  readonly onAway: (reason: string) => void;
  /** No attempt will ever succeed. */
  readonly onEnd: (end: RemoteEnd) => void;
}

/** `gone`: the server knows no such kernel. `refused`: it does not let us in. */
export interface RemoteEnd {
  readonly kind: "gone" | "refused";
  readonly reason: string;
}

const PING_MS = 15_000;
const OPEN_MS = 20_000;
const PAYLOAD_LIMIT_BYTES = 2 ** 30;
/** Codes of a WebSocket's end (RFC 6455, 7.4.1). */
const LEAVING = 1_000;
const TOO_LONG = 1_009;
const ENDS: ReadonlyMap<number, RemoteEnd["kind"]> = new Map([
  [404, "gone"],
  [410, "gone"],
  [400, "refused"],
  [401, "refused"],
  [403, "refused"],
]);

/**
 * The channels of a kernel at a server, over one WebSocket after the other. Our server counts (`longwick=1`): each message of a record says
 * its position, and a socket that names one (`after`) begins behind it, so that nothing is missing and nothing comes twice.
 */
export class Remote {
  readonly #settings: RemoteSettings;
  readonly #events: RemoteEvents;
  #socket: WebSocket | null = null;
  #retry: NodeJS.Timeout | null = null;
  #closed = false;
  /** Position of the last message that came with one. */
  #after: string | null;

  constructor(settings: RemoteSettings, events: RemoteEvents) {
    this.#settings = settings;
    this.#events = events;
    this.#after = settings.after;
    this.#connect();
  }

  get open(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Without effect when it is not open. */
  send(channel: string, parts: Parts): void {
    // What fails here closes the socket, and that is heard of there.
    if (this.open) this.#socket?.send(encodeFrame(channel, parts), () => undefined);
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#socket?.close(LEAVING);
  }

  #connect(): void {
    const url = `${this.#settings.url}&longwick=1${this.#after === null ? "" : `&after=${encodeURIComponent(this.#after)}`}`;
    const authorization = this.#settings.authorization();
    const { dial } = this.#settings;
    const socket = new WebSocket(url, [SUBPROTOCOL], {
      ...(dial === null ? {} : { createConnection: dial }),
      headers: authorization === null ? {} : { Authorization: authorization },
      perMessageDeflate: false,
      maxPayload: PAYLOAD_LIMIT_BYTES,
      handshakeTimeout: OPEN_MS,
      // Frames are not looked at as text: ours are all binary.
      skipUTF8Validation: true,
    });
    this.#socket = socket;
    let end: RemoteEnd | null = null;
    let reason = "";
    let heart: NodeJS.Timeout | null = null;
    socket.on("unexpected-response", (_request, response) => {
      const status = response.statusCode ?? 0;
      reason = `it answered ${status} ${response.statusMessage ?? ""}`.trimEnd();
      const kind = ENDS.get(status);
      if (kind !== undefined) end = { kind, reason };
      response.destroy();
      socket.terminate();
    });
    socket.on("open", () => {
      this.#settings.pauses.reset();
      heart = beat(socket);
      this.#events.onOpen();
    });
    socket.on("message", (data, binary) => this.#take(data, binary));
    socket.on("error", (error) => {
      reason ||= error.message;
    });
    socket.on("close", (code, text) => {
      if (heart !== null) clearInterval(heart);
      if (this.#closed) return;
      if (end !== null) return this.#events.onEnd(end);
      if (code === TOO_LONG) this.#events.onTooLong();
      this.#events.onAway(reason || `it closed the connection (${code}${text.length > 0 ? ` ${text.toString()}` : ""})`);
      this.#retry = setTimeout(() => this.#connect(), this.#settings.pauses.next());
    });
  }

  #take(data: WebSocket.RawData, binary: boolean): void {
    if (!binary || !Buffer.isBuffer(data)) return;
    const message = decodeFrame(data);
    if (message === null) return;
    this.#events.onMessage(message.channel, message.parts);
    this.#after = positionIn(message.parts[METADATA]) ?? this.#after;
  }
}

const METADATA = 2;

/** Messages that stand in the driver's records say where, so that a later socket begins behind them. */
const positionIn = (metadata: Buffer | undefined): string | null => {
  if (metadata === undefined || !metadata.includes(POSITIONED)) return null;
  try {
    const { longwick }: { longwick?: { at?: unknown } } = JSON.parse(metadata.toString());
    return typeof longwick?.at === "string" ? longwick.at : null;
  } catch {
    return null;
  }
};
const POSITIONED = '"longwick"';

/** Pings; a socket whose peer is silent for a whole round is given up, as after a computer's sleep. */
const beat = (socket: WebSocket): NodeJS.Timeout => {
  let heard = true;
  const hear = () => {
    heard = true;
  };
  socket.on("pong", hear).on("message", hear);
  return setInterval(() => {
    if (!heard) return socket.terminate();
    heard = false;
    socket.ping();
  }, PING_MS);
};
