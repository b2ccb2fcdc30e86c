import type { Header, MessageMaker } from "./messages.ts";
import { NO_PARENT, readHeader } from "./messages.ts";
import type { Channel, RequestChannel } from "./sockets.ts";
import type { Parts, Wire } from "./wire.ts";

/** The other side of the bridge: the kernel's channels at a server. */
export interface Upstream {
  /** Whether what is sent now is on its way. */
  readonly open: boolean;
  send(channel: string, parts: Parts): void;
}

export interface BridgeEvents {
  /** A client wants the kernel to end; the answer has been sent. */
  readonly onShutdown: (restart: boolean) => void;
  /** The server says that the kernel has ended. */
  readonly onDead: () => void;
  /** Something of no use came: said once for each kind. */
  readonly onDropped: (what: string) => void;
}

/** A request that has not been answered. */
interface Request {
  readonly channel: RequestChannel;
  readonly identities: readonly Buffer[];
  readonly header: Header;
  readonly parts: Parts;
  sent: boolean;
}

interface Failure {
  readonly name: string;
  readonly message: string;
}

/** Requests of unknown kinds may never be answered; the oldest beyond so many are forgotten. */
const REQUEST_LIMIT = 10_000;

/**
 * Carries messages between the sockets of Jupyter's clients and a server's channels. Their meaning is the server's; the bridge knows who
 * asked what, so that answers find their way back, and answers itself only what cannot wait for a server: what the kernel is, shutdown,
 * and whatever is asked of a kernel that has none.
 */
export class Bridge {
  readonly #wire: Wire;
  readonly #maker: MessageMaker;
  readonly #put: (channel: Channel, frames: readonly Buffer[]) => void;
  readonly #upstream: Upstream;
  readonly #kernelInfo: () => object;
  readonly #events: BridgeEvents;
  /** In the order they came. */
  readonly #requests = new Map<string, Request>();
  /** Of what was sent over this connection and has no answer. */
  #longestTold = NOTHING;
  readonly #dropped = new Set<string>();
  #failure: Failure | null = null;
  #everOpen = false;

  constructor(parts: {
    readonly wire: Wire;
    readonly maker: MessageMaker;
    readonly put: (channel: Channel, frames: readonly Buffer[]) => void;
    readonly upstream: Upstream;
    /** Content of `kernel_info_reply`, for as long as no server can be asked. */
    readonly kernelInfo: () => object;
    readonly events: BridgeEvents;
  }) {
    this.#wire = parts.wire;
    this.#maker = parts.maker;
    this.#put = parts.put;
    this.#upstream = parts.upstream;
    this.#kernelInfo = parts.kernelInfo;
    this.#events = parts.events;
  }

  /** Says, as every kernel does once, that the process has started. */
  started(): void {
    this.#publish("status", NO_PARENT, { execution_state: "starting" });
  }

  /** JEP 65: who subscribes is told when what is published reaches them. */
  welcome(prefix: Buffer): void {
    this.#put("iopub", this.#wire.encode([prefix], this.#maker.make("iopub_welcome", NO_PARENT, { subscription: prefix.toString() })));
  }

