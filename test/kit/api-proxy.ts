import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http";
import { type RequestOptions, request } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { connect } from "node:tls";
import { KubeConfig } from "@kubernetes/client-node";

/** What is answered in the API server's place. */
export interface OwnAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/** As an API server that has too much to do answers. */
export const TOO_BUSY: OwnAnswer = {
  status: 429,
  headers: { "retry-after": "1" },
  body: { kind: "Status", code: 429, reason: "TooManyRequests", message: "too many requests, please try again later" },
};

const ownConfig = (): KubeConfig => {
  const config = new KubeConfig();
  config.loadFromDefault();
  return config;
};

/** Stands between a server and the API server, to do what networks and busy API servers do. Who comes by it needs no credentials. */
export class ApiProxy implements AsyncDisposable {
  readonly #target: URL;
  readonly #options: RequestOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Duplex>();
  #directory = "";
  /** Asked about each request; null passes it on. */
  answer: (request: IncomingMessage) => OwnAnswer | null = () => null;
  /** Asked about each request that is passed on: whether its answer is lost on the way back. */
  loses: (request: IncomingMessage) => boolean = () => false;
  /** So long each request waits before it is passed on. */
  delayMs = 0;
  /** While it is not open every connection is refused. */
  open = true;
  /** Requests so far, upgrades too. */
  requests = 0;

  private constructor(target: URL, options: RequestOptions) {
    this.#target = target;
    this.#options = options;
    this.#server = createServer((near, answer) => void this.#pass(near, answer));
    this.#server.on("upgrade", (near, socket, head) => this.#join(near, socket, head));
    this.#server.on("connection", (socket) => {
      if (this.open) this.#keep(socket);
      else socket.destroy();
    });
  }

  /** `config`: as whom it asks; as the tests do when absent. */
  static async start(config = ownConfig()): Promise<ApiProxy> {
    const options: RequestOptions = {};
    await config.applyToHTTPSOptions(options);
    const proxy = new ApiProxy(new URL(config.getCurrentCluster()?.server ?? ""), options);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    proxy.#directory = await mkdtemp(join(tmpdir(), "longwick-proxy-"));
    await writeFile(proxy.kubeconfig, proxy.config().exportConfig());
    return proxy;
  }

  /** A file that leads here. */
  get kubeconfig(): string {
    return join(this.#directory, "kubeconfig");
  }

  config(): KubeConfig {
    const { port } = this.#server.address() as AddressInfo;
    const config = new KubeConfig();
    config.loadFromClusterAndUser({ name: "proxy", server: `http://127.0.0.1:${port}`, skipTLSVerify: true }, { name: "anybody" });
    return config;
  }

  /** Both ends of every connection see its end. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.open = false;
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#directory, { recursive: true, force: true });
  }

  #keep(socket: Duplex): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
  }

  #asked({ method, url, headers }: IncomingMessage): RequestOptions {
    const { host, hostname, port } = this.#target;
    return {
      ...this.#options,
      hostname,
      port: port || 443,
      method,
      path: url,
      headers: { ...headers, ...(this.#options.headers as Record<string, string>), host },
    };
  }

  async #pass(near: IncomingMessage, answer: ServerResponse): Promise<void> {
    this.requests += 1;
    const own = this.answer(near);
    if (own !== null) {
      near.resume();
      answer.writeHead(own.status, { "content-type": "application/json", ...own.headers }).end(JSON.stringify(own.body));
      return;
    }
    if (this.delayMs > 0) await pause(this.delayMs);
    const lost = this.loses(near);
    const far = request(this.#asked(near), (response) => {
      if (lost) {
        response.resume();
        answer.destroy();
        return;
      }
      answer.writeHead(response.statusCode ?? 502, response.headers);
      // A watch has its headers long before its first event.
      answer.flushHeaders();
      response.pipe(answer);
      response.on("error", () => answer.destroy());
    });
    far.on("error", () => answer.destroy());
    answer.on("close", () => far.destroy());
    near.pipe(far);
  }

  #join(near: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.requests += 1;
    const own = this.answer(near);
    if (own !== null) {
      socket.end(`HTTP/1.1 ${own.status} ${STATUS_CODES[own.status]}\r\nconnection: close\r\n\r\n${JSON.stringify(own.body)}`);
      return;
    }
    const { hostname, port, headers, path } = this.#asked(near);
    const { ca, cert, key } = this.#options;
    const far = connect({ host: hostname ?? "", port: Number(port), ca, cert, key, ALPNProtocols: ["http/1.1"] } as never);
    for (const one of [socket, far]) this.#keep(one);
    far.on("close", () => socket.destroy());
    socket.on("close", () => far.destroy());
    const lines = Object.entries(headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
    far.write(`GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
    far.write(head);
    socket.pipe(far).pipe(socket);
  }
}
