import { rename } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";

/**
 * Stands between a server and a driver's unix socket, to do to their link what networks do: cut it, or let it go silent with both ends
 * believing that it lives (half-open). A server that dials after this was put there goes through it.
 */
export class LinkProxy implements AsyncDisposable {
  readonly #path: string;
  readonly #real: string;
  readonly #listener: Server;
  readonly #sockets = new Set<Socket>();
  #silent = false;
  /** Connections that were made through it. */
  dialled = 0;

  private constructor(path: string, real: string) {
    this.#path = path;
    this.#real = real;
    this.#listener = createServer((near) => this.#join(near));
  }

  static async at(path: string): Promise<LinkProxy> {
    const proxy = new LinkProxy(path, `${path}.real`);
    await rename(path, proxy.#real);
    await new Promise<void>((resolve, reject) => {
      proxy.#listener.once("error", reject);
      proxy.#listener.listen(path, resolve);
    });
    return proxy;
  }

  /** Both ends of every connection see its end. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Nothing more gets through the connections there are; neither end is told. New ones work. */
  goSilent(): void {
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.pause();
      socket.removeAllListeners("end");
    }
    this.#silent = true;
  }

  #join(near: Socket): void {
    this.dialled += 1;
    this.#silent = false;
    const far = connect(this.#real);
    const pair = [near, far];
    for (const socket of pair) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        this.#sockets.delete(socket);
        if (!this.#silent) for (const other of pair) other.destroy();
      });
    }
    near.pipe(far).pipe(near);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#listener.close(resolve));
    await rename(this.#real, this.#path);
  }
}
