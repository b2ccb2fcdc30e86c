import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { Runs } from "../../src/core/runs.ts";
import { NO_SPEC } from "../../src/core/spec.ts";
import { Service } from "../faces/service.ts";

test("a batch that is heard of only after its run was gone is ended, unless the run is there again", async () => {
  await using service = await Service.start();
  const { launcher, sessions } = service;
  const runs = new Runs({
    ...{ launcher, sessions, clock: { now: Date.now }, schedule: () => undefined },
    read: () => Promise.reject(new Error("not to be called")),
    checkOwner: () => Promise.resolve(),
  });
  const [uid, other] = [randomUUID(), randomUUID()];
  const application = {
    ...{ file: "hdfs:///a.py", className: null, args: [], retry: { maxAttempts: 1, backoffMs: 0, on: [] } },
    run: { schedule: "nightly", scheduleUid: randomUUID(), dueMs: 0 },
  };
  runs.gone(uid);
  runs.gone(other);
  // As an API server does that was put back to an earlier state.
  const run = { uid: other, schedule: { uid: application.run.scheduleUid, name: "nightly" }, owner: null, dueMs: 0, createdMs: 0 };
  runs.told({ ...run, batch: 1, end: { state: "failed", reason: "", endedMs: 1 } });
  for (const of of [uid, other]) {
    launcher.told.known(launcher.elsewhere({ uid: of, owner: null, notes: [], spec: { ...NO_SPEC, application } }));
  }
  runs.tidy();
  await service.until(() => sessions.batchOf(uid)?.end?.state === "killed");
  expect(sessions.batchOf(other)?.end).toBeNull();
  await runs.close();
});
