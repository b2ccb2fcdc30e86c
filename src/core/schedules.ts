import { setTimeout as pause } from "node:timers/promises";
import type { Access, Caller, Right } from "./access.ts";
import type { Batch } from "./batch.ts";
import { publishAudit, publishSession } from "./events.ts";
import type { Clock, Launcher, SessionDraft, SessionEnd } from "./ports.ts";
import { Problem } from "./problems.ts";
import type { BatchRequest, Run, RunEnd, Schedule, ScheduleChange, ScheduleDraft } from "./schedule.ts";
import type { Sessions } from "./sessions.ts";

export interface SchedulesParts {
  readonly launcher: Launcher;
  readonly sessions: Sessions;
  readonly access: Access;
  readonly clock: Clock;
  /** What a request asks for, as this caller may ask for it now. @throws Problem */
  readonly read: (request: BatchRequest, caller: Caller) => Promise<SessionDraft>;
  /** @throws Problem FORBIDDEN for an owner who may not use the server any more */
  readonly checkOwner: (owner: string | null) => Promise<void>;
}

/** What keeps a run from its batch for the moment is tried again. */
const FIRST_PAUSE_MS = 1_000;
const PAUSE_LIMIT_MS = 30_000;

/**
 * All schedules there are and their runs. A run, once its keeper tells of it, becomes a batch of the run's own uid, so that it is made once
 * whichever server is first; the batch's end becomes the run's; and a run that is taken away ends its batch.
 */
export class Schedules {
  readonly #parts: SchedulesParts;
  readonly #schedules = new Map<string, Schedule>();
  readonly #runs = new Map<string, Run>();
  /** Runs that are carried to their end here; aborted when they are gone. */
  readonly #carried = new Map<string, AbortController>();
  readonly #carrying = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #off: string | null = "Schedules are not known yet; try again in a moment.";

  constructor(parts: SchedulesParts) {
    this.#parts = parts;
  }

