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
  ])("that CronJobs would not read is refused: %s", (expression) => expect(() => checkCron(expression, "Etc/UTC")).toThrow(/^schedule/));

  test("that never comes is refused", () => {
    expect(() => checkCron("0 0 31 2 *", "Etc/UTC")).toThrow("never comes");
  });

  test.each(["Mars/Olympus", "", "+02:00", "Local"])("has a time zone of the tz database, not '%s'", (zone) => {
    expect(() => checkCron("@daily", zone)).toThrow("timeZone must be a name");
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
