import { createHash, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { FastifyBaseLogger } from "fastify";
import type { Config } from "./config.ts";
import { launcherSettings } from "./launcher-settings.ts";
import type { Prepared } from "./prepare.ts";
import { openServer } from "./server.ts";

export interface OwnServer {
  readonly url: string;
  /** The only one it takes. */
  readonly token: string;
  /** A connection to it from inside of this process. */
  readonly dial: () => Duplex;
  /** Closes it; what runs there goes on. */
  leave(): Promise<void>;
  /** Ends every session and leaves nothing behind. */
  end(): Promise<void>;
}

/** What may differ between the servers that commands start inside themselves. */
export interface OwnServerOptions {
  /** What it needs is kept there; it must be nobody else's. */
  readonly directory: string;
  /** Tells it from all other servers in a cluster; a DNS label of at most 20 characters. */
  readonly instance: string;
  /** How long drivers outlive a process that was killed. */
  readonly orphanTimeoutMs: number;
  /** How long a driver that is told to end may take. */
  readonly stopGraceMs: number;
  /** What drivers may use besides what is configured: whoever can ask for it runs as the same user. */
  readonly localPaths: readonly string[];
}

/** A server on loopback that only this process can use: its token is random and lets in only the user who runs it. */
export const openOwnServer = async (
  config: Config,
  { directory, instance, orphanTimeoutMs, stopGraceMs, localPaths }: OwnServerOptions,
  prepared: Prepared | null,
  version: string,
  log: FastifyBaseLogger,
): Promise<OwnServer> => {
  const token = randomBytes(32).toString("base64url");
  const tokens = join(directory, "tokens");
  await writeFile(tokens, `${createHash("sha256").update(token).digest("hex")} ${userInfo().username}\n`, { mode: 0o600 });
  const own = {
    ...config,
    ...{ host: "127.0.0.1", port: 0, basePath: "", tlsCert: null, tlsKey: null },
    ...{ htpasswd: null, tokens, allowedUsers: [], csrfProtection: false },
    ...{ runtimeDir: join(directory, "run"), kubernetesInstance: instance, orphanTimeoutMs, stopGraceMs, drainMs: 0 },
    ...{ maxSessions: 0, maxSessionsPerUser: 0, maxSchedulesPerUser: 0, localPaths: [...config.localPaths, ...localPaths] },
  };
  const server = await openServer(own, prepared, version, log);
  const end = async () => {
    await server.end();
    if (config.launcher === "kubernetes") await forgetInstance(own);
  };
  return { url: server.url, token, dial: server.dial, leave: () => server.close(), end };
};

const FORGET_MS = 10_000;

const forgetInstance = async (config: Config): Promise<void> => {
  const [{ removeInstance }, settings] = await Promise.all([import("./launch/kubernetes/cluster.ts"), launcherSettings(config, null)]);
  if (settings.launcher === "kubernetes") await removeInstance(settings.kubernetes, AbortSignal.timeout(FORGET_MS));
};

const ABANDONED_MS = 24 * 3_600_000;
const SWEEP_MS = 60_000;

/** Removes from the cluster what servers left whose processes were killed; `prefix` is what their instances' names begin with. */
export const forgetAbandoned = async (config: Config, prefix: string): Promise<void> => {
  const [{ removeAbandoned }, settings] = await Promise.all([import("./launch/kubernetes/cluster.ts"), launcherSettings(config, null)]);
  if (settings.launcher !== "kubernetes") return;
  await removeAbandoned(settings.kubernetes, { prefix, endedMs: ABANDONED_MS }, AbortSignal.timeout(SWEEP_MS));
};
