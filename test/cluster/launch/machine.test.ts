import { execFile } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Session } from "../../../src/core/session.ts";
import { processesOf } from "../../../src/launch/processes.ts";
import { ClusterSite } from "../../kit/cluster.ts";
import { ClusterServer, ended, NOBODY, run, START_MS } from "../../kit/cluster-server.ts";
import { draftOf } from "../../launch/contract.ts";

/** Faults that need the machine: a command that takes `stop PART` and `start PART`; without one they are not for this cluster. */
const BREAK = process.env["LONGWICK_TEST_BREAK"];
const breaking = (what: "stop" | "start", part: string): Promise<unknown> => promisify(execFile)(BREAK ?? "false", [what, part]);

describe.runIf(BREAK !== undefined)("a session lives through", { timeout: 300_000 }, () => {
  let site: ClusterSite;
  let idle: ClusterSite;
  let server: ClusterServer;
  let idlers: ClusterServer;
  let session: Session;

  beforeAll(async () => {
    site = new ClusterSite();
    idle = ClusterSite.withoutSpark();
    server = await ClusterServer.open(site);
    idlers = await ClusterServer.open(idle);
    session = await server.create();
    expect(await run(session, "x = sc.range(100).sum()")).toContain("ok");
  }, START_MS);
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await idlers[Symbol.asyncDispose]();
    await site.dispose();
    await idle.dispose();
  });

  test("a restart of the API server under a statement; what ends meanwhile is known after", async () => {
    const other = await idlers.create({ ttlMs: 15_000 });
    expect(await other.caughtUp(60_000, AbortSignal.timeout(60_000))).toBe(true);
    const answer = run(session, "import time; time.sleep(8); 'through'");
    await breaking("stop", "kube-apiserver");
    try {
      expect(await answer).toContain("through");
      expect(await run(session, "sc.range(10).sum()")).toContain("45");
      await expect(server.sessions.create(draftOf(), NOBODY, AbortSignal.timeout(3_000))).rejects.toMatchObject({
        code: "DRIVER_UNREACHABLE",
        message: expect.stringMatching(/API server gave no answer in time: connect ECONNREFUSED/),
      });
    } finally {
      await breaking("start", "kube-apiserver");
    }
    expect(await ended(other)).toMatch(/time to live/);
    await idlers.sessions.delete(other, "enough");
    expect(await idle.left()).toEqual([]);
    expect(await run(session, "x")).toContain("4950");
  });

  test("90 seconds without the kubelet: it works on, says that its node is lost, and has one driver afterwards", async () => {
    const goes = await idlers.create();
    expect(await goes.caughtUp(60_000, AbortSignal.timeout(60_000))).toBe(true);
    const before = await site.pods(session.claim);
    const stopped = Date.now();
    await breaking("stop", "kubelet");
    try {
      const gone = idlers.sessions.delete(goes, "it is deleted all the same");
      while (Date.now() - stopped < 90_000) {
        expect(await run(session, "sc.range(100).sum() + x")).toContain("9900");
        await pause(2_000);
      }
      expect(session.logTail(1).join()).toMatch(
        /Node \S+ of the driver's pod has been unreachable for Kubernetes since .*\(NodeNotReady\)/,
      );
      expect(session.state).toBe("idle");
      await gone;
      expect(await idle.left()).toEqual([]);
    } finally {
      await breaking("start", "kubelet");
    }
    await expect.poll(() => session.logTail(1).join(), { timeout: 60_000 }).not.toMatch(/unreachable/);
    expect(await run(session, "sc.range(100).sum() + x")).toContain("9900");
    const names = (pods: typeof before) => pods.map(({ metadata }) => metadata.uid).sort();
    expect(names(await site.pods(session.claim))).toEqual(names(before));
    // What the kubelet did not hear of it ends when it comes back.
    await expect.poll(() => processesOf(goes.uid), { timeout: 90_000, interval: 500 }).toEqual([]);
    await server.sessions.delete(session, "enough");
    expect(await site.left()).toEqual([]);
  });
});
