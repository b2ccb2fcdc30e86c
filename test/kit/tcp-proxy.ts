import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { Transform } from "node:stream";

/** Stands between clients and a port of this machine, to do to their connections what a computer's sleep does. */
export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  /** Connections that were made through it. */
  connections = 0;
  /** How many more bytes come through to clients, over all connections; those that are too many wait until it is more. */
  #leftBytes = Number.POSITIVE_INFINITY;
  readonly #held = new Set<() => void>();

  private constructor(port: number) {
    this.#server = createServer((near) => this.#join(near, connect(port, "127.0.0.1")));
  }

  static async before(port: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(port);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    // It listens on TCP.
    return (this.#server.address() as AddressInfo).port;
  }

  /** Nothing more passes on the connections there are, and neither end is told; new ones work. */
  goSilent(): void {
    for (const pair of this.#pairs) {
      for (const socket of pair) {
        socket.unpipe();
        socket.resume();
        socket.removeAllListeners("close");
      }
    }
  }

  /** From here on clients get so many bytes, and then nothing until `letGo`. */
  holdAfter(bytes: number): void {
    this.#leftBytes = bytes;
  }

  letGo(): void {
    this.#leftBytes = Number.POSITIVE_INFINITY;
    for (const pass of this.#held) pass();
    this.#held.clear();
  }

  #valve(): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.#leftBytes -= chunk.length;
        if (this.#leftBytes >= 0) done(null, chunk);
        else this.#held.add(() => done(null, chunk));
      },
    });
  }

  #join(near: Socket, far: Socket): void {
    this.connections += 1;
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [far, near]] as const) {
      (from === far ? far.pipe(this.#valve(), { end: false }) : near).pipe(to, { end: false });
      from.on("error", () => from.destroy());
      from.on("close", () => to.destroy());
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
