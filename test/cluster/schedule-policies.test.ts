import { describe, expect, test } from "vitest";
import { soon } from "../kit/cluster.ts";
import type { BatchInfo } from "../kit/livy.ts";
import { batchOf, type RunInfo, SchedulePlace, scheduleNamespace } from "../kit/schedule-place.ts";
import { until } from "../kit/until.ts";

const MINUTE_MS = 60_000;
/** Kubernetes looks for what is due every ten seconds, and at each change. */
const LOOKED_MS = 25_000;

interface Pod {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly phase?: string };
}

describe("a schedule's policies on Kubernetes", { timeout: 8 * MINUTE_MS }, () => {
  const { api, namespace } = scheduleNamespace();

  const open = (servers = 1) => SchedulePlace.open(namespace, servers);
  const passes = (what: string, ms: number) => until(what, ms - Date.now() + MINUTE_MS, () => (Date.now() > ms ? true : undefined), 500);

  test.concurrent("that is Replace ends what runs, then runs the next: never two at once, and both servers say so", async () => {
    await using place = await open(2);
    const { instance } = place.site.settings;
    await place.schedule({ concurrencyPolicy: "Replace", batch: batchOf(900) });
    const most = { pods: 0, batches: 0 };
    const drivers = async () =>
      (await api.list<Pod>(`api/v1/namespaces/${namespace}/pods`, { labelSelector: `app.kubernetes.io/instance=${instance}` }, soon()))
        .items;
    const running = (after: number) =>
      until(
        "the next run's batch runs",
        3 * MINUTE_MS,
        async () => {
          most.pods = Math.max(most.pods, (await drivers()).length);
          for (const server of [0, 1]) {
            const living = (await place.batches(place.as("ann", server))).filter(
              ({ state }) => state === "starting" || state === "running",
            );
            most.batches = Math.max(most.batches, living.length);
          }
          const run = (await place.runs()).find(({ dueMs, batch }) => dueMs > after && batch !== null);
          return run !== undefined && (await place.livy.batch(run.batch ?? -1)).state === "running" ? run : undefined;
        },
        200,
      );
    const seen: RunInfo[] = [];
    for (let after = 0; seen.length < 3; after = seen.at(-1)?.dueMs ?? 0) seen.push(await running(after));
    expect(most).toEqual({ pods: 1, batches: 1 });

    for (const server of [0, 1]) {
      const livy = place.as("ann", server);
      await until("this server knows of the last run", MINUTE_MS, async () =>
        (await place.runs(livy)).some(({ uid, batch }) => uid === seen[2]?.uid && batch !== null) ? true : undefined,
      );
      expect((await place.runs(livy)).map(({ uid, state }) => [uid, state])).toEqual([[seen[2]?.uid, "running"]]);
      const batches = await place.batches(livy);
      expect(batches.map(({ state, longwick: { uid } }) => [uid, state])).toEqual([
        [seen[0]?.uid, "killed"],
        [seen[1]?.uid, "killed"],
        [seen[2]?.uid, "running"],
      ]);
      const [first, second, third] = batches.map(({ longwick }) => longwick) as [
        BatchInfo["longwick"],
        BatchInfo["longwick"],
        BatchInfo["longwick"],
      ];
      expect([first.reason, second.reason]).toEqual(["Its run was replaced or deleted.", "Its run was replaced or deleted."]);
      expect([first, second, third].map(({ attempts }) => attempts.length)).toEqual([1, 1, 1]);
      expect(first.endedMs).toBeLessThanOrEqual(second.createdMs);
      expect(second.endedMs).toBeLessThanOrEqual(third.createdMs);
    }
    expect(await place.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}")).toContain("SuccessfulDelete");
    await place.livy.expect(200, "DELETE", "/schedules/job");
    await until("nothing of it runs", MINUTE_MS, async () => ((await drivers()).length === 0 ? true : undefined), 500);
  });

  test.concurrent("that is suspended begins nothing; resumed, it begins what its deadline still allows", async () => {
    await using place = await open();
    await place.schedule({ suspend: true, batch: batchOf(1) });
    const firstDueMs = Math.ceil(Date.now() / MINUTE_MS) * MINUTE_MS;
    await passes("the first time, and the deadline after it", firstDueMs + LOOKED_MS);
    expect(await place.runs()).toEqual([]);
    expect(await place.livy.expect(200, "GET", "/schedules/job")).toMatchObject({ suspend: true, nextMs: null, lastMs: null });

    await place.livy.expect(200, "PATCH", "/schedules/job", { startingDeadlineSeconds: 15, suspend: false });
    const late = await until("the next run begins", 2 * MINUTE_MS, async () => (await place.runs())[0], 500);
    expect(late.dueMs).toBe(firstDueMs + MINUTE_MS);

    await place.livy.expect(200, "PATCH", "/schedules/job", { suspend: true });
    const runs = (await place.runs()).length;
    await passes("another time", Math.ceil(Date.now() / MINUTE_MS) * MINUTE_MS + LOOKED_MS);
    expect(await place.runs()).toHaveLength(runs);
    const resumedMs = Date.now();
    await place.livy.expect(200, "PATCH", "/schedules/job", { startingDeadlineSeconds: null, suspend: false });
    const missed = await until("the missed run begins", MINUTE_MS, async () => (await place.runs())[runs], 500);
    expect(missed.dueMs).toBeLessThan(resumedMs);
    await place.livy.expect(200, "DELETE", "/schedules/job");
  });

  test.concurrent("whose run was due while no server was there leaves it out when its deadline is over", async () => {
    await using place = await open();
    const [server] = place.servers;
    await place.schedule({ schedule: "0 0 1 1 *", startingDeadlineSeconds: 15, batch: batchOf(1) });
    await server?.kill();
    const uid = await place.fire("late");
    await passes("the deadline", Date.now() + 20_000);
    await server?.start();
    const run = await until("the run has ended", MINUTE_MS, async () => (await place.runs()).find(({ state }) => state === "failed"));
    expect(run).toMatchObject({
      ...{ uid, batch: null },
      reason: "It could not begin within 15 s of when it was due, its startingDeadlineSeconds.",
    });
    expect(await place.kubectl("get", "job", "late", "-o", "jsonpath={.status.conditions[*].type}")).toBe("FailureTarget Failed");
    expect(await place.batches()).toEqual([]);
    await place.livy.expect(200, "DELETE", "/schedules/job");
  });

  test.concurrent("lists as many ended runs as its limits say; their batches stay", async () => {
    await using place = await open(2);
    const limits = { successfulJobsHistoryLimit: 1, failedJobsHistoryLimit: 0 };
    await place.schedule({ schedule: "0 0 1 1 *", ...limits, batch: batchOf(1) });
    const ended = (state: string, many: number) =>
      until(`${many} batches are ${state}`, 2 * MINUTE_MS, async () =>
        (await place.batches()).filter((batch) => batch.state === state).length === many ? true : undefined,
      );
    await place.fire("first");
    await ended("success", 1);
    const second = await place.fire("second");
    await ended("success", 2);
    await place.livy.expect(200, "PATCH", "/schedules/job", { batch: batchOf("no time") });
    await place.fire("third");
    await ended("dead", 1);
    for (const server of [0, 1]) {
      await until("one run is left", 2 * MINUTE_MS, async () => {
        const runs = await place.runs(place.as("ann", server));
        return runs.length === 1 && runs[0]?.uid === second && runs[0].state === "success" ? true : undefined;
      });
    }
    expect((await place.batches()).map(({ state }) => state)).toEqual(["success", "success", "dead"]);
    await place.livy.expect(200, "DELETE", "/schedules/job");
  });
});
