import { Access } from "../../src/core/access.ts";
import type { Batch } from "../../src/core/batch.ts";
import type { Life } from "../../src/core/life.ts";
import type { Session } from "../../src/core/session.ts";
import { Sessions } from "../../src/core/sessions.ts";
import type { SessionSpec } from "../../src/core/spec.ts";
import type { UploadSource } from "../../src/core/uploads.ts";
import type { KubernetesSettings } from "../../src/launch/kubernetes/settings.ts";
import { openLink } from "../../src/link/link.ts";
import { draftOf } from "../launch/contract.ts";
import { type ClusterSite, soon } from "./cluster.ts";
import { until } from "./until.ts";

export const NOBODY = { name: null, remote: null };
const RULES = { superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] };
/** A cold Spark on a machine that does much else. */
export const START_MS = 180_000;

/** A server's sessions on a cluster, without its faces. */
export class ClusterServer implements AsyncDisposable {
  readonly sessions: Sessions;
  readonly site: ClusterSite;

  private constructor(site: ClusterSite, sessions: Sessions) {
    this.site = site;
    this.sessions = sessions;
  }

  static async open(
    site: ClusterSite,
    asked: Partial<KubernetesSettings> = {},
    { retentionMs = 600_000, uploads = null }: { readonly retentionMs?: number; readonly uploads?: UploadSource | null } = {},
  ): Promise<ClusterServer> {
    const launcher = await site.open(asked);
    const parts = { launcher, openLink, clock: { now: Date.now }, startWaitMs: START_MS, stopGraceMs: 3_000, uploads };
    const sessions = new Sessions(parts, new Access(RULES), { maxSessions: 0, maxSessionsPerUser: 0, retentionMs });
    await sessions.adopt(soon());
    return new ClusterServer(site, sessions);
  }

  create(asked: Partial<SessionSpec> = {}): Promise<Session> {
    return this.sessions.create(draftOf(asked), NOBODY, soon());
  }

  batch(asked: Partial<SessionSpec> & Pick<SessionSpec, "application">, key: string | null = null): Promise<Batch> {
    return this.sessions.createBatch(draftOf(asked), key, NOBODY, soon());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sessions.close();
  }
}

/** Waits until a session takes code. @throws Error with its log when it does not, or ends first */
export const ready = async (session: Session, deadlineMs = START_MS - 20_000): Promise<Session> => {
  await until(`session ${session.id} is idle`, deadlineMs, () => {
    if (session.end !== null) throw new Error(session.end.reason);
    return session.state === "idle" ? true : undefined;
  }).catch((cause: unknown) => {
    throw new Error(`session ${session.id} is ${session.state}:\n${session.logTail(50).join("\n")}`, { cause });
  });
  return session;
};

const begin = (session: Session, code: string): Promise<number> => {
  const body = { key: crypto.randomUUID(), code, kind: "pyspark" as const, origin: null, silent: false, stopOnError: false, stdin: false };
  return session.submit(body, soon(START_MS));
};

/** Runs code to its end; answers how it ended and all its outputs as one text. */
export const run = async (session: Session, code: string): Promise<string> => {
  const id = await begin(session, code);
  await session.settled(id, START_MS, soon(START_MS));
  const statement = await session.statement(id, soon());
  return JSON.stringify([statement.outcome, ...statement.outputs]);
};

/** Waits for a session's end; answers its reason. */
export const ended = (session: Life): Promise<string> => until(`session ${session.id} has ended`, START_MS, () => session.end?.reason, 50);

/** Waits until the last line of a session's log is like this. */
export const says = async (session: Session, words: RegExp, deadlineMs = 60_000): Promise<void> => {
  const last = () => session.logTail(1).join();
  await until(`the log ends with ${words}`, deadlineMs, () => (words.test(last()) ? true : undefined), 50).catch((cause: unknown) => {
    throw new Error(`the log of session ${session.id}, which is ${session.state}, ends with: ${last()}`, { cause });
  });
};
