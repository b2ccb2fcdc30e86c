import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { DriverLink } from "../../src/core/ports.ts";
import { openLink } from "../../src/link/link.ts";
import { Livy, type SessionInfo } from "./livy.ts";
import { lives, processesNaming, type RunningProcess } from "./processes.ts";
import { driverPython } from "./python.ts";
import { until } from "./until.ts";

const CLI = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));
/** Ours but for what says where tests run: a server refuses variables of its own that it does not know. */
const OWN_ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^LONGWICK_(TEST|CI)_/.test(name)));
/** On a machine that others use too, a process needs its time. */
const READY_MS = 60_000;
const GONE_MS = 20_000;

export interface ServerOptions {
  /** Another script than the command line; it is given the same arguments. */
  readonly entry?: string;
  /** Further flags of `longwick serve`. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What the kit's own requests carry (credentials). */
  readonly headers?: Readonly<Record<string, string>>;
  /** The drivers' Python; that of the tests when absent. */
  readonly python?: string;
  /** Puts the runtime directory on a file system of this size, of this server's processes alone (Linux, a mount namespace). */
  readonly diskBytes?: number;
}

/**
 * The real server in a process of its own: port 0, a runtime directory of its own. Disposing it deletes its sessions, ends it, and throws
 * when any process it started is still there.
 */
export class Server implements AsyncDisposable {
  /** Holds the runtime directory; free for the test's own files. */
  readonly directory: string;
  readonly runtimeDirectory: string;
  readonly #options: ServerOptions;
  readonly #python: string;
  #child: ChildProcess | null = null;
  #port = 0;
  /** What the server wrote, for messages of failed tests. */
  #written = "";

  constructor(options: ServerOptions, python: string) {
    this.#options = options;
    this.#python = python;
    // Short: a unix socket's path has room for 107 bytes.
    this.directory = mkdtempSync(join(tmpdir(), "lw-"));
    this.runtimeDirectory = join(this.directory, "run");
  }