  /** Learns of all schedules and takes up their runs. Called once, after the sessions are adopted. */
  async start(signal: AbortSignal): Promise<void> {
    // What comes later has its run beside it.
    const living = this.#parts.sessions.living();
    this.#off = await this.#parts.launcher.schedules.follow(
      {
        scheduled: (schedule) => void this.#schedules.set(schedule.uid, schedule),
        unscheduled: ({ uid }) => void this.#schedules.delete(uid),
        run: (run) => this.#run(run),
        gone: ({ uid }) => this.#gone(uid),
      },
      signal,
    );
    if (this.#off !== null) return publishSession({ session: -1, event: "fault", detail: `there are no schedules: ${this.#off}` });
    for (const { uid, spec } of living) if (spec.application?.run !== undefined && !this.#runs.has(uid)) this.#gone(uid);
  }

  /**
   * Makes a schedule. Its request is read as one of `caller` is that asks for a batch now.
   * @throws Problem NOT_SUPPORTED when there can be none here; NAME_TAKEN, SPEC_REFUSED, FORBIDDEN, DRAINING, DRIVER_UNREACHABLE
   */
  async create(draft: Pick<ScheduleDraft, "name" | "timing" | "request">, caller: Caller, signal: AbortSignal): Promise<Schedule> {
    this.#checkOn();
    this.#parts.sessions.checkOpen();
    const proxyUser = await this.#admit(draft.request, caller, signal);
    const schedule = await this.#parts.launcher.schedules.create({ ...draft, owner: caller.name, proxyUser }, signal);
    this.#schedules.set(schedule.uid, schedule);
    return schedule;
  }

  /**
   * Changes when its runs begin, and what those do that begin from now on.
   * @throws Problem as `create`, SCHEDULE_NOT_FOUND
   */
  async change(
    schedule: Schedule,
    { timing, request }: Pick<ScheduleChange, "timing"> & { readonly request?: BatchRequest },
    caller: Caller,
    signal: AbortSignal,
  ): Promise<Schedule> {
    this.#checkOn();
    // The owner's rights are what its runs will have.
    const owner = { name: schedule.owner, remote: caller.remote };
    const change =
      request === undefined ? { timing } : { timing, batch: { request, proxyUser: await this.#admit(request, owner, signal) } };
    const changed = await this.#parts.launcher.schedules.change(schedule, change, signal);
    if (changed === null) throw notFound(schedule.name);
    this.#schedules.set(changed.uid, changed);
    return changed;
  }

  /** Removes it; what runs of it is ended. Idempotent. @throws Problem DRIVER_UNREACHABLE */
  async delete(schedule: Schedule, signal: AbortSignal): Promise<void> {
    await this.#parts.launcher.schedules.remove(schedule, signal);
    this.#schedules.delete(schedule.uid);
  }

  /** Makes sure that a schedule which another server has just made is known here. @throws Problem DRIVER_UNREACHABLE */
  async seek(nameOrUid: string, signal: AbortSignal): Promise<void> {
    if (this.#off !== null || this.#known(nameOrUid) !== undefined) return;
    const schedule = await this.#parts.launcher.schedules.find(nameOrUid, signal);
    if (schedule !== null) this.#schedules.set(schedule.uid, schedule);
  }

  /** @throws Problem SCHEDULE_NOT_FOUND, FORBIDDEN, NOT_SUPPORTED */
  find(nameOrUid: string, caller: Caller, right: Right): Schedule {
    this.#checkOn();
    const schedule = this.#known(nameOrUid);
    if (schedule === undefined) throw notFound(nameOrUid);
    if (this.#parts.access.may(caller, right, schedule)) return schedule;
    throw new Problem("FORBIDDEN", `User '${caller.name}' may not ${right} schedule ${schedule.name}.`);
  }

  /** Those the caller may view, by name; none where there can be none. */
  list(caller: Caller): readonly Schedule[] {
    return [...this.#schedules.values()]
      .filter((schedule) => this.#parts.access.may(caller, "view", schedule))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The runs that are kept, oldest first. */
  runsOf({ uid }: Schedule): readonly Run[] {
    return [...this.#runs.values()].filter(({ schedule }) => schedule.uid === uid).sort((a, b) => a.dueMs - b.dueMs);
  }

  /** Lets go of everything without ending a batch. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new Error("the schedules were closed"));
    await Promise.all(this.#carrying);
  }

  #known(nameOrUid: string): Schedule | undefined {
    return this.#schedules.get(nameOrUid) ?? [...this.#schedules.values()].find(({ name }) => name === nameOrUid);
  }

  #checkOn(): void {
    if (this.#off !== null) throw new Problem("NOT_SUPPORTED", `There are no schedules here: ${this.#off}`);
  }

  /** What can be known now of whether its batches will be refused; answers whom Spark is to run as. */
  async #admit(request: BatchRequest, caller: Caller, signal: AbortSignal): Promise<string | null> {
    const draft = await this.#parts.read(request, caller);
    const { proxyUser } = draft.spec;
    this.#parts.access.checkProxyUser(caller, proxyUser);
    await this.#parts.launcher.plan(draft, signal);
    return proxyUser;
  }

  // ── Runs ──

  #run(run: Run): void {
    this.#runs.set(run.uid, run);
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

  #gone(uid: string): void {
    this.#runs.delete(uid);
    this.#carried.get(uid)?.abort(new Error("the run is gone"));
    this.#endBatch(uid);
  }

  #endBatch(uid: string): void {
    const batch = this.#parts.sessions.batchOf(uid);
    if (batch !== null && batch.end === null) void batch.stop("killed", "Its run was replaced or deleted.");
  }

  async #carry(uid: string, signal: AbortSignal): Promise<void> {
    for (let waitMs = FIRST_PAUSE_MS; !signal.aborted; waitMs = Math.min(PAUSE_LIMIT_MS, 2 * waitMs)) {
      const run = this.#runs.get(uid);
      if (run === undefined || run.end !== null) return;
      try {
        return await this.#toEnd(run, signal);
      } catch (error) {
        if (signal.aborted) break;
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

  async #toEnd(run: Run, signal: AbortSignal): Promise<void> {
    const { launcher, sessions, clock } = this.#parts;
    const failed = (reason: string): Promise<void> =>
      launcher.schedules.conclude(run, { state: "failed", reason, endedMs: clock.now() }, signal);
    // A claim that another server has just made may be heard of after its run.
    if (run.batch !== null) await sessions.seek(String(run.batch));
    const known = sessions.batchOf(run.uid);
    if (known === null && run.batch !== null) return failed(`Batch ${run.batch} was deleted.`);
    let batch: Batch;
    try {
      batch = known ?? (await this.#begin(run, signal));
    } catch (error) {
      // What will not get better by trying again.
      if (!(error instanceof Problem) || error.status >= 500) throw error;
      const who = { user: run.owner, remote: null, proxyUser: null, session: null, statement: null };
      publishAudit({ action: "refuse", ...who, schedule: run.schedule.name, problem: error.code });
      return failed(error.message);
    }
    if (run.batch === null) await launcher.schedules.accepted(run, batch.id, signal);
    await launcher.schedules.conclude({ ...run, batch: batch.id }, runEnd(await batch.ended(signal)), signal);
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
    const draft: SessionDraft = {
      owner,
      spec: { ...spec, application: { ...application, run: { schedule: schedule.name, scheduleUid: schedule.uid, dueMs } } },
      notes: [`This is a run of schedule ${schedule.name}, due at ${new Date(dueMs).toISOString()}.`, ...notes],
    };
    const batch = await sessions.createBatchAs(uid, draft, caller, signal);
    publishAudit({
      ...{ action: "create", user: owner, remote: null, proxyUser: batch.proxyUser, session: batch.id },
      ...{ statement: null, schedule: schedule.name, problem: null },
    });
    return batch;
  }

  /** Whatever this run replaces has ended, its name is free. */
  async #afterReplaced({ schedule }: Run, signal: AbortSignal): Promise<void> {
    const replaced = this.#parts.sessions.living().filter((life): life is Batch => {
      const of = life.spec.application?.run;
      return of?.scheduleUid === schedule.uid && !this.#runs.has(life.uid);
    });
    await Promise.all(replaced.map((batch) => batch.ended(signal)));
  }
}

const notFound = (name: string): Problem => new Problem("SCHEDULE_NOT_FOUND", `Schedule '${name.slice(0, 100)}' not found.`);

const runEnd = ({ state, reason, endedMs }: SessionEnd): RunEnd => ({
  state: state === "success" ? "success" : "failed",
  reason: state === "killed" ? `killed: ${reason}` : reason,
  endedMs,
});
