import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Stands between clients and a port of this machine, to do to their connections what a computer's sleep does. */
export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  /** Connections that were made through it. */
  connections = 0;

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

  #join(near: Socket, far: Socket): void {
    this.connections += 1;
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [far, near]] as const) {
      from.pipe(to, { end: false });
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
