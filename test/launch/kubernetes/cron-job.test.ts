import { describe, expect, test } from "vitest";
import type { ScheduleDraft } from "../../../src/core/schedule.ts";
import {
  type CronJob,
  cronJob,
  cronJobPatch,
  type Job,
  jobStatus,
  makingOf,
  readCronJob,
  readJob,
  requestOf,
} from "../../../src/launch/kubernetes/cron-job.ts";

const DRAFT: ScheduleDraft = {
  ...{ name: "nightly", owner: "ann", proxyUser: null },
  timing: {
    ...{ schedule: "0 3 * * *", timeZone: "Europe/Berlin", concurrencyPolicy: "Forbid", startingDeadlineSeconds: 60 },
    ...{ suspend: false, successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 1 },
  },
  request: { file: "hdfs:///a.py", args: [7, "--token", "geheim"], conf: { "spark.my.password": "geheim", "spark.a": "b" } },
};
const SHOWN = {
  file: "hdfs:///a.py",
  args: [7, "--token", "*********(redacted)"],
  conf: { "spark.my.password": "*********(redacted)", "spark.a": "b" },
};
const STORED = { uid: "u-1", resourceVersion: "1", creationTimestamp: "2026-01-01T00:00:00Z" };

type Template = { metadata: { labels: Record<string, string>; annotations: Record<string, string> }; spec: object };
const made = (secret: string | null = "s") => {
  // What the API server would store of it.
  const object = cronJob(DRAFT, { secret, making: "m-1" }, { instance: "lw", image: "i:1" }) as CronJob & {
    spec: { jobTemplate: Template };
  };
  return { ...object, metadata: { ...object.metadata, ...STORED } };
};
const jobOf = (status: Job["status"] = {}): Job => {
  const { metadata } = made().spec.jobTemplate;
  const ownerReferences = [{ kind: "CronJob", name: "lw-nightly", uid: "u-1" }];
  const due = { "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T03:00:00+01:00" };
  return {
    metadata: {
      ...metadata,
      ...STORED,
      uid: "j-1",
      name: "lw-nightly-1",
      ownerReferences,
      annotations: { ...metadata.annotations, ...due },
    },
    status,
  };
};
const statusOf = (job: Job, batch: number | null, end: Parameters<typeof jobStatus>[2]) =>
  (jobStatus(job, batch, end) as { status: NonNullable<Job["status"]> }).status;

describe("a schedule's CronJob", () => {
  test("holds all that it is made of but secrets, and can be read back", () => {
    expect(JSON.stringify(made())).not.toContain("geheim");
    expect(readCronJob(made())).toEqual({
      ...{ uid: "u-1", name: "nightly", owner: "ann", proxyUser: null, timing: DRAFT.timing, request: SHOWN },
      ...{ createdMs: Date.parse("2026-01-01T00:00:00Z"), lastMs: null },
    });
    expect(readCronJob({ ...made(), status: { lastScheduleTime: "2026-01-02T00:00:00Z" } }).lastMs).toBe(
      Date.parse("2026-01-02T00:00:00Z"),
    );
  });

  test("makes Jobs that Kubernetes makes no pods of", () => {
    expect([made().metadata.name, makingOf(made())]).toEqual(["lw-nightly", "m-1"]);
    expect(made().spec).toMatchObject({ timeZone: "Europe/Berlin", concurrencyPolicy: "Forbid", startingDeadlineSeconds: 60 });
    expect(made().spec.jobTemplate.spec).toMatchObject({ managedBy: "longwick.dev/batch", suspend: true, backoffLimit: 0 });
  });

  test("is changed in what is named alone", () => {
    expect(cronJobPatch({ timing: { suspend: true } }, null)).toEqual({ spec: { suspend: true } });
    expect(cronJobPatch({ timing: {}, batch: { request: { file: "b.py" }, proxyUser: null } }, null)).toEqual({
      spec: {
        jobTemplate: {
          metadata: {
            annotations: { "longwick/request": '{"file":"b.py"}', "longwick/proxy-user": null, "longwick/request-secret": null },
          },
        },
      },
    });
  });
});

describe("a run's Job", () => {
  test("says whose it is, when it was due and what it runs", () => {
    expect(readJob(jobOf())).toMatchObject({
      ...{ uid: "j-1", schedule: { uid: "u-1", name: "nightly" }, owner: "ann", batch: null, end: null },
      dueMs: Date.parse("2026-01-01T02:00:00Z"),
    });
    expect(requestOf(jobOf())).toEqual(SHOWN);
  });

  test("has its batch, then its end, in the order that Kubernetes asks for", () => {
    const accepted = jobOf(statusOf(jobOf(), 7, null));
    expect(readJob(accepted)).toMatchObject({ batch: 7, end: null });
    const ended = statusOf(accepted, 7, { state: "success", reason: "done", endedMs: 1 });
    expect(ended.conditions?.map(({ type }) => type)).toEqual(["longwick.dev/Batch", "SuccessCriteriaMet", "Complete"]);
    expect(ended).toMatchObject({ startTime: accepted.status?.startTime, completionTime: expect.stringMatching(/T\d\d:\d\d:\d\dZ$/) });
    expect(readJob(jobOf(ended))).toMatchObject({ batch: 7, end: { state: "success", reason: "done" } });
  });

  test("that was refused has failed without a batch", () => {
    const refused = statusOf(jobOf(), null, { state: "failed", reason: "no room", endedMs: 1 });
    expect(refused.conditions?.map(({ type, reason }) => [type, reason])).toEqual([
      ["FailureTarget", "BatchRefused"],
      ["Failed", "BatchRefused"],
    ]);
    expect(refused).not.toHaveProperty("completionTime");
    expect(readJob(jobOf(refused))).toMatchObject({ batch: null, end: { state: "failed", reason: "no room" } });
  });
});
