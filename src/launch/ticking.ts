import { lastDueMs } from "../core/cron.ts";
import type { Run, Timing } from "../core/schedule.ts";

/** What is known of a schedule when it is looked whether a run is due. */
export interface Ticked {
  readonly timing: Timing;
  readonly createdMs: number;
  /** When the last run was due that began; null: none has. */
  readonly lastMs: number | null;
  readonly runs: readonly Run[];
}

/** A run that is to begin now, and those it begins in place of. */
export interface DueRun {
  readonly dueMs: number;
  readonly replaced: readonly Run[];
}

/** A clock that was put back by more than this had been wrong, not corrected. */
const SET_BACK_MS = 24 * 60 * 60_000;

/**
 * For a schedule whose last run was due on a day that, the clock now says, has yet to come: the time that counts as its last one from now
 * on, so that it does not wait for that day. Null: its last run was due as it should be.
 */
export const lastBeforeSetBack = ({ timing: { schedule, timeZone }, createdMs, lastMs }: Ticked, nowMs: number): number | null =>
  (lastMs ?? createdMs) - nowMs > SET_BACK_MS ? (lastDueMs(schedule, timeZone, nowMs) ?? nowMs) : null;

/**
 * Whether a run is due, by the rules of Kubernetes' CronJob controller: of all times that were missed only the last one counts, unless its
 * deadline has passed; one that was forbidden begins when the run before it has ended, if its deadline still allows.
 */
export const dueRun = ({ timing, createdMs, lastMs, runs }: Ticked, nowMs: number): DueRun | null => {
  const { schedule, timeZone, suspend, startingDeadlineSeconds, concurrencyPolicy } = timing;
  if (suspend) return null;
  const dueMs = lastDueMs(schedule, timeZone, nowMs);
  if (dueMs === null || dueMs <= (lastMs ?? createdMs)) return null;
  if (startingDeadlineSeconds !== null && nowMs - dueMs > startingDeadlineSeconds * 1_000) return null;
  const active = runs.filter(({ end }) => end === null);
  if (active.length > 0 && concurrencyPolicy === "Forbid") return null;
  return { dueMs, replaced: concurrencyPolicy === "Replace" ? active : [] };
};

/** The runs that are history no longer: the oldest of those that ended well, and of those that did not, beyond their limits. */
export const forgotten = ({ timing, runs }: Pick<Ticked, "timing" | "runs">): readonly Run[] => {
  const beyond = (state: "success" | "failed", limit: number) => {
    const ended = runs.filter(({ end }) => end?.state === state).toSorted((a, b) => a.dueMs - b.dueMs);
    return ended.slice(0, Math.max(0, ended.length - limit));
  };
  return [...beyond("success", timing.successfulJobsHistoryLimit), ...beyond("failed", timing.failedJobsHistoryLimit)];
};
