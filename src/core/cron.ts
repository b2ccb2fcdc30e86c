import { Cron } from "croner";
import { Problem } from "./problems.ts";

/** What Kubernetes' CronJobs read: five fields of numbers, names, ranges, lists and steps, or a word for them. */
const WORDS = /^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$/;
const FIELD = /^(\*|\?|[0-9a-z]+(-[0-9a-z]+)?)(\/\d+)?$/i;
const NAME = /^(\d+|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)$/i;

/**
 * Checks a cron expression and its time zone.
 * @throws Problem INVALID that says what is wrong with it
 */
export const checkCron = (expression: string, timeZone: string): void => {
  const text = expression.trim();
  const terms = text.split(/\s+/).flatMap((field) => field.split(","));
  if (!WORDS.test(text) && !terms.every((term) => FIELD.test(term) && namesOf(term).every((name) => NAME.test(name))))
    throw new Problem("INVALID", `schedule must be five cron fields or a word like @daily, not '${expression.slice(0, 100)}'`);
  if (/7/.test((text.split(/\s+/)[4] ?? "").replace(/\/\d+/g, "")))
    throw new Problem("INVALID", `schedule '${expression.slice(0, 100)}' names a weekday 7: they are 0 (Sunday) to 6, or sun to sat.`);
  checkTimeZone(timeZone);
  let next: Date | null;
  try {
    next = read(text, timeZone).nextRun();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.replace(/^CronPattern: /, "") : String(cause);
    throw new Problem("INVALID", `schedule '${expression.slice(0, 100)}' cannot be read: ${why}`, { cause });
  }
  if (next === null) throw new Problem("INVALID", `schedule '${expression.slice(0, 100)}' never comes.`);
};

const namesOf = (term: string): readonly string[] =>
  term
    .replace(/\/.*$/, "")
    .split("-")
    .filter((name) => !/^[*?]?$/.test(name));

/** A place's name as in the tz database; offsets are none, and `Local` means another thing on each machine. */
const checkTimeZone = (timeZone: string): void => {
  try {
    if (!/^[A-Za-z]/.test(timeZone) || /^local$/i.test(timeZone)) throw new RangeError(timeZone);
    new Intl.DateTimeFormat("en", { timeZone });
  } catch (cause) {
    throw new Problem("INVALID", `timeZone must be a name like Europe/Berlin or Etc/UTC, not '${timeZone.slice(0, 100)}'`, { cause });
  }
};

/**
 * Checked before. A day field that holds every day does not count beside the other one, however it is written: so does Kubernetes read it
 * (robfig/cron, dayMatches), and croner only a bare `*`.
 */
const read = (expression: string, timeZone: string): Cron => {
  const fields = expression.trim().split(/\s+/);
  const plain = fields.map((field) => (field.split(",").some((term) => /^[*?](\/0*1)?$/.test(term)) ? "*" : field));
  return new Cron(plain.join(" "), { mode: "5-part", timezone: timeZone, paused: true });
};

/** The first time that is due after this one; Unix ms, null: never. */
export const nextDueMs = (expression: string, timeZone: string, afterMs: number): number | null =>
  read(expression, timeZone).nextRun(new Date(afterMs))?.getTime() ?? null;

/** The last time that was due until this one, itself included; Unix ms, null: never. */
export const lastDueMs = (expression: string, timeZone: string, untilMs: number): number | null =>
  read(expression, timeZone)
    .previousRuns(1, new Date(Math.floor(untilMs / 1_000) * 1_000 + 1_000))[0]
    ?.getTime() ?? null;
