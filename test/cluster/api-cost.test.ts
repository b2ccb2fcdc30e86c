import diagnostics from "node:diagnostics_channel";
import type { ClientRequest } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Access } from "../../src/core/access.ts";
import { Sessions } from "../../src/core/sessions.ts";
import { openLink } from "../../src/link/link.ts";
import { ClusterSite, soon } from "../kit/cluster.ts";
import { draftOf } from "../launch/contract.ts";

const NOBODY = { name: null, remote: null };
const RULES = { superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] };
const LIMITS = { maxSessions: 0, maxSessionsPerUser: 0, retentionMs: 600_000 };
const IDLE_MS = 20_000;

/** What this process asks the API server for, watches apart, in words like `PATCH configmaps`. */
class Requests {
  readonly #made: string[] = [];

  readonly #note = (message: unknown): void => {
    // Node's own channel: https://nodejs.org/api/diagnostics_channel.html#http
    const { request } = message as { request: ClientRequest };
    const { pathname, searchParams } = new URL(request.path, "http://x");
    const kind = /\/namespaces\/[^/]+\/([^/]+)/.exec(pathname)?.[1] ?? pathname;
    if (searchParams.get("watch") !== "true") this.#made.push(`${request.method} ${kind}`);
  };

  constructor() {
    diagnostics.subscribe("http.client.request.start", this.#note);
  }

  /** What was asked for since the last time, sorted. */
  take(): readonly string[] {
    return this.#made.splice(0).sort();
  }

  stop(): void {
    diagnostics.unsubscribe("http.client.request.start", this.#note);
  }
}

describe("what the API server is asked for, with two servers", { timeout: 240_000 }, () => {
  let site: ClusterSite;
  let requests: Requests;
  const servers: Sessions[] = [];

  beforeEach(async () => {
    site = ClusterSite.withoutSpark();
    for (let index = 0; index < 2; index++) {
      const parts = {
        launcher: await site.open(),
        openLink,
        clock: { now: Date.now },
        startWaitMs: 60_000,
        stopGraceMs: 3_000,
        uploads: null,
      };
      const sessions = new Sessions(parts, new Access(RULES), LIMITS);
      await sessions.adopt(soon());
      servers.push(sessions);
    }
    requests = new Requests();
  });
  afterEach(async () => {
    requests.stop();
    await Promise.all(servers.splice(0).map((sessions) => sessions.close()));
    await site.dispose();
  });

  test("nine requests for a session's start, none while it lives, a dozen for its end whichever server is asked to end it", async () => {
    const [first, second] = servers as [Sessions, Sessions];
    const create = async (): Promise<readonly string[]> => {
      const session = await first.create(draftOf(), NOBODY, soon());
      await expect
        .poll(() => servers.every((server) => server.find(String(session.id), NOBODY, "view").logTotal > 0), { timeout: 60_000 })
        .toBe(true);
      // Longer than a server leaves to another what that has begun.
      await pause(4_000);
      return requests.take();
    };
    // The mark of ids is read once.
    await create();
    expect(await create()).toEqual([
      ...["GET configmaps", "PATCH configmaps", "PATCH configmaps", "PATCH configmaps", "PATCH secrets"],
      ...["POST configmaps", "POST configmaps", "POST pods", "POST secrets"],
    ]);

    const used = second.list(NOBODY);
    const until = Date.now() + IDLE_MS;
    while (Date.now() < until) {
      for (const server of servers) await server.seek("0");
      for (const session of used) session.touch("somebody");
      await pause(500);
    }
    expect(requests.take()).toEqual([]);

    const [session] = used;
    if (session === undefined) throw new Error("the second server knows no session");
    const beganMs = performance.now();
    await second.delete(session, "it was deleted");
    await expect.poll(() => first.list(NOBODY).length, { timeout: 20_000 }).toBe(1);
    const tookMs = performance.now() - beganMs;
    await pause(4_000);
    const end = requests.take();
    // The list of its pods is read until they are gone.
    expect(end.filter((request) => request !== "GET pods")).toEqual([
      ...["DELETE configmaps", "DELETE configmaps", "DELETE pods", "DELETE secrets"],
      ...["GET configmaps", "GET configmaps", "PATCH configmaps", "PATCH configmaps"],
    ]);
    // At growing pauses, of which all but the first few are a second; both servers look.
    expect(end.filter((request) => request === "GET pods").length).toBeLessThanOrEqual(12 + (2 * tookMs) / 1_000);
  });
});
