import { describe, expect, test } from "vitest";
import { checkCron, lastDueMs, nextDueMs } from "../../src/core/cron.ts";

const at = (text: string): number => Date.parse(text);

describe("a cron expression", () => {
  test.each(["* * * * *", "0 3 * * *", "*/15 8-18 * * MON-FRI", "0 0 1,15 jan *", "@daily", " 5 4 * * sun ", "0 0 ? * 1"])(
    "may be %s",
    (expression) => expect(() => checkCron(expression, "Europe/Berlin")).not.toThrow(),
  );

  test.each([
    "",
    "* * * *",
    "* * * * * *",
    "60 * * * *",
    "0 0 L * *",
    "0 0 * * 5#2",
    "@reboot",
    "a b c d e",
    "TZ=UTC 0 0 * * *",
    "*/0 * * * *",
    "0 0 * * 7",
    "0 0 * * 0-7",
    "0 0 mon * *",
    "0 0 * * fri-mon",
    "5/15 * * * *",
    "@every 1h",
    "@Daily",
  ])("that CronJobs would not read is refused: %s", (expression) => expect(() => checkCron(expression, "Etc/UTC")).toThrow(/^schedule/));

  test("that never comes is refused", () => {
    expect(() => checkCron("0 0 31 2 *", "Etc/UTC")).toThrow("never comes");
  });

  test.each(["Mars/Olympus", "", "+02:00", "Local"])("has a time zone of the tz database, not '%s'", (zone) => {
    expect(() => checkCron("@daily", zone)).toThrow("timeZone must be a name");
  });

  test.each(["0 0 */1 * 5", "0 0 ? * 5", "0 0 3,* * fri", "0 0 * * 5"])(
    "with every day of the month is due on its weekday alone: %s",
    (schedule) => {
      const first = nextDueMs(schedule, "Etc/UTC", at("2026-01-01T00:00:00Z")) ?? 0;
      expect([first, nextDueMs(schedule, "Etc/UTC", first)]).toEqual([at("2026-01-02T00:00:00Z"), at("2026-01-09T00:00:00Z")]);
    },
  );

  test("with some days of the month and some weekdays is due on either", () => {
    expect(nextDueMs("0 0 13 * 5", "Etc/UTC", at("2026-01-09T00:00:00Z"))).toBe(at("2026-01-13T00:00:00Z"));
    expect(nextDueMs("0 0 13 * 5", "Etc/UTC", at("2026-01-13T00:00:00Z"))).toBe(at("2026-01-16T00:00:00Z"));
  });

  const SPRING: readonly [string, string] = ["2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z"];
  const AUTUMN: readonly [string, string] = ["2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"];
  test.each([
    ["that the clock leaves out comes when it goes on", "30 2 * * *", SPRING, ["29T01:00", "30T00:30"]],
    ["that the clock shows twice comes once", "30 2 * * *", AUTUMN, ["25T00:30", "26T01:30"]],
    [
      "of each hour comes with each hour, the doubled one too",
      "0 0-4 * * sun",
      AUTUMN,
      ["24T22:00", "24T23:00", "25T00:00", "25T01:00", "25T02:00", "25T03:00"],
    ],
  ] as const)("a time %s", (_what, schedule, [from, to], wanted) => {
    const seen = new Set<number>();
    for (let nowMs = at(from); nowMs <= at(to); nowMs += 30 * 60_000) seen.add(lastDueMs(schedule, "Europe/Berlin", nowMs) ?? 0);
    const last = [...seen].filter((ms) => ms > at(from)).map((ms) => new Date(ms).toISOString().slice(8, 16));
    const next: string[] = [];
    for (
      let ms = nextDueMs(schedule, "Europe/Berlin", at(from)) ?? 0;
      ms < at(to);
      ms = nextDueMs(schedule, "Europe/Berlin", ms) ?? Infinity
    )
      next.push(new Date(ms).toISOString().slice(8, 16));
    expect([last, next]).toEqual([wanted, wanted]);
  });

  test("is due by the clock of its time zone, in summer too", () => {
    expect(nextDueMs("0 3 * * *", "Europe/Berlin", at("2026-01-01T00:00:00Z"))).toBe(at("2026-01-01T02:00:00Z"));
    expect(nextDueMs("0 3 * * *", "Europe/Berlin", at("2026-07-01T00:00:00Z"))).toBe(at("2026-07-01T01:00:00Z"));
  });

  test("was due last at this very moment, when it is one of its times", () => {
    expect(lastDueMs("0 * * * *", "Etc/UTC", at("2026-01-01T03:00:00Z"))).toBe(at("2026-01-01T03:00:00Z"));
    expect(lastDueMs("0 * * * *", "Etc/UTC", at("2026-01-01T03:00:00.999Z"))).toBe(at("2026-01-01T03:00:00Z"));
    expect(lastDueMs("0 * * * *", "Etc/UTC", at("2026-01-01T02:59:59.999Z"))).toBe(at("2026-01-01T02:00:00Z"));
  });
});