  /** Frames from a client. */
  take(channel: RequestChannel, frames: readonly Buffer[]): void {
    const incoming = this.#wire.decode(frames);
    if (typeof incoming === "string") return this.#drop(`${channel}: ${incoming}`);
    const { identities, parts } = incoming;
    const header = readHeader(parts[0]);
    if (header === null) return this.#drop(`${channel}: a header that is none`);
    const request = { channel, identities, header, parts, sent: false };
    if (header.type === "shutdown_request") return this.#shutdown(request);
    if (this.#failure !== null) return this.#refuse(request, this.#failure);
    if (!this.#upstream.open && header.type === "kernel_info_request") return this.#answer(request, this.#kernelInfo());
    if (!this.#everOpen && header.type === "interrupt_request") return this.#interrupt(request);
    if (this.#upstream.open) this.#pass(request);
    if (isRequest(request) || !request.sent) this.#remember(request);
  }

  /** A message of the server. */
  deliver(channel: string, parts: Parts): void {
    if (channel === "iopub") return this.#broadcast(parts);
    const parent = readHeader(parts[1]);
    const request = parent === null ? undefined : this.#requests.get(parent.key);
    // Other kernels may share the session, and a client may be told twice.
    if (request === undefined) return;
    if (channel === "stdin") return this.#put("stdin", this.#wire.encode(request.identities, parts));
    if (channel !== request.channel) return this.#drop(`the server answered on ${channel} what was asked on ${request.channel}`);
    this.#requests.delete(request.header.key);
    this.#put(request.channel, this.#wire.encode(request.identities, parts));
  }

  /** The server can be reached: what waited goes out, and again what has no answer yet. The server knows a request that it has seen. */
  opened(): void {
    this.#everOpen = true;
    this.#longestTold = NOTHING;
    for (const request of [...this.#requests.values()]) {
      this.#pass(request);
      if (!isRequest(request)) this.#requests.delete(request.header.key);
    }
  }

  /** The server does not take something that was sent: that can only be the longest, and is not sent again. */
  refuseLongest(): void {
    const [longest] = [...this.#requests.values()].filter(({ sent }) => sent).sort((a, b) => sizeOf(b) - sizeOf(a));
    const told = this.#longestTold;
    if (longest === undefined || told.bytes > sizeOf(longest))
      return this.#drop(`${told.what} of ${told.bytes} bytes is longer than the server takes`);
    this.#requests.delete(longest.header.key);
    this.#refuse(longest, { name: "MessageTooLong", message: `The server takes no message of ${sizeOf(longest)} bytes.` });
  }

  /** There is no server and there will be none: everything asked from now on, and before, is answered with the reason. */
  fail(name: string, message: string): void {
    this.#failure = { name, message };
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const request of requests) this.#refuse(request, this.#failure);
  }

  /** Shows something in the cell that runs or is to run next, or changes what was shown there under this name before; without such a cell nothing is shown. */
  notice(display: Notice): Notice {
    const running = [...this.#requests.values()].find(({ header }) => header.type === "execute_request");
    const parent = display.parent ?? running?.parts[0] ?? null;
    if (parent === null) return display;
    const type = display.parent === null ? "display_data" : "update_display_data";
    this.#publish(type, parent, { data: { "text/plain": display.text }, metadata: {}, transient: { display_id: display.id } });
    return { ...display, parent };
  }

  #pass(request: Request): void {
    request.sent = true;
    const bytes = sizeOf(request);
    if (!isRequest(request) && bytes > this.#longestTold.bytes)
      this.#longestTold = { what: `${request.channel}: a ${request.header.type}`, bytes };
    this.#upstream.send(request.channel, request.parts);
  }

  #remember(request: Request): void {
    this.#requests.set(request.header.key, request);
    if (this.#requests.size <= REQUEST_LIMIT) return;
    const [oldest] = this.#requests.keys();
    if (oldest !== undefined) this.#requests.delete(oldest);
  }

  #broadcast(parts: Parts): void {
    const header = readHeader(parts[0]);
    if (header === null) return this.#drop("the server published a header that is none");
    if (header.type === "status") {
      const state = statusOf(parts);
      // Said once, when the process started.
      if (state === "starting") return;
      // A front end would give up the process; it goes on, so that each cell is told the reason.
      if (state === "dead") return this.#events.onDead();
    }
    this.#put("iopub", this.#wire.encode([topicOf(header.type)], parts));
  }

  #publish(type: string, parent: Buffer, content: object): void {
    this.#put("iopub", this.#wire.encode([topicOf(type)], this.#maker.make(type, parent, content)));
  }

  /** An answer of our own, between the statuses that every request has. */
  #answer({ channel, identities, header, parts }: Request, content: object, error?: object): void {
    const parent = parts[0] ?? NO_PARENT;
    this.#publish("status", parent, { execution_state: "busy" });
    if (error !== undefined) this.#publish("error", parent, error);
    if (header.type.endsWith("_request")) {
      this.#put(channel, this.#wire.encode(identities, this.#maker.make(header.type.replace(/_request$/, "_reply"), parent, content)));
    }
    this.#publish("status", parent, { execution_state: "idle" });
  }

  #refuse(request: Request, { name, message }: Failure): void {
    const error = { ename: name, evalue: message, traceback: [`${name}: ${message}`] };
    if (request.header.type === "kernel_info_request") return this.#answer(request, this.#kernelInfo());
    if (request.header.type === "interrupt_request") return this.#answer(request, { status: "ok" });
    const execute = request.header.type === "execute_request";
    this.#answer(request, { status: "error", ...error, ...(execute ? { execution_count: 0 } : {}) }, execute ? error : undefined);
  }

  /** Before there is a server nothing runs, but cells may wait for it. */
  #interrupt(request: Request): void {
    this.#answer(request, { status: "ok" });
    const waiting = [...this.#requests.values()].filter(({ header }) => header.type === "execute_request");
    for (const cell of waiting) {
      this.#requests.delete(cell.header.key);
      this.#answer(cell, { status: "aborted" });
    }
  }

  #shutdown(request: Request): void {
    const restart = restartOf(request.parts);
    const content = { status: "ok", restart };
    this.#answer(request, content);
    this.#publish("shutdown_reply", request.parts[0] ?? NO_PARENT, content);
    this.#events.onShutdown(restart);
  }

  #drop(what: string): void {
    if (this.#dropped.has(what)) return;
    this.#dropped.add(what);
    this.#events.onDropped(what);
  }
}

const NOTHING = { what: "what was sent", bytes: 0 };

/** Whether it will be answered. */
const isRequest = ({ header }: Request): boolean => header.type.endsWith("_request");
const sizeOf = ({ parts }: Request): number => parts.reduce((sum, part) => sum + part.length, 0);

/** Something shown in a cell, and changed later. */
export interface Notice {
  readonly id: string;
  readonly text: string;
  /** The header of the cell's request once it has been shown. */
  readonly parent: Buffer | null;
}

const topicOf = (type: string): Buffer => Buffer.from(`kernel.${type}`);

const contentOf = (parts: Parts): Readonly<Record<string, unknown>> => {
  try {
    const content: unknown = JSON.parse(String(parts[3]));
    // Only single fields are looked at, each with its type.
    return typeof content === "object" && content !== null ? (content as Record<string, unknown>) : {};
  } catch {
    return {};
  }
};
const restartOf = (parts: Parts): boolean => contentOf(parts)["restart"] === true;
const statusOf = (parts: Parts): string => String(contentOf(parts)["execution_state"]);
