import { expect, test } from "vitest";
import { ClusterSite, soon } from "../../kit/cluster.ts";
import { ClusterServer, run, START_MS } from "../../kit/cluster-server.ts";

test("executors that end at once fail their job, say why where they are kept, and a restart begins Spark anew", {
  timeout: START_MS + 60_000,
}, async () => {
  await using site = new ClusterSite();
  await using server = await ClusterServer.open(site);
  const session = await server.create({
    conf: { "spark.executor.extraJavaOptions": "-agentlib:nosuch", "spark.kubernetes.executor.deleteOnTermination": "false" },
  });
  expect(await run(session, "sc.range(3).sum()")).toMatch(/"error".*Job 0 cancelled because SparkContext was shut down/);
  // What Spark's end brings is told after it, in as many lines as that takes.
  await expect
    .poll(() => session.logTail(200).join("\n"))
    .toMatch(/new failed executors[\s\S]*Max number of executor failures \(3\) reached/);
  const [executor, ...others] = await session.executorWorkloads(soon());
  expect([executor?.state, others.length > 0]).toEqual(["failed", true]);
  expect(await session.executorLog(executor?.name ?? "", 50, soon())).toMatch(/agent library.*nosuch/);
  expect(await run(session, "sc.range(3).sum()")).toMatch(/"error".*Cannot call methods on a stopped SparkContext/);
  await session.restart(soon());
  expect(await run(session, "spark.range(3).schema.names, sc._jsc.sc().isStopped()")).toContain("(['id'], False)");
  await server.sessions.delete(session, "enough");
  expect(await site.left()).toEqual([]);
});
