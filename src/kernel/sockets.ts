import { Router, XPublisher } from "zeromq";
import { addressOf, type Connection, SOCKET_NAMES } from "./connection-file.ts";

/** Sockets that carry messages; the fifth is the heartbeat's. */
export type Channel = "shell" | "control" | "stdin" | "iopub";
export type RequestChannel = Exclude<Channel, "iopub">;

export interface SocketEvents {
  /** Frames as they came, of anybody who can connect. Must not throw. */
  readonly onFrames: (channel: RequestChannel, frames: readonly Buffer[]) => void;
  /** Somebody has subscribed to what begins with these bytes. Must not throw. */
  readonly onSubscription: (prefix: Buffer) => void;
}

/** How long what has been sent may still be on its way after the sockets were closed. */
const LINGER_MS = 1_000;
const BACKLOG = 512;
const SUBSCRIBED = 1;

/**
 * The kernel's five sockets, bound as the connection file says. ZeroMQ takes one message at a time from a socket, so each has a queue.
 * Nothing is dropped for want of room: who does not read makes this process grow.
 */
export class KernelSockets {
  readonly #senders: Readonly<Record<Channel, SendQueue>>;
  readonly #all: readonly (Router | XPublisher)[];

  private constructor(senders: Readonly<Record<Channel, SendQueue>>, all: readonly (Router | XPublisher)[]) {
    this.#senders = senders;
    this.#all = all;
  }

  /** Binds them and begins to read. @throws Error of ZeroMQ when an address is taken or wrong */
  static async open(connection: Connection, { onFrames, onSubscription }: SocketEvents): Promise<KernelSockets> {
    const { curve } = connection;
    const options = {
      linger: LINGER_MS,
      sendHighWaterMark: 0,
      backlog: BACKLOG,
      ipv6: connection.ip.includes(":"),
      ...(curve === null ? {} : { curveServer: true, curvePublicKey: curve.publicKey, curveSecretKey: curve.secretKey }),
    };
    const router = () => new Router({ ...options, handover: true });
    const [shell, control, stdin, hb] = [router(), router(), router(), router()];
    const iopub = new XPublisher(options);
    // Without it ZeroMQ keeps a second client's subscription to itself, and that client gets no welcome.
    iopub.verbosity = "allSubs";
    const sockets = { shell, control, stdin, iopub, hb };
    for (const name of SOCKET_NAMES) await sockets[name].bind(addressOf(connection, name));

    const beats = new SendQueue(hb);
    for (const channel of ["shell", "control", "stdin"] as const) read(sockets[channel], (frames) => onFrames(channel, frames));
    read(hb, (frames) => beats.send(frames));
    read(iopub, ([frame]) => {
      if (frame?.[0] === SUBSCRIBED) onSubscription(frame.subarray(1));
    });
    const senders = {
      shell: new SendQueue(shell),
      control: new SendQueue(control),
      stdin: new SendQueue(stdin),
      iopub: new SendQueue(iopub),
    };
    return new KernelSockets(senders, Object.values(sockets));
  }

  send(channel: Channel, frames: readonly Buffer[]): void {
    this.#senders[channel].send(frames);
  }

  /** Closes them when everything given to `send` has been handed on. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(Object.values(this.#senders).map((sender) => sender.drained()));
    for (const socket of this.#all) socket.close();
  }
}

/** Reads until the socket is closed. */
const read = (socket: Router | XPublisher, take: (frames: Buffer[]) => void): void => {
  void (async () => {
    for await (const frames of socket) take(frames);
  })();
};

type Sending = Pick<Router, "closed"> & { send(frames: Buffer[]): Promise<void> };

class SendQueue {
  readonly #socket: Sending;
  #waiting: (readonly Buffer[])[] = [];
  #pumping: Promise<void> | null = null;

  constructor(socket: Sending) {
    this.#socket = socket;
  }

  send(frames: readonly Buffer[]): void {
    this.#waiting.push(frames);
    this.#pumping ??= this.#pump();
  }

  async drained(): Promise<void> {
    await this.#pumping;
  }

  async #pump(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      for (const frames of batch) {
        // Refused only when the socket is closed or who should get it has gone: neither has a remedy.
        if (!this.#socket.closed) await this.#socket.send([...frames]).catch(() => undefined);
      }
    }
    this.#pumping = null;
  }
}
