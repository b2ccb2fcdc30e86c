import { Duplex } from "node:stream";
import { WebSocket } from "ws";
import { type Api, refusal } from "./api.ts";

/** Channels of Kubernetes' port-forward over a websocket: each message begins with the channel's number. */
const PROTOCOL = "v4.channel.k8s.io";
const DATA = 0;
const ERROR = 1;
/** The first message of each channel repeats the port, two bytes. */
const PORT_BYTES = 2;
/** A message no larger than this passes through every hop in one piece. */
const MESSAGE_BYTES = 128 * 1024;

/**
 * A connection to a pod's port through the API server. Heeds back-pressure both ways: who does not read stops the other end, and a
 * write is done when the socket has taken it.
 */
export const openTunnel = async (api: Api, namespace: string, pod: string, port: number, signal: AbortSignal): Promise<Duplex> => {
  const { url, options } = await api.socketOptions(`api/v1/namespaces/${namespace}/pods/${pod}/portforward?ports=${port}`);
  signal.throwIfAborted();
  const socket = new WebSocket(url, [PROTOCOL], { ...options, perMessageDeflate: false, followRedirects: false });
  // Listens from the first message on, which may come with the answer that opens the socket.
  const tunnel = new Tunnel(socket);
  await new Promise<void>((resolve, reject) => {
    const abort = () => {
      tunnel.destroy();
      settle(() => reject(signal.reason));
    };
    const settle = (end: () => void) => {
      signal.removeEventListener("abort", abort);
      end();
    };
    signal.addEventListener("abort", abort, { once: true });
    socket.once("open", () => settle(resolve));
    socket.once("error", (error) => settle(() => reject(error)));
    socket.once("unexpected-response", (request, response) => {
      const { statusCode: status = 0 } = response;
      const refused = (why: string) => {
        request.destroy();
        settle(() => reject(new Error(`the API server refuses the port-forward: ${why}`)));
      };
      refusal(response, status).then(
        ({ message }) => refused(message),
        () => refused(`HTTP status ${status}`),
      );
    });
  });
  return tunnel;
};

class Tunnel extends Duplex {
  readonly #socket: WebSocket;
  /** Bytes of each channel's first message that are still to come. */
  readonly #greetings = new Map([
    [DATA, PORT_BYTES],
    [ERROR, PORT_BYTES],
  ]);

  constructor(socket: WebSocket) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    // Whoever uses it hears of its end by `close`; an error that comes before anybody listens must not end the server.
    this.on("error", () => undefined);
    socket.on("message", (data: Buffer) => this.#take(data));
    socket.on("error", (error) => this.destroy(error));
    socket.once("close", () => this.push(null));
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send(chunk, 0, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.close();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.terminate();
    done(error);
  }

  #send(chunk: Buffer, from: number, done: (error?: Error | null) => void): void {
    const piece = chunk.subarray(from, from + MESSAGE_BYTES);
    const next = from + piece.length;
    this.#socket.send(Buffer.concat([Buffer.from([DATA]), piece]), (error) => {
      if (error || next >= chunk.length) done(error ?? null);
      else this.#send(chunk, next, done);
    });
  }

  #take(message: Buffer): void {
    const channel = message[0] ?? DATA;
    const greeting = Math.min(this.#greetings.get(channel) ?? 0, message.length - 1);
    this.#greetings.set(channel, (this.#greetings.get(channel) ?? 0) - greeting);
    const bytes = message.subarray(1 + greeting);
    if (bytes.length === 0) return;
    if (channel === ERROR) this.destroy(new Error(`port-forward: ${bytes.toString().trim()}`));
    else if (channel === DATA && !this.push(bytes)) this.#socket.pause();
  }
}
