import { userInfo } from "node:os";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { Bridge, type Notice } from "./kernel/bridge.ts";
import { type Connection, ConnectionFileError, readConnectionFile } from "./kernel/connection-file.ts";
import { MessageMaker } from "./kernel/messages.ts";
import type { Remote } from "./kernel/remote.ts";
import { KernelSockets } from "./kernel/sockets.ts";
import { Wire } from "./kernel/wire.ts";
import type { Backend } from "./kernel-backend.ts";
import { version } from "./version.ts";

/**
 * `longwick kernel -f FILE`: the process that a Jupyter client starts. It answers on the sockets of the connection file at once; the
 * server it needs, a real one or one of its own, is found or started meanwhile, by what is loaded then.
 */

/** A client kills a kernel that has not gone five seconds after it was told to. */
const LEAVE_MS = 4_500;
const PARENT_MS = 1_000;
/** So long a server may be away before the running cell says so. */
const AWAY_MS = 8_000;

const say = (line: string): void => void process.stderr.write(`longwick kernel: ${line}\n`);

const kernelInfo = (): object => ({
  status: "ok",
  protocol_version: "5.5",
  implementation: "longwick",
  implementation_version: version(),
  language_info: {
    name: "python",
    version: "3",
    mimetype: "text/x-python",
    codemirror_mode: { name: "ipython", version: 3 },
    pygments_lexer: "ipython3",
    nbconvert_exporter: "python",
    file_extension: ".py",
  },
  banner: `Longwick ${version()}: Python with Spark`,
  help_links: [],
  supported_features: [],
});

class KernelProcess {
  readonly #connection: Connection;
  readonly #key: string;
  readonly #maker = new MessageMaker(userInfo().username);
  readonly #bridge: Bridge;
  readonly #leaving = new AbortController();
  #sockets: KernelSockets | null = null;
  #backend: Promise<Backend> | null = null;
  #remote: Remote | null = null;
  #left: Promise<void> | null = null;
  #awaySince: { readonly atMs: number; readonly timer: NodeJS.Timeout; notice: Notice } | null = null;

  /** @param file where the connection was read: it tells kernels apart that have no key */
  constructor(connection: Connection, file: string) {
    this.#connection = connection;
    this.#key = connection.key || file;
    const kernel = this;
    this.#bridge = new Bridge({
      wire: new Wire(connection.key, connection.hash),
      maker: this.#maker,
      put: (channel, frames) => this.#sockets?.send(channel, frames),
      upstream: {
        get open() {
          return kernel.#remote?.open ?? false;
        },
        send: (channel, parts) => this.#remote?.send(channel, parts),
      },
      kernelInfo,
      events: {
        onShutdown: (restart) => void this.leave(restart),
        onDead: () => say("the Spark driver has ended; cells say why"),
        onDropped: (what) => say(`dropped: ${what}`),
      },
    });
  }

  async start(): Promise<void> {
    this.#sockets = await KernelSockets.open(this.#connection, {
      onFrames: (channel, frames) => this.#bridge.take(channel, frames),
      onSubscription: (prefix) => this.#bridge.welcome(prefix),
    });
    this.#bridge.started();
    this.#watchParent();
    this.#backend = this.#openBackend();
    await this.#backend.catch((error: unknown) => {
      const { name, message } = error instanceof Error ? error : new Error(String(error));
      if (!this.#leaving.signal.aborted) this.#refuse(name === "Error" ? "KernelStartFailed" : name, message);
    });
  }

  async #openBackend(): Promise<Backend> {
    const [{ openBackend }, { kernelVariables }] = await Promise.all([import("./kernel-backend.ts"), import("./config.ts")]);
    // It died before anybody looked: what is left of it is its number.
    if (process.ppid === 1 && ![null, "1"].includes(kernelVariables().manager)) void this.leave(false);
    return openBackend(
      { key: this.#key, session: this.#maker.session, version: version(), say },
      {
        onRemote: (remote) => {
          this.#remote = remote;
        },
        onOpen: () => {
          this.#back();
          this.#bridge.opened();
        },
        onMessage: (channel, parts) => this.#bridge.deliver(channel, parts),
        onAway: (reason) => this.#away(reason),
        onTooLong: () => this.#bridge.refuseLongest(),
        onGone: (message) => this.#refuse("SessionEnded", message),
        onRefused: (message) => this.#refuse("KernelRefused", message),
      },
      this.#leaving.signal,
    );
  }

  /** Ends the process; with `restart` the kernel stays for the process that comes next. Idempotent. */
  leave(restart: boolean): Promise<void> {
    this.#left ??= this.#leave(restart);
    return this.#left;
  }

  async #leave(restart: boolean): Promise<void> {
    setTimeout(() => process.exit(1), LEAVE_MS).unref();
    this.#leaving.abort();
    const backend = await this.#backend?.catch(() => null);
    await backend?.close(restart).catch((error: unknown) => say(error instanceof Error ? error.message : String(error)));
    await this.#sockets?.close();
    process.exit(0);
  }

  /** A manager that dies takes its kernels along, as ipykernel does it. */
  #watchParent(): void {
    const parent = process.ppid;
    setInterval(() => {
      if (process.ppid !== parent) void this.leave(false);
    }, PARENT_MS).unref();
  }

  #away(reason: string): void {
    if (this.#awaySince !== null) return;
    say(`the server cannot be reached, trying again: ${reason}`);
    const atMs = Date.now();
    const text = `Longwick: the server has been away since ${new Date(atMs).toLocaleTimeString()} (${reason}). What runs goes on; its output comes as soon as the server is back.`;
    const timer = setInterval(() => {
      const away = this.#awaySince;
      if (away !== null && away.notice.parent === null) away.notice = this.#bridge.notice(away.notice);
    }, AWAY_MS);
    this.#awaySince = { atMs, timer, notice: { id: `longwick-away-${atMs}`, text, parent: null } };
  }

  #back(): void {
    const away = this.#awaySince;
    if (away === null) return;
    clearInterval(away.timer);
    this.#awaySince = null;
    say("the server is back");
    const seconds = Math.round((Date.now() - away.atMs) / 1_000);
    if (away.notice.parent !== null)
      this.#bridge.notice({ ...away.notice, text: `Longwick: the server was away for ${seconds} s. Nothing is lost.` });
  }

  /** Whatever is asked is answered with the reason why there is nothing to ask; a restart tries again. */
  #refuse(name: string, message: string): void {
    say(message);
    this.#bridge.fail(name, message);
  }
}

const main = async (): Promise<void> => {
  const { values } = parseArgs({ args: process.argv.slice(3), options: { f: { type: "string", short: "f" } } });
  if (values.f === undefined) throw new ConnectionFileError("a Jupyter client starts this with -f CONNECTION_FILE");
  const kernel = new KernelProcess(readConnectionFile(values.f), resolve(values.f));
  // An interrupt comes as a message; the signal is what a terminal sends to all that a person's client has started.
  process.on("SIGINT", () => undefined);
  for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => void kernel.leave(false));
  await kernel.start();
};

// Whatever a client or a server sends, the kernel lives.
process.on("uncaughtException", (error) => say(error.stack ?? error.message));
process.on("unhandledRejection", (error) => say(error instanceof Error ? (error.stack ?? error.message) : String(error)));
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  process.exit(error instanceof ConnectionFileError ? 2 : 1);
});
