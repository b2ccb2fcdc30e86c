import { createHash, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { FastifyBaseLogger } from "fastify";
import type { Config } from "./config.ts";
import type { Prepared } from "./prepare.ts";
import { openServer, type Server } from "./server.ts";

export interface OwnServer {
  readonly server: Server;
  readonly token: string;
}

/** What may differ between the servers that commands start inside themselves. */
export interface OwnServerOptions {
  /** What it needs is kept there; it must be nobody else's. */
  readonly directory: string;
  /** How long drivers outlive a process that was killed. */
  readonly orphanTimeoutMs: number;
  /** How long a driver that is told to end may take. */
  readonly stopGraceMs: number;
}

/** A server on loopback that only this process can use: its token is random and lets in only the user who runs it. */
export const openOwnServer = async (
  config: Config,
  { directory, orphanTimeoutMs, stopGraceMs }: OwnServerOptions,
  prepared: Prepared | null,
  version: string,
  log: FastifyBaseLogger,
): Promise<OwnServer> => {
  const token = randomBytes(32).toString("base64url");
  const tokens = join(directory, "tokens");
  await writeFile(tokens, `${createHash("sha256").update(token).digest("hex")} ${userInfo().username}\n`, { mode: 0o600 });
  const own = {
    ...{ host: "127.0.0.1", port: 0, basePath: "", tlsCert: null, tlsKey: null },
    ...{ htpasswd: null, tokens, allowedUsers: [], csrfProtection: false },
    ...{ runtimeDir: join(directory, "run"), orphanTimeoutMs, stopGraceMs, drainMs: 0, maxSessions: 0, maxSessionsPerUser: 0 },
  };
  return { server: await openServer({ ...config, ...own }, prepared, version, log), token };
};
