import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { batchOf, SchedulePlace, scheduleNamespace } from "../kit/schedule-place.ts";
import { until } from "../kit/until.ts";

const MINUTE_MS = 60_000;

describe("a schedule on Kubernetes", { timeout: 8 * MINUTE_MS }, () => {
  const { namespace } = scheduleNamespace();

  test.concurrent("that is Forbid runs one batch at a time, and leaves out the times meanwhile; suspended it begins none; removed it ends what runs", async () => {
    await using place = await SchedulePlace.open(namespace);
    const { livy } = place;
    await place.schedule({ concurrencyPolicy: "Forbid", startingDeadlineSeconds: 10, batch: batchOf(75) });
    const living: number[] = [];
    const second = await until(
      "a second run has begun",
      5 * MINUTE_MS,
      async () => {
        living.push((await place.batches()).filter(({ state }) => state === "starting" || state === "running").length);
        const [, after] = await place.runs();
        return after?.state === "running" ? after : undefined;
      },
      1_000,
    );
    const [first] = await place.runs();
    expect(first).toMatchObject({ state: "success" });
    expect(Math.max(...living)).toBe(1);
    expect(second.dueMs - (first?.dueMs ?? 0)).toBeGreaterThanOrEqual(2 * MINUTE_MS);
    const events = await place.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}");
    expect(events).toContain("JobAlreadyActive");
    expect(await place.kubectl("get", "pods", "-l", "batch.kubernetes.io/job-name", "-o", "name")).toBe("");
    expect(await place.kubectl("get", "jobs", "-l", "longwick/schedule=job")).toMatch(/Complete/);

    expect(await livy.expect(200, "PATCH", "/schedules/job", { suspend: true })).toMatchObject({ suspend: true, active: 1 });
    await livy.batchIn(second.batch ?? -1, ["running"], MINUTE_MS);
    expect(await livy.expect(200, "DELETE", "/schedules/job")).toEqual({ msg: "deleted" });
    const killed = await until("the batch is ended", MINUTE_MS, async () => {
      const batch = await livy.batch(second.batch ?? -1);
      return batch.state === "killed" ? batch : undefined;
    });
    expect(killed.longwick.reason).toBe("Its run was replaced or deleted.");
    await until("its Jobs are gone", MINUTE_MS, async () =>
      (await place.kubectl("get", "jobs,cronjobs", "-l", `app.kubernetes.io/instance=${place.site.settings.instance}`, "-o", "name")) === ""
        ? true
        : undefined,
    );
  });

  test.concurrent("makes one batch of a run, whichever of two servers is killed, and whenever", async () => {
    await using place = await SchedulePlace.open(namespace, 2);
    await place.schedule({ schedule: "0 0 1 1 *", successfulJobsHistoryLimit: 10, batch: batchOf(1) });
    const uids: string[] = [];
    for (const delayMs of [0, 150, 400, 900]) {
      const uid = await place.fire(`run-${delayMs}`);
      uids.push(uid);
      await pause(delayMs);
      for (const server of place.servers) await server.kill();
      for (const server of place.servers) await server.start();
      await until(`the run has ended that began ${delayMs} ms before`, 2 * MINUTE_MS, async () =>
        (await place.runs(place.as("ann"))).some((run) => run.uid === uid && run.state === "success") ? true : undefined,
      );
    }
    const made = await place.batches(place.as("ann"));
    expect(made.map(({ longwick }) => longwick.uid).sort()).toEqual(uids.toSorted());
    expect(made.map(({ longwick }) => longwick.attempts.length)).toEqual([1, 1, 1, 1]);
    await place.as("ann").expect(200, "DELETE", "/schedules/job");
  });

  test.concurrent("waits for a server, and ends the batch of a Job that was deleted while none was there", async () => {
    await using place = await SchedulePlace.open(namespace);
    const [server] = place.servers;
    if (server === undefined) throw new Error("there is no server");
    await place.schedule({ schedule: "0 0 1 1 *", batch: { ...batchOf(500), conf: { "spark.my.password": "geheim" } } });
    expect(await place.kubectl("get", "cronjobs", "-o", "yaml")).not.toContain("geheim");
    await server.kill();
    const uid = await place.fire("waits");
    await server.start();
    const run = await until("its batch runs", MINUTE_MS, async () => (await place.runs()).find(({ state }) => state === "running"));
    expect(run.uid).toBe(uid);
    await place.livy.batchIn(run.batch ?? -1, ["running"], MINUTE_MS);
    await server.kill();
    await place.kubectl("delete", "job", "waits");
    await server.start();
    await until("its batch is ended", MINUTE_MS, async () =>
      (await place.livy.batch(run.batch ?? -1)).state === "killed" ? true : undefined,
    );
    await place.livy.expect(200, "DELETE", "/schedules/job");
  });

  test.concurrent("runs as its owner: who has lost the right has a run that failed, with the reason", async () => {
    await using place = await SchedulePlace.open(namespace);
    await place.schedule({ schedule: "0 0 1 1 *", batch: batchOf(1) });
    place.users("root");
    await place.fire("lost");
    const root = place.as("root");
    const run = await until("the run has failed", MINUTE_MS, async () => (await place.runs(root)).find(({ state }) => state === "failed"));
    expect(run).toMatchObject({ batch: null, reason: "User 'ann' is not known here any more." });
    expect(await place.kubectl("get", "job", "lost", "-o", "jsonpath={.status.conditions[*].type}")).toBe("FailureTarget Failed");
    expect(await place.batches(root)).toEqual([]);
    await root.expect(200, "DELETE", "/schedules/job");
    place.users("ann", "root");
  });
});
