import { setTimeout as pause } from "node:timers/promises";
import type { Caller } from "./access.ts";
import type { Batch } from "./batch.ts";
import { publishAudit, publishSession } from "./events.ts";
import type { Clock, Launcher, SessionDraft, SessionEnd } from "./ports.ts";
import { Problem } from "./problems.ts";
import type { BatchRequest, Run, RunEnd, Schedule } from "./schedule.ts";
import type { Sessions } from "./sessions.ts";

export interface RunsParts {
  readonly launcher: Launcher;
  readonly sessions: Sessions;
  readonly clock: Clock;
  /** What a request asks for, as this caller may ask for it now. @throws Problem */
  readonly read: (request: BatchRequest, caller: Caller) => Promise<SessionDraft>;
  /** @throws Problem FORBIDDEN for an owner who may not use the server any more */
  readonly checkOwner: (owner: string | null) => Promise<void>;
  /** The schedule of this uid, as far as it is known. */
  readonly schedule: (uid: string) => Schedule | undefined;
}

/** What keeps a run from its batch for the moment is tried again. */
const FIRST_PAUSE_MS = 1_000;
const PAUSE_LIMIT_MS = 30_000;
/** Where an application finds when its run was due, which is not when it begins: ISO 8601, UTC. */
const DUE_KEY = "spark.longwick.schedule.due";
/** However short its deadline is, servers have so long to begin a run that was made in time. */
const BEGIN_MS = 10_000;
/** How often it is looked whether somebody made a batch of a run that was gone by then, and for how long after. */
const TIDY_EVERY_MS = 10_000;
const PAST_MS = 60 * 60_000;

/**
 * All runs there are. Each, once its keeper tells of it, becomes a batch of the run's own uid, so that it is made once whichever server is
 * first; the batch's end becomes the run's; and a run that is taken away ends its batch.
 */
