import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Session } from "../../../src/core/session.ts";
import { ClusterSite, inNamespace, NAMESPACE, prepareNamespace, soon } from "../../kit/cluster.ts";
import { ClusterServer, NOBODY, run, START_MS, says } from "../../kit/cluster-server.ts";

describe("a session on Kubernetes", { timeout: 300_000 }, () => {
  let site: ClusterSite;
  let server: ClusterServer;
  let session: Session;

  beforeAll(async () => {
    site = new ClusterSite();
    server = await ClusterServer.open(site);
    session = await server.create({ name: "kept" });
    await run(session, "x = 41");
  }, START_MS);
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await site.dispose();
  });

  test("runs jobs on executor pods that are found by its tag", async () => {
    expect(await run(session, "spark.range(1000).selectExpr('sum(id) s').first().s")).toContain("499500");
    const code = "import socket; print(*sorted(set(sc.range(8, numSlices=8).map(lambda _: socket.gethostname()).collect())))";
    expect(await run(session, code)).toMatch(/-exec-1/);
    const pods = (await site.pods(session.claim)).toSorted((a, b) => a.metadata.name.localeCompare(b.metadata.name));
    const [driver, executor, ...others] = pods;
    expect(others).toEqual([]);
    const tag = driver?.metadata.labels?.["spark-app-tag"];
    expect(tag).toBe(driver?.metadata.name);
    expect(executor?.metadata.labels).toMatchObject({ "spark-app-tag": tag, "spark-role": "executor" });
  });

  test("outlives its server: the next one finds its statements, variables and executors", async () => {
    const { appId } = session;
    const statements = (await session.statements(AbortSignal.timeout(10_000))).length;
    await server[Symbol.asyncDispose]();
    server = await ClusterServer.open(site);
    session = server.sessions.find("kept", NOBODY, "modify");
    expect(await run(session, "x + 1")).toContain("42");
    expect(session.appId).toBe(appId);
    expect(await session.statements(AbortSignal.timeout(10_000))).toHaveLength(statements + 1);
  });

  test("says why a job waits for an executor, as long as it does", async () => {
    const other = await server.create({ conf: { "spark.kubernetes.executor.request.cores": "999" } });
    const answer = run(other, "sc.range(3).sum()").catch(() => "");
    await expect
      .poll(() => other.logTail(1).join(), { timeout: START_MS })
      .toMatch(/Executor .*-exec-1 waits: FailedScheduling: .*Insufficient cpu/);
    await server.sessions.delete(other, "enough");
    await answer;
  });

  test("says that its namespace's quota lets it have no executor, and works when it does", async () => {
    const namespace = `${NAMESPACE}-${crypto.randomUUID().slice(0, 8)}`;
    await prepareNamespace(site.api, namespace);
    try {
      const quota = inNamespace("resourcequotas", "", namespace);
      await site.api.create(quota, { metadata: { name: "few" }, spec: { hard: { pods: "1" } } }, soon());
      await using narrow = new ClusterSite({ namespace });
      await using others = await ClusterServer.open(narrow);
      const waiting = await others.create();
      const answer = run(waiting, "sc.range(3).sum()");
      await says(waiting, /^Spark is refused an executor and asks again: pods ".*-exec-\d+" is forbidden: exceeded quota: few, /, START_MS);
      await site.api.delete(`${quota}/few`, soon());
      expect(await answer).toContain('"3"');
      await expect.poll(() => waiting.logTail(1).join(), { timeout: 60_000 }).not.toMatch(/is refused an executor/);
      await others.sessions.delete(waiting, "enough");
    } finally {
      await site.api.delete(`api/v1/namespaces/${namespace}`, soon());
    }
  });

  test("leaves nothing when it is deleted", async () => {
    await server.sessions.delete(session, "it was deleted");
    expect(await site.pods(session.claim)).toEqual([]);
    expect(await site.left()).toEqual([]);
  });
});
