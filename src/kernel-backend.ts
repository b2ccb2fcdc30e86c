import { join } from "node:path";
import type { Duplex } from "node:stream";
import { clientVariables, kernelVariables, loadConfig } from "./config.ts";
import { type Address, Gateway, GatewayError } from "./kernel/gateway.ts";
import { KernelHome } from "./kernel/home.ts";
import { Remote } from "./kernel/remote.ts";
import type { Parts as MessageParts } from "./kernel/wire.ts";
import { Backoff, pause } from "./link/retry.ts";
import { targetOf } from "./target.ts";

/** Where a kernel's messages go: a kernel of the server that `LONGWICK_URL` names, or of one inside of this process. */

export interface BackendOptions {
  /** Of the connection file: what tells this kernel from others, over restarts. */
  readonly key: string;
  /** Of this process among those that talk to the server. */
  readonly session: string;
  readonly version: string;
  readonly say: (line: string) => void;
}

export interface BackendEvents {
  readonly onRemote: (remote: Remote) => void;
  readonly onOpen: () => void;
  readonly onMessage: (channel: string, parts: MessageParts) => void;
  readonly onTooLong: () => void;
  /** The server cannot be reached for now. */
  readonly onAway: (reason: string) => void;
  /** The kernel is there no more and will not be again. */
  readonly onGone: (message: string) => void;
  /** The server does not let us in. */
  readonly onRefused: (message: string) => void;
}

/** The server's side of a kernel. */
export interface Backend {
  /** `restart`: another process will go on with the kernel. */
  close(restart: boolean): Promise<void>;
}

const END_MS = 3_500;
const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 5_000;
/** How long drivers of the server inside outlive a kernel that was killed: on this machine, and in a cluster, from which a laptop may be asleep. */
const LOCAL_ORPHAN_MS = 60_000;
const CLUSTER_ORPHAN_MS = 4 * 3_600_000;
const STOP_GRACE_MS = 3_000;
/** Of kernels' own servers among all in a cluster. */
const INSTANCE_PREFIX = "kernel-";
/** A server tells drivers of connected kernels every twenty seconds. */
const LEAST_LEASE_MS = 30_000;
/** Before every record of a driver. */
const BEGINNING = "beginning";

/** @throws Error whose message tells a person why there is no kernel at a server */
export const openBackend = async (options: BackendOptions, events: BackendEvents, signal: AbortSignal): Promise<Backend> => {
  const { config } = loadConfig([]);
  const home = await KernelHome.open(join(config.runtimeDir, "kernels"), options.key);
  const { url } = clientVariables();
  let place: Place | null = null;
  try {
    place = url === null ? await ownPlace(config, home, options, signal) : foreignPlace(url, leaseOf(config));
    const gateway = new Gateway(place.address);
    const found = await kernelAt(gateway, { url, leaseMs: place.leaseMs }, home, events.onAway, signal);
    return connect({ place, gateway, home, ...found }, options, events);
  } catch (error) {
    // What the process before this one had is still there for the next.
    const known = await home.recall();
    await (known === null ? place?.end() : place?.leave());
    if (known === null) await home.remove();
    if (place === null || !(error instanceof GatewayError) || error.status !== UNAUTHENTICATED) throw error;
    throw new KernelRefused(refusalOf(place.address().url, error.message), { cause: error });
  }
};

/** The server does not let us in. */
class KernelRefused extends Error {
  override readonly name = "KernelRefused";
}
const UNAUTHENTICATED = 401;
/** @param server its URL, without credentials */
const refusalOf = (server: string, reason: string): string =>
  `${server} refuses this kernel: ${reason.replace(/\.$/, "")}. Is its token right (LONGWICK_TOKEN, LONGWICK_TOKEN_FILE)? Restart the kernel when it is.`;

interface Parts {
  readonly place: Place;
  readonly gateway: Gateway;
  readonly home: KernelHome;
  readonly id: string;
  /** The kernel is new. */
  readonly made: boolean;
}

const connect = ({ place, gateway, home, id, made }: Parts, options: BackendOptions, events: BackendEvents): Backend => {
  const remote = new Remote(
    {
      url: gateway.channels(id, options.session, place.shared),
      after: made ? BEGINNING : null,
      authorization: () => gateway.authorization,
      dial: place.dial,
      pauses: new Backoff(FIRST_PAUSE_MS, LAST_PAUSE_MS),
    },
    {
      onOpen: events.onOpen,
      onMessage: events.onMessage,
      onTooLong: events.onTooLong,
      onAway: events.onAway,
      onEnd: ({ kind, reason }) => {
        const { url: server } = place.address();
        if (kind === "gone")
          events.onGone(`The session has ended, and ${server} knows nothing of it any more (${reason}). Restart the kernel for a new one.`);
        else events.onRefused(refusalOf(server, reason));
      },
    },
  );
  events.onRemote(remote);
  return {
    close: async (restart) => {
      remote.close();
      if (restart) return place.leave();
      await gateway.end(id, END_MS).catch((error: unknown) => options.say(error instanceof Error ? error.message : String(error)));
      await place.end();
      await home.remove();
    },
  };
};

