import { describe, expect, test } from "vitest";
import { redactRequest, type ScheduleDraft } from "../../src/core/schedule.ts";
import { type Right, SCHEDULE_RIGHTS, SERVER_RIGHTS } from "../../src/launch/kubernetes/rights.ts";
import { Account } from "../kit/account.ts";
import { ApiProxy } from "../kit/api-proxy.ts";
import { soon } from "../kit/cluster.ts";
import { batchOf, SchedulePlace, scheduleNamespace } from "../kit/schedule-place.ts";
import { until } from "../kit/until.ts";

const MINUTE_MS = 60_000;
const NEVER = "0 0 1 1 *";
const SECRET = { "spark.my.password": "geheim" };

describe("schedules of a server's account", { timeout: 6 * MINUTE_MS }, () => {
  const { api, namespace } = scheduleNamespace();

  test("come with its rights, say which it has lost, and go on when it has them again, without a restart", async () => {
    await using account = await Account.make(api, namespace, SERVER_RIGHTS);
    await using proxy = await ApiProxy.start(account.config);
    await using place = await SchedulePlace.open(namespace, 1, ["--kubeconfig", proxy.kubeconfig]);
    const { livy } = place;
    const make = (name: string, conf = {}) => livy.ask("POST", "/schedules", { name, schedule: NEVER, batch: { ...batchOf(1), conf } });
    const lacks = (what: string) => ({ status: 501, body: { msg: expect.stringMatching(what) } });
    expect(await make("job")).toMatchObject(lacks("may not use CronJobs and Jobs .* create/get/list/watch/patch/delete cronjobs in"));
    expect(await livy.ask("GET", "/schedules")).toMatchObject(lacks("may not use CronJobs and Jobs"));

    await account.allow([...SERVER_RIGHTS, ...SCHEDULE_RIGHTS]);
    await until("schedules can be made", MINUTE_MS, async () => ((await make("job")).status === 201 ? true : undefined), 1_000);

    const [cronjobs, jobs, status] = SCHEDULE_RIGHTS as readonly [Right, Right, Right];
    await account.allow([...SERVER_RIGHTS, cronjobs, jobs]);
    await until("the right is lost", MINUTE_MS, async () => ((await make("other")).status === 501 ? true : undefined), 1_000);
    expect(await make("other")).toMatchObject(lacks("it may not patch jobs/status in"));
    await place.fire("mute");
    await until("the run says what keeps it", MINUTE_MS, async () =>
      (await place.runs()).some(({ state, reason }) => state === "waiting" && /cannot patch resource "jobs\/status"/.test(reason ?? ""))
        ? true
        : undefined,
    );
    expect(await place.batches()).toEqual([]);
    await account.allow([...SERVER_RIGHTS, ...SCHEDULE_RIGHTS]);
    await until("the run has ended", 2 * MINUTE_MS, async () => ((await place.runs())[0]?.state === "success" ? true : undefined), 500);
    expect(await place.batches()).toHaveLength(1);

    // A schedule whose Secret is refused is none.
    await account.allow([...SERVER_RIGHTS.filter(({ resource }) => resource !== "secrets"), cronjobs, jobs, status]);
    await until("the right is lost", MINUTE_MS, async () => ((await make("sealed", SECRET)).status === 501 ? true : undefined), 1_000);
    expect(await make("sealed", SECRET)).toMatchObject(lacks("cannot create resource .*secrets"));
    expect(await place.kubectl("get", "cronjobs", "-o", "name")).not.toContain("sealed");
    await account.allow([...SERVER_RIGHTS, ...SCHEDULE_RIGHTS]);
    await until("it can be made", MINUTE_MS, async () => ((await make("sealed", SECRET)).status === 201 ? true : undefined), 1_000);

    await account.allow(SERVER_RIGHTS);
    proxy.cut();
    await until("what was known is not shown", MINUTE_MS, async () =>
      (await livy.ask("GET", "/schedules/job")).status === 501 ? true : undefined,
    );
    expect(await livy.ask("GET", "/schedules/job/runs")).toMatchObject(
      lacks("may not use CronJobs and Jobs .*cannot (list|watch) resource"),
    );
    await account.allow([...SERVER_RIGHTS, ...SCHEDULE_RIGHTS]);
    await until(
      "it is shown again",
      MINUTE_MS,
      async () => ((await livy.ask("GET", "/schedules/job")).status === 200 ? true : undefined),
      500,
    );
    for (const name of ["job", "sealed"]) await livy.expect(200, "DELETE", `/schedules/${name}`);
  });

  test("are made though the answer is lost, once; a run that waited while its schedule was changed runs what that says by then", async () => {
    await using proxy = await ApiProxy.start();
    await using place = await SchedulePlace.open(namespace);
    const [server] = place.servers;
    const launcher = await place.site.open({ kubeconfig: proxy.kubeconfig });
    const losses: string[] = [];
    proxy.loses = ({ method, url = "" }) => method === "POST" && /\/(cronjobs|secrets)$/.test(url) && losses.push(url) <= 2;
    const draft: ScheduleDraft = {
      ...{ name: "job", owner: "ann", proxyUser: null, request: { ...batchOf(900), conf: SECRET } },
      timing: {
        ...{ schedule: NEVER, timeZone: "Etc/UTC", concurrencyPolicy: "Allow", startingDeadlineSeconds: null },
        ...{ suspend: false, successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 1 },
      },
    };
    const made = await launcher.schedules.create(draft, soon());
    expect(losses).toHaveLength(4);
    await expect(launcher.schedules.create(draft, soon())).rejects.toMatchObject({ code: "NAME_TAKEN" });

    await server?.kill();
    await place.fire("waits");
    const request = { ...batchOf(1), conf: { ...SECRET, "spark.a": "b" } };
    const changed = await launcher.schedules.change(made, { timing: {}, batch: { request, proxyUser: null } }, soon());
    expect(changed?.request).toEqual(redactRequest(request));
    expect((await place.kubectl("get", "secrets", "-l", "longwick/part=schedule-request", "-o", "name")).trim().split("\n")).toHaveLength(
      1,
    );
    expect(await launcher.schedules.change({ ...made, uid: crypto.randomUUID() }, { timing: { suspend: true } }, soon())).toBeNull();
    await server?.start();
    const run = await until(
      "the run has ended",
      3 * MINUTE_MS,
      async () => (await place.runs()).find(({ state }) => state === "success"),
      500,
    );
    expect((await place.livy.batch(run.batch ?? -1)).state).toBe("success");
    await place.livy.expect(200, "DELETE", "/schedules/job");
  });
});
