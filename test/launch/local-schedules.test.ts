import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Run, Schedule, ScheduleDraft, Timing } from "../../src/core/schedule.ts";
import { LocalSchedules } from "../../src/launch/local-schedules.ts";

const MINUTE_MS = 60_000;
const SOON = AbortSignal.timeout(60_000);
const TIMING: Timing = {
  ...{ schedule: "* * * * *", timeZone: "Etc/UTC", concurrencyPolicy: "Allow", startingDeadlineSeconds: null },
  ...{ suspend: false, successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 1 },
};
const draftOf = (timing: Partial<Timing> = {}): ScheduleDraft => ({
  ...{ name: "nightly", owner: "ann", proxyUser: null, timing: { ...TIMING, ...timing } },
  request: { file: "hdfs:///a.py", conf: { "spark.my.password": "geheim" } },
});

describe("local schedules", () => {
  let directory: string;
  let nowMs: number;
  const begun: Run[] = [];
  const gone: string[] = [];
  const opened: LocalSchedules[] = [];

  const open = async (): Promise<LocalSchedules> => {
    const keeper = new LocalSchedules(directory, { now: () => nowMs });
    opened.push(keeper);
    const listener = {
      scheduled: () => undefined,
      unscheduled: () => undefined,
      run: (run: Run) => void (run.end === null && run.batch === null && begun.push(run)),
      gone: ({ uid }: { uid: string }) => void gone.push(uid),
    };
    await keeper.follow(listener, SOON);
    return keeper;
  };
  const later = async (keeper: LocalSchedules, ms = MINUTE_MS): Promise<void> => {
    nowMs += ms;
    await keeper.tick();
  };
  const due = (): readonly string[] => begun.map(({ dueMs }) => new Date(dueMs).toISOString().slice(11, 16));
  const end = (keeper: LocalSchedules, index: number, state: "success" | "failed" = "success") =>
    keeper.conclude(begun[index] as Run, { state, reason: "", endedMs: nowMs });

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "longwick-schedules-"));
    nowMs = Date.parse("2026-01-01T00:00:30Z");
    begun.length = 0;
    gone.length = 0;
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((keeper) => keeper.close()));
    rmSync(directory, { recursive: true, force: true });
  });

  test("begin a run at each of their times, once", async () => {
    const keeper = await open();
    await keeper.create(draftOf());
    expect(due()).toEqual([]);
    await later(keeper);
    await later(keeper, 10_000);
    await later(keeper);
    expect(due()).toEqual(["00:01", "00:02"]);
    expect(begun[0]).toMatchObject({ owner: "ann", schedule: { name: "nightly" }, batch: null, end: null });
    expect(await keeper.request(begun[0] as Run)).toMatchObject({ conf: { "spark.my.password": "geheim" } });
  });

  test("show no secret", async () => {
    const keeper = await open();
    expect(JSON.stringify(await keeper.create(draftOf()))).not.toContain("geheim");
  });

  test("that are Forbid begin what was due meanwhile when the run before has ended", async () => {
    const keeper = await open();
    await keeper.create(draftOf({ concurrencyPolicy: "Forbid" }));
    await later(keeper);
    await later(keeper, 3 * MINUTE_MS);
    expect(due()).toEqual(["00:01"]);
    await end(keeper, 0);
    expect(due()).toEqual(["00:01", "00:04"]);
  });

  test("that are Forbid leave out what is past its deadline", async () => {
    const keeper = await open();
    await keeper.create(draftOf({ concurrencyPolicy: "Forbid", startingDeadlineSeconds: 20 }));
    await later(keeper, 35_000);
    await later(keeper, 3 * MINUTE_MS);
    await end(keeper, 0);
    expect(due()).toEqual(["00:01", "00:04"]);
    await later(keeper, 30_000);
    await end(keeper, 1);
    expect(due()).toEqual(["00:01", "00:04"]);
  });

  test("that are Replace take the run away that has not ended", async () => {
    const keeper = await open();
    await keeper.create(draftOf({ concurrencyPolicy: "Replace" }));
    await later(keeper);
    await later(keeper);
    expect([due(), gone]).toEqual([["00:01", "00:02"], [begun[0]?.uid]]);
  });

  test("begin one run for all that was missed while no server was there, none past its deadline", async () => {
    const first = await open();
    const schedule = await first.create(draftOf());
    await first.close();
    nowMs += 60 * MINUTE_MS;
    const second = await open();
    expect(due()).toEqual(["01:00"]);
    await second.change(schedule, { timing: { startingDeadlineSeconds: 10 } });
    await second.close();
    nowMs += MINUTE_MS;
    await open();
    expect(due()).toEqual(["01:00", "01:00"]);
  });

  test("tell the next server of a run that has not ended, and begin it no second time", async () => {
    const first = await open();
    await first.create(draftOf());
    await later(first);
    await first.close();
    const second = await open();
    await second.tick();
    expect(begun).toHaveLength(2);
    expect(begun[1]).toEqual(begun[0]);
  });

  test("keep the last runs that ended well and the last that did not", async () => {
    const keeper = await open();
    await keeper.create(draftOf({ successfulJobsHistoryLimit: 1, failedJobsHistoryLimit: 0 }));
    for (const state of ["success", "failed", "success"] as const) {
      await later(keeper);
      await end(keeper, begun.length - 1, state);
    }
    expect(gone).toEqual([begun[1]?.uid, begun[0]?.uid]);
  });

  test("begin nothing while suspended; a removed one takes its runs along", async () => {
    const keeper = await open();
    const schedule: Schedule = await keeper.create(draftOf());
    await later(keeper);
    await keeper.change(schedule, { timing: { suspend: true } });
    await later(keeper);
    expect(due()).toEqual(["00:01"]);
    await keeper.remove(schedule);
    await later(keeper);
    expect([gone, readdirSync(directory), due()]).toEqual([[begun[0]?.uid], [], ["00:01"]]);
  });

  test("of one name are there once", async () => {
    const keeper = await open();
    await keeper.create(draftOf());
    await expect(keeper.create(draftOf())).rejects.toMatchObject({ code: "NAME_TAKEN" });
  });

  test("go on after a clock that was years ahead, each at its times; one that is put right by hours begins none twice", async () => {
    const keeper = await open();
    await keeper.create(draftOf({ schedule: "0 * * * *" }));
    await later(keeper, 365 * 24 * 60 * MINUTE_MS);
    expect(due()).toEqual(["00:00"]);
    await later(keeper, -365 * 24 * 60 * MINUTE_MS);
    expect(due()).toEqual(["00:00"]);
    await later(keeper, 60 * MINUTE_MS);
    expect(due()).toEqual(["00:00", "01:00"]);
    await later(keeper, -40 * MINUTE_MS);
    await later(keeper, 40 * MINUTE_MS);
    expect(due()).toEqual(["00:00", "01:00"]);
  });

  test("let go of runs when their limits are lowered", async () => {
    const keeper = await open();
    const schedule = await keeper.create(draftOf());
    await later(keeper);
    await end(keeper, 0);
    await keeper.change(schedule, { timing: { successfulJobsHistoryLimit: 0 } });
    expect(gone).toEqual([begun[0]?.uid]);
  });

  test("of a time that cannot be read here keep no other from its time, and can be mended", async () => {
    const first = await open();
    const strange = await first.create({ ...draftOf(), name: "strange" });
    await first.create(draftOf());
    await first.close();
    const path = join(directory, "strange.json");
    writeFileSync(path, readFileSync(path, "utf8").replace("Etc/UTC", "Mars/Olympus"));
    const second = await open();
    await later(second);
    expect(begun.map(({ schedule }) => schedule.name)).toEqual(["nightly"]);
    await second.change(strange, { timing: { timeZone: "Etc/UTC" } });
    expect(begun.map(({ schedule }) => schedule.name)).toEqual(["nightly", "strange"]);
  });

  test("that cannot be read are left out", async () => {
    writeFileSync(join(directory, "broken.json"), "{");
    const keeper = await open();
    await keeper.create(draftOf());
    await later(keeper);
    expect(due()).toEqual(["00:01"]);
  });
});
