import { expect, test } from "vitest";
import { Access } from "../../src/core/access.ts";
import type { ScheduleKeeper, Timing } from "../../src/core/schedule.ts";
import { Schedules } from "../../src/core/schedules.ts";
import { Service } from "../faces/service.ts";

const ACCESS = new Access({ superusers: [], viewUsers: [], modifyUsers: [], allowedUsers: [], impersonators: [] });
const ANN = { name: "ann", remote: null };
const TIMING: Timing = {
  ...{ schedule: "@yearly", timeZone: "Etc/UTC", concurrencyPolicy: "Allow", startingDeadlineSeconds: null },
  ...{ suspend: false, successfulJobsHistoryLimit: 3, failedJobsHistoryLimit: 1 },
};

/** Schedules whose keeper is another one's, but for what is said here. */
const over = (service: Service, own: { readonly off?: () => string | null; readonly create?: ScheduleKeeper["create"] }): Schedules => {
  const keeper: ScheduleKeeper = service.launcher.schedules;
  const schedules = {
    get off() {
      return own.off?.() ?? null;
    },
    follow: keeper.follow.bind(keeper),
    create: own.create ?? keeper.create.bind(keeper),
    find: keeper.find.bind(keeper),
    change: keeper.change.bind(keeper),
    remove: keeper.remove.bind(keeper),
    request: keeper.request.bind(keeper),
    accepted: keeper.accepted.bind(keeper),
    conclude: keeper.conclude.bind(keeper),
    close: keeper.close.bind(keeper),
  };
  const { sessions } = service;
  return new Schedules({
    ...{ launcher: Object.assign(Object.create(service.launcher), { schedules }), sessions, access: ACCESS, clock: { now: Date.now } },
    limits: { maxSchedulesPerUser: 1 },
    read: async () => ({ owner: "ann", spec: { proxyUser: null } as never, notes: [] }),
    checkOwner: () => Promise.resolve(),
  });
};

test("a schedule that another server removes before the answer to its creation comes is not there", async () => {
  await using service = await Service.start();
  const keeper = service.launcher.schedules;
  const schedules = over(service, {
    create: async (draft) => {
      const made = await keeper.create(draft);
      await keeper.remove(made);
      return made;
    },
  });
  const signal = AbortSignal.timeout(5_000);
  await schedules.start(signal);
  await schedules.create({ name: "nightly", timing: TIMING, request: {} }, ANN, signal);
  expect(schedules.list(ANN)).toEqual([]);
  await schedules.create({ name: "nightly", timing: TIMING, request: {} }, ANN, signal);
  await schedules.close();
});

test("schedules that may not be read any more are not shown, and not made", async () => {
  await using service = await Service.start();
  let off: string | null = null;
  const schedules = over(service, { off: () => off });
  const signal = AbortSignal.timeout(5_000);
  await schedules.start(signal);
  await schedules.create({ name: "nightly", timing: TIMING, request: {} }, ANN, signal);
  expect(schedules.find("nightly", ANN, "view").name).toBe("nightly");
  off = "the right was lost";
  const refusal = { code: "NOT_SUPPORTED", message: "There are no schedules here: the right was lost" };
  expect(() => schedules.list(ANN)).toThrow(expect.objectContaining(refusal));
  expect(() => schedules.find("nightly", ANN, "view")).toThrow(expect.objectContaining(refusal));
  await expect(schedules.create({ name: "other", timing: TIMING, request: {} }, ANN, signal)).rejects.toMatchObject(refusal);
  off = null;
  expect(schedules.list(ANN)).toHaveLength(1);
  await schedules.close();
});
