import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { Caller } from "../../core/access.ts";
import { publishSession } from "../../core/events.ts";
import { decodeLegacy, decodeV1, encodeLegacy, encodeText, encodeV1, type Frame, FrameError } from "./frames.ts";
import type { Kernel } from "./kernel.ts";
import { type Message, type Request, withMetadata } from "./messages.ts";
import { type Position, positionText } from "./position.ts";

/** Frames under way to a socket that reads slowly: from so many bytes on nothing of the driver's is added, it waits in the journal. */
const PAUSE_BYTES = 1024 * 1024;
/** What clients ask for cannot wait: a socket with so much before it is given up. */
const LIMIT_BYTES = 64 * 1024 * 1024;
const STALLED_MS = 30_000;
/** Short enough for proxies that cut what is silent for a minute. */
const PING_MS = 20_000;
/** A client that has answered no ping for so long is gone. */
const DEAF_MS = 90_000;
/** So many frames that are no messages, and the client does not speak our language. */
const BAD_FRAMES = 100;

export interface ConnectionOptions {
  readonly framing: "v1" | "legacy";
  /** A binary frame would end this client's connection: jupyter_server's proxy reads every one as text. */
  readonly textOnly: boolean;
  /** The client's session as the address says it; empty: it says none. */
  readonly sessionId: string;
  /** Whether the client counts what it has: positions stand in the metadata, and every client's replies go to it. */
  readonly counted: boolean;
  /** What such a client had last; null: it starts here. */
  readonly after: Position | null;
  /** By what address a browser beside the client reaches this server; null: it does not, but it may reach the driver. */
  readonly publicUrl: string | null;
  readonly caller: Caller;
}

/** One client's WebSocket: frames in and out, each direction bounded. What it means is the kernel's. */
export class Connection {
  readonly options: ConnectionOptions;
  /** Whether the client has asked what became of its cells (cells.ts): what is known of none it sends again. */
  findsCells = false;
  readonly #socket: WebSocket;
  readonly #carrier: Duplex;
  readonly #kernel: Kernel;
  readonly #closed = new AbortController();
  readonly #ping: NodeJS.Timeout;
  #pendingBytes = 0;
  #gathering = false;
  #drainedMs = performance.now();
  #heardMs = performance.now();
  #drained: (() => void) | null = null;
  #badFrames = 0;
  /** The last record handed to the socket, the one when the last ping went, and the one the last pong tells of. */
  #sent: Position | null = null;
  #pinged: Position | null = null;
  #confirmed: Position | null = null;

  /** `carrier`: what the socket is on. */
  constructor(socket: WebSocket, carrier: Duplex, kernel: Kernel, options: ConnectionOptions) {
    this.#socket = socket;
    this.#carrier = carrier;
    this.#kernel = kernel;
    this.options = options;
    socket.on("message", (data: Buffer, binary: boolean) => this.#receive(data, binary));
    socket.on("pong", () => {
      this.#heardMs = performance.now();
      this.#confirmed = this.#pinged;
    });
    socket.on("error", () => socket.terminate());
    socket.on("close", () => this.#end());
    this.#ping = setInterval(() => this.#look(), PING_MS);
  }

  /** Aborts when the socket is gone. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }
  /** The last record that the client is known to have. */
  get confirmed(): Position | null {
    return this.#confirmed;
  }

  /** What the client is known to have before anything was sent: where it was taken up. */
  resumeAt(position: Position): void {
    this.#sent = position;
    this.#confirmed ??= position;
  }

  /** Sends a message. One that the client cannot be given is left out. */
  post(message: Message): void {
    const frame = this.#encode(message);
    if (this.#closed.signal.aborted || frame === null) return;
    const size = typeof frame === "string" ? frame.length : frame.byteLength;
    if (this.#pendingBytes === 0) this.#drainedMs = performance.now();
    this.#pendingBytes += size;
    this.#gather();
    this.#socket.send(frame, () => this.#flushed(size));
    if (this.#pendingBytes > LIMIT_BYTES) this.#giveUp("it does not read");
  }

  /** Sends a message of a record, and waits while the client reads slowly. `position` null: of one that it has had before, and asked for again. */
  async deliver(message: Message, position: Position | null): Promise<void> {
    if (position !== null) this.#sent = position;
    const counted = this.options.counted && position !== null;
    this.post(counted ? withMetadata(message, { longwick: { at: positionText(position) } }) : message);
    while (this.#pendingBytes > PAUSE_BYTES && !this.#closed.signal.aborted)
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
  }

  /** Closes with a code; the socket is cut when the client does not answer. */
  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
    setTimeout(() => this.#socket.terminate(), 1_000).unref();
  }

  /** What one turn of the event loop sends goes out in one write. */
  #gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    this.#carrier.cork();
    process.nextTick(() => {
      this.#gathering = false;
      this.#carrier.uncork();
    });
  }

  #encode(message: Message): Frame | null {
    if (this.options.framing === "v1") return encodeV1(message);
    if (!this.options.textOnly) return encodeLegacy(message);
    return encodeText(message);
  }

  #flushed(size: number): void {
    this.#pendingBytes -= size;
    this.#drainedMs = performance.now();
    if (this.#pendingBytes > PAUSE_BYTES) return;
    this.#drained?.();
    this.#drained = null;
  }

  #look(): void {
    const now = performance.now();
    if (this.#pendingBytes > 0 && now - this.#drainedMs > STALLED_MS) return this.#giveUp("it does not read");
    if (now - this.#heardMs > DEAF_MS) return this.#giveUp("it answers no ping");
    this.#pinged = this.#sent;
    this.#socket.ping();
    this.#kernel.session.touch(this.options.caller.name ?? "jupyter");
  }

  #giveUp(why: string): void {
    this.#note(`a Jupyter client was cut: ${why}`);
    this.#socket.terminate();
  }

  #receive(data: Buffer, binary: boolean): void {
    this.#heardMs = performance.now();
    const request = this.#decode(data, binary);
    if (request !== null) this.#kernel.receive(request, this);
  }

  #decode(data: Buffer, binary: boolean): Request | null {
    try {
      if (this.options.framing === "legacy") return decodeLegacy(data, binary);
      if (!binary) throw new FrameError("a text frame where only binary ones are");
      return decodeV1(data);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#badFrames += 1;
      if (this.#badFrames === 1) this.#note(`a Jupyter client sent what is no message: ${error.message}`);
      if (this.#badFrames >= BAD_FRAMES) this.close(1003, "too many frames that are no messages");
      return null;
    }
  }

  #note(detail: string): void {
    publishSession({ session: this.#kernel.session.id, event: "fault", detail });
  }

  #end(): void {
    clearInterval(this.#ping);
    this.#closed.abort();
    this.#drained?.();
    this.#kernel.left(this);
  }
}