export class Runs {
  readonly #parts: RunsParts;
  readonly #runs = new Map<string, Run>();
  /** Runs that are carried to their end here; aborted when they are gone. */
  readonly #carried = new Map<string, AbortController>();
  readonly #carrying = new Set<Promise<void>>();
  /** Why a run has not come further, by uid. */
  readonly #troubles = new Map<string, string>();
  /** Uids of runs that are gone, and when that was heard. */
  readonly #past = new Map<string, number>();
  readonly #closing = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(parts: RunsParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => this.tidy(), TIDY_EVERY_MS).unref();
  }

  has(uid: string): boolean {
    return this.#runs.has(uid);
  }

  /** Those of a schedule that are kept, oldest first, with the batches that are not written into them yet. */
  of(scheduleUid: string): readonly Run[] {
    return [...this.#runs.values()]
      .filter(({ schedule }) => schedule.uid === scheduleUid)
      .map((run) => ({ ...run, batch: run.batch ?? this.#parts.sessions.batchOf(run.uid)?.id ?? null }))
      .sort((a, b) => a.dueMs - b.dueMs);
  }

  /** What keeps a run that has not ended, or the writing down of how it stands; null: nothing does. */
  trouble({ uid }: Pick<Run, "uid">): string | null {
    return this.#troubles.get(uid) ?? null;
  }

  /** It is there, or is another than before. */
  told(run: Run): void {
    this.#runs.set(run.uid, run);
    // An API server that was put back to an earlier state has it again.
    this.#past.delete(run.uid);
    if (run.end !== null) this.#troubles.delete(run.uid);
    // Another server was first: whatever is on its way here is not wanted.
    if (run.end !== null) this.#carried.get(run.uid)?.abort(new Error("the run has ended"));
    if (run.end !== null || this.#carried.has(run.uid) || this.#closing.signal.aborted) return;
    const over = new AbortController();
    this.#carried.set(run.uid, over);
    const carrying = this.#carry(run.uid, AbortSignal.any([over.signal, this.#closing.signal])).finally(() => {
      this.#carrying.delete(carrying);
      this.#carried.delete(run.uid);
    });
    this.#carrying.add(carrying);
  }

  /** It is not kept any more. */
  gone(uid: string): void {
    this.#runs.delete(uid);
    this.#troubles.delete(uid);
    this.#past.set(uid, this.#parts.clock.now());
    this.#carried.get(uid)?.abort(new Error("the run is gone"));
    this.#endBatch(uid);
  }

  /** Ends what was made of a run that was gone by then: by a server that died meanwhile. Its timer calls it. */
  tidy(): void {
    const before = this.#parts.clock.now() - PAST_MS;
    for (const { uid } of this.#parts.sessions.living()) if (this.#past.has(uid)) this.#endBatch(uid);
    for (const [uid, goneMs] of this.#past) if (goneMs < before) this.#past.delete(uid);
  }

  /** Lets go of everything without ending a batch. Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#closing.abort(new Error("the schedules were closed"));
    await Promise.all(this.#carrying);
  }

  #endBatch(uid: string): void {
    const batch = this.#parts.sessions.batchOf(uid);
    if (batch === null || batch.end !== null) return;
    batch.stop("killed", "Its run was replaced or deleted.").catch((error: unknown) => {
      publishSession({ session: batch.id, event: "fault", detail: `it could not be ended with its run: ${String(error)}` });
    });
  }

  async #carry(uid: string, signal: AbortSignal): Promise<void> {
    const made: { batch: Batch | null } = { batch: null };
    for (let waitMs = FIRST_PAUSE_MS; !signal.aborted; waitMs = Math.min(PAUSE_LIMIT_MS, 2 * waitMs)) {
      const run = this.#runs.get(uid);
      if (run === undefined || run.end !== null) return;
      try {
        return await this.#toEnd(run, made, signal);
      } catch (error) {
        if (signal.aborted) break;
        this.#troubles.set(uid, error instanceof Error ? error.message : String(error));
        const detail = `run ${uid} of schedule ${run.schedule.name} is tried again: ${String(error)}`;
        publishSession({ session: run.batch ?? -1, event: "fault", detail });
        await pause(waitMs, undefined, { signal }).catch(() => undefined);
      }
    }
    if (this.#closing.signal.aborted) return;
    // Its batch may have been made while the run went, or while another server refused it.
    const run = this.#runs.get(uid);
    if (run === undefined || run.batch === null) this.#endBatch(uid);
  }

  /** `made`: its batch, once there was one here, however long ago that was removed: it is made no second time. */
  async #toEnd(run: Run, made: { batch: Batch | null }, signal: AbortSignal): Promise<void> {
    const { launcher, sessions, clock } = this.#parts;
    const failed = (reason: string): Promise<void> =>
      launcher.schedules.conclude(run, { state: "failed", reason, endedMs: clock.now() }, signal);
    // A claim that another server has just made may be heard of after its run.
    if (run.batch !== null) await sessions.seek(String(run.batch));
    made.batch ??= sessions.batchOf(run.uid);
    if (made.batch === null && run.batch !== null) return failed(`Batch ${run.batch} was deleted.`);
    const missed = made.batch === null ? this.#missed(run) : null;
    if (missed !== null) return failed(missed);
    try {
      made.batch ??= await this.#begin(run, signal);
    } catch (error) {
      // What will not get better by trying again.
      if (!(error instanceof Problem) || error.status >= 500) throw error;
      const who = { user: run.owner, remote: null, proxyUser: null, session: null, statement: null };
      publishAudit({ action: "refuse", ...who, schedule: run.schedule.name, problem: error.code });
      return failed(error.message);
    }
    const { batch } = made;
    if (run.batch === null) await launcher.schedules.accepted(run, batch.id, signal);
    this.#troubles.delete(run.uid);
    await launcher.schedules.conclude({ ...run, batch: batch.id }, runEnd(await batch.ended(signal)), signal);
  }

  /** Why it is too late to begin it; null: it is not. */
  #missed({ schedule: { uid }, dueMs, createdMs }: Run): string | null {
    const seconds = this.#parts.schedule(uid)?.timing.startingDeadlineSeconds ?? null;
    const nowMs = this.#parts.clock.now();
    if (seconds === null || nowMs - dueMs <= seconds * 1_000 || nowMs - createdMs <= BEGIN_MS) return null;
    return `It could not begin within ${seconds} s of when it was due, its startingDeadlineSeconds.`;
  }

  /** As its owner, with the rights, limits and presets of now. */
  async #begin(run: Run, signal: AbortSignal): Promise<Batch> {
    const { launcher, sessions, read, checkOwner } = this.#parts;
    const { uid, owner, schedule, dueMs } = run;
    await this.#afterReplaced(run, signal);
    const request = await launcher.schedules.request(run, signal);
    if (request === null) throw new Problem("INVALID", "What it was to run was changed or removed before it began.");
    const caller = { name: owner, remote: null };
    await checkOwner(owner);
    const { spec, notes } = await read(request, caller);
    const { application } = spec;
    if (application === undefined) throw new Error("a schedule's request is no batch's");
    const due = new Date(dueMs).toISOString();
    const draft: SessionDraft = {
      owner,
      spec: {
        ...{ ...spec, conf: { ...spec.conf, [DUE_KEY]: due } },
        application: { ...application, run: { schedule: schedule.name, scheduleUid: schedule.uid, dueMs } },
      },
      notes: [`This is a run of schedule ${schedule.name}, due at ${due}.`, ...notes],
    };
    signal.throwIfAborted();
    // To its end, though the run go meanwhile: a claim whose answer nobody waits for would be nobody's to end.
    const batch = await sessions.createBatchAs(uid, draft, caller, this.#closing.signal);
    publishAudit({
      ...{ action: "create", user: owner, remote: null, proxyUser: batch.proxyUser, session: batch.id },
      ...{ statement: null, schedule: schedule.name, problem: null },
    });
    return batch;
  }

  /** Whatever this run replaces has ended, its name is free. */
  async #afterReplaced({ uid, schedule }: Run, signal: AbortSignal): Promise<void> {
    this.tidy();
    const replaced = this.#parts.sessions.living().filter((life): life is Batch => {
      const of = life.spec.application?.run;
      return of?.scheduleUid === schedule.uid && !this.#runs.has(life.uid);
    });
    if (replaced.length === 0) return;
    this.#troubles.set(uid, `It waits until batch ${replaced.map(({ id }) => id).join(", ")} has ended.`);
    await Promise.all(replaced.map((batch) => batch.ended(signal)));
  }
}

const runEnd = ({ state, reason, endedMs }: SessionEnd): RunEnd => ({
  state: state === "success" ? "success" : "failed",
  reason: state === "killed" ? `killed: ${reason}` : reason,
  endedMs,
});