/** A server and what becomes of it with the kernel. */
interface Place {
  /** Whether others can use the server, a browser among them. */
  readonly shared: boolean;
  readonly address: () => Address;
  /** A connection to it that needs no network; null: there is none. */
  readonly dial: (() => Duplex) | null;
  /** How long a kernel outlives this process when it was killed, a laptop's sleep included; 0: the server sees to that itself. */
  readonly leaseMs: number;
  /** Lets go of it; what runs there goes on. */
  leave(): Promise<void>;
  end(): Promise<void>;
}

const nothing = async (): Promise<void> => undefined;

const foreignPlace = (url: string, leaseMs: number): Place => ({
  shared: true,
  address: () => targetOf(url, clientVariables().token),
  dial: null,
  leaseMs,
  leave: nothing,
  end: nothing,
});

/** Jupyter starts a kernel's process where the notebook is; it may have been removed since. */
const notebookDirectory = (): { readonly KERNEL_WORKING_DIR?: string } => {
  try {
    return { KERNEL_WORKING_DIR: process.cwd() };
  } catch {
    return {};
  }
};

/** Zero is no limit. */
const least = (configured: number, most: number): number => (configured === 0 ? most : Math.min(configured, most));

/** How long a pod's or another server's kernel outlives this process. */
const leaseOf = ({ kernelLeaseMs }: Config): number => Math.max(kernelLeaseMs, LEAST_LEASE_MS);

type Config = ReturnType<typeof loadConfig>["config"];

const ownPlace = async (config: Config, home: KernelHome, { version, say }: BackendOptions, signal: AbortSignal): Promise<Place> => {
  const [{ openOwnServer, forgetAbandoned }, { openLog }] = await Promise.all([import("./own-server.ts"), import("./observe/log.ts")]);
  const local = config.launcher === "local";
  const prepared = local ? await (await import("./prepare.ts")).prepare(config, say, signal) : null;
  const log = openLog(config.logLevel === "info" ? "warn" : config.logLevel, process.stderr);
  const own = {
    directory: home.directory,
    instance: `${INSTANCE_PREFIX}${home.name.slice(0, 12)}`,
    orphanTimeoutMs: least(config.orphanTimeoutMs, local ? LOCAL_ORPHAN_MS : CLUSTER_ORPHAN_MS),
    stopGraceMs: Math.min(config.stopGraceMs, STOP_GRACE_MS),
    localPaths: Object.values(notebookDirectory()),
  };
  const server = await openOwnServer(config, own, prepared, version, log);
  if (!local) void forgetAbandoned(config, INSTANCE_PREFIX).catch(() => undefined);
  const address = { url: server.url, authorization: `Bearer ${server.token}` };
  return {
    shared: false,
    address: () => address,
    dial: server.dial,
    leaseMs: local ? 0 : leaseOf(config),
    leave: () => server.leave(),
    end: () => server.end(),
  };
};

/** The kernel of the process before this one, restarted in place; else a new one. A server that cannot be reached is waited for. */
const kernelAt = async (
  gateway: Gateway,
  { url, leaseMs }: { readonly url: string | null; readonly leaseMs: number },
  home: KernelHome,
  onAway: (reason: string) => void,
  signal: AbortSignal,
): Promise<{ readonly id: string; readonly made: boolean }> => {
  const pauses = new Backoff(FIRST_PAUSE_MS, LAST_PAUSE_MS);
  for (;;) {
    try {
      const known = await home.recall();
      if (known !== null && known.url === url && (await gateway.restart(known.kernel))) return { id: known.kernel, made: false };
      const { kernelspec, handed } = kernelVariables();
      const id = await gateway.start({ name: kernelspec, env: { ...notebookDirectory(), ...handed }, leaseMs });
      await home.remember({ url, kernel: id });
      // A session that it attaches to has a past that is not this kernel's.
      return { id, made: handed["KERNEL_SESSION"] === undefined };
    } catch (error) {
      if (signal.aborted || !(error instanceof Error) || ("status" in error && Number(error.status) < 502)) throw error;
      onAway(error.message);
      await pause(pauses.next(), signal);
    }
  }
};