  get port(): number {
    return this.#port;
  }
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }
  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error("the server is not running");
    return this.#child.pid;
  }
  get written(): string {
    return this.#written;
  }

  /** Starts it, on the port it had before, and waits until it answers. */
  async start(): Promise<void> {
    const { entry = CLI, flags = [], env = {}, diskBytes } = this.#options;
    const serve = [process.execPath, entry, "serve", "--port", String(this.#port), "--runtime-dir", this.runtimeDirectory, ...flags];
    const [command = "", ...args] = diskBytes === undefined ? serve : this.#onDisk(diskBytes, serve);
    const child = spawn(command, args, {
      env: { ...OWN_ENVIRONMENT, LONGWICK_PYTHON: this.#python, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        said += text;
        this.#written += text;
      });
    }
    await until("the server says where it listens", READY_MS, () => {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}:\n${this.#written}`);
      const address = /http:\/\/127\.0\.0\.1:(\d+)/.exec(said);
      if (address === null) return undefined;
      this.#port = Number(address[1]);
      return true;
    });
  }

  /** The mount is made at the first start, in a namespace that lives as long as a process in it; later starts enter that one. */
  #onDisk(bytes: number, serve: readonly string[]): readonly string[] {
    const holder = this.#mountHolder;
    if (holder !== null) return ["nsenter", "--target", String(holder), "--mount", "--", ...serve];
    const script = `mkdir -p "$0" && mount -t tmpfs -o size=${bytes} tmpfs "$0" && { DISK="$0" sleep infinity & } && exec "$@"`;
    return ["unshare", "--mount", "--", "sh", "-c", script, this.runtimeDirectory, ...serve];
  }

  get #mountHolder(): number | null {
    const sleeper = processesNaming(this.runtimeDirectory).find(({ command }) => command.startsWith("sleep"));
    return sleeper?.pid ?? null;
  }

  /** Signal 9. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGTERM, and its end. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** A new server over the same runtime directory, on the same port. */
  async restart(): Promise<void> {
    if (this.#child !== null) await this.stop();
    await this.start();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit", { signal: AbortSignal.timeout(GONE_MS) }).catch((cause: unknown) => {
      throw new Error(`the server has not left ${GONE_MS} ms after ${signal}:\n${this.#written.slice(-4_000)}`, { cause });
    });
    // That it had to be torn away is a fault, of whoever holds it.
    if (signal === "SIGTERM" && this.#written.includes("leaves as it is"))
      throw new Error(`the server was held:\n${this.#written.slice(-4_000)}`);
  }

  sessionDirectory(session: number): string {
    return join(this.runtimeDirectory, "sessions", String(session));
  }

  #driver(session: number): { readonly session: string; readonly key: string; readonly listen: { readonly unix: string } } {
    // Written by our own launcher, by the contract with the supervisor.
    return JSON.parse(readFileSync(join(this.sessionDirectory(session), "driver.json"), "utf8"));
  }

  driverSocket(session: number): string {
    return this.#driver(session).listen.unix;
  }

  /** A link of one's own to a session's driver, beside the server's. */
  link(session: number): DriverLink & AsyncDisposable {
    const { session: uid, key, listen } = this.#driver(session);
    const dial = async (signal: AbortSignal) => {
      const socket = connect(listen.unix);
      await once(socket, "connect", { signal });
      return socket;
    };
    const link = openLink({ session: uid, key: Buffer.from(key, "base64url"), dial });
    void (async () => {
      for await (const _event of link.events());
    })();
    return Object.assign(link, { [Symbol.asyncDispose]: () => link.close() });
  }

  /** Every process of a session's driver. */
  driverProcesses(session: number): readonly RunningProcess[] {
    return processesNaming(this.#driver(session).session);
  }

  /** SIGSTOP makes the driver one that cannot be reached, SIGCONT one that can; its interpreter goes on meanwhile. */
  signalSupervisor(session: number, signal: NodeJS.Signals): void {
    const supervisor = this.driverProcesses(session).find(({ command }) => /-m spark_shim /.test(command));
    if (supervisor === undefined) throw new Error(`no supervisor among ${JSON.stringify(this.driverProcesses(session))}`);
    process.kill(supervisor.pid, signal);
  }

  /** Kills the supervisor with signal 9 and waits until nothing it had started is left either; a server may have started the next one by then. */
  async killSupervisor(session: number): Promise<void> {
    const killed = this.driverProcesses(session);
    this.signalSupervisor(session, "SIGKILL");
    await until("JVM and interpreter are gone with their supervisor", GONE_MS, () =>
      killed.some(({ pid }) => lives(pid)) ? undefined : true,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // One that never said where it listens cannot be asked.
    const served = this.#port !== 0 && this.#child !== null && this.#child.exitCode === null;
    try {
      if (served) await this.#deleteSessions();
      await this.stop();
      if (served) await this.#expectNothingLeft();
    } finally {
      for (const { pid } of processesNaming(this.directory)) kill(pid);
      rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
    }
  }

  async #deleteSessions(): Promise<void> {
    const livy = new Livy(this.url, this.#options.headers);
    const { sessions } = await livy.expect<{ sessions: readonly SessionInfo[] }>(200, "GET", "/sessions?size=100000");
    const batches = await livy.expect<{ sessions: readonly { id: number }[] }>(200, "GET", "/batches?size=100000");
    await Promise.all([...sessions.map(({ id }) => livy.delete(id)), ...batches.sessions.map(({ id }) => livy.deleteBatch(id))]);
    livy.close();
  }

  async #expectNothingLeft(): Promise<void> {
    const left = () => processesNaming(this.directory).filter(({ pid }) => pid !== this.#mountHolder);
    await until("no process of the server's sessions is left", GONE_MS, () => (left().length === 0 ? true : undefined)).catch(
      (cause: unknown) => {
        throw new Error(`left behind: ${JSON.stringify(left(), null, 1)}\n${this.#written}`, { cause });
      },
    );
  }
}

const kill = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
};

/** A server that answers. Use it with `await using`, or dispose it in `afterAll`. */
export const startServer = async (options: ServerOptions = {}): Promise<Server> => {
  const server = new Server(options, options.python ?? (await driverPython()));
  try {
    await server.start();
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
  return server;
};
