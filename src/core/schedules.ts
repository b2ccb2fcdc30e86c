import { setTimeout as pause } from "node:timers/promises";
import type { Access, Caller, Right } from "./access.ts";
import { isTooDeep } from "./depth.ts";
import { publishSession } from "./events.ts";
import { Problem } from "./problems.ts";
import { Runs, type RunsParts } from "./runs.ts";
import type { BatchRequest, Run, Schedule, ScheduleChange, ScheduleDraft } from "./schedule.ts";
import { uploadsInRequest } from "./upload-uri.ts";

export interface SchedulesLimits {
  /** Schedules of each owner; 0: no limit. */
  readonly maxSchedulesPerUser: number;
}

export interface SchedulesParts extends Omit<RunsParts, "schedule"> {
  readonly access: Access;
  readonly limits: SchedulesLimits;
}

/** Where there can be no schedules it is looked so often whether there can be by now, for so long. */
const LOOK_EVERY_MS = 15_000;
const LOOK_MS = 30_000;
const REMOVED_LIMIT = 1_000;

/** All schedules there are, whichever server made them; `Runs` sees to their runs. */
export class Schedules {
  readonly #parts: SchedulesParts;
  readonly #runs: Runs;
  readonly #schedules = new Map<string, Schedule>();
  /** Uids of the last ones that were removed: an answer about one may be slower than the news of its end. */
  readonly #removed = new Set<string>();
  /** What is being made: it counts against the limit. */
  readonly #coming = new Set<Pick<Schedule, "name" | "owner">>();
  readonly #closing = new AbortController();
  #looking: Promise<void> | null = null;
  #off: string | null = "Schedules are not known yet; try again in a moment.";

  constructor(parts: SchedulesParts) {
    this.#parts = parts;
    this.#runs = new Runs({ ...parts, schedule: (uid) => this.#schedules.get(uid) });
  }

  /**
   * Learns of all schedules and takes up their runs; where there can be none, as soon as there can. Called once, after the sessions are
   * adopted.
   */
  async start(signal: AbortSignal): Promise<void> {
    await this.#follow(signal);
    if (this.#off === null) return;
    publishSession({ session: -1, event: "fault", detail: `there are no schedules: ${this.#off}` });
    this.#looking = this.#look();
  }

  async #look(): Promise<void> {
    const { signal } = this.#closing;
    while (this.#off !== null) {
      await pause(LOOK_EVERY_MS, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) return;
      // What is in the way now is told of by the next look.
      await this.#follow(AbortSignal.any([signal, AbortSignal.timeout(LOOK_MS)])).catch(() => undefined);
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    // What comes later has its run beside it.
    const living = this.#parts.sessions.living();
    this.#off = await this.#parts.launcher.schedules.follow(
      {
        scheduled: (schedule) => {
          this.#removed.delete(schedule.uid);
          this.#put(schedule);
        },
        unscheduled: ({ uid }) => this.#drop(uid),
        run: (run) => this.#runs.told(run),
        gone: ({ uid }) => this.#runs.gone(uid),
      },
      signal,
    );
    if (this.#off !== null) return;
    for (const { uid, spec } of living) if (spec.application?.run !== undefined && !this.#runs.has(uid)) this.#runs.gone(uid);
  }

  /**
   * Makes a schedule. Its request is read as one of `caller` is that asks for a batch now.
   * @throws Problem NOT_SUPPORTED when there can be none here; TOO_MANY_SCHEDULES, NAME_TAKEN, SPEC_REFUSED, FORBIDDEN, DRAINING,
   * INVALID, DRIVER_UNREACHABLE
   */
  async create(
    { name, timing, request }: Pick<ScheduleDraft, "name" | "timing" | "request">,
    caller: Caller,
    signal: AbortSignal,
  ): Promise<Schedule> {
    this.#checkOn();
    this.#parts.sessions.checkOpen();
    const owner = caller.name;
    this.#checkLimit(owner);
    const coming = { name, owner };
    this.#coming.add(coming);
    try {
      const proxyUser = await this.#admit(request, caller, signal);
      const schedule = await this.#parts.launcher.schedules.create({ name, timing, request, owner, proxyUser }, signal);
      this.#put(schedule);
      return schedule;
    } finally {
      this.#coming.delete(coming);
    }
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
    this.#put(changed);
    return changed;
  }

  /** Removes it; what runs of it is ended. Idempotent. @throws Problem DRIVER_UNREACHABLE */
  async delete(schedule: Schedule, signal: AbortSignal): Promise<void> {
    await this.#parts.launcher.schedules.remove(schedule, signal);
    this.#drop(schedule.uid);
  }

  /** Makes sure that a schedule which another server has just made is known here. @throws Problem DRIVER_UNREACHABLE */
  async seek(nameOrUid: string, signal: AbortSignal): Promise<void> {
    if (this.#off !== null || this.#parts.launcher.schedules.off !== null || this.#known(nameOrUid) !== undefined) return;
    const schedule = await this.#parts.launcher.schedules.find(nameOrUid, signal);
    if (schedule !== null) this.#put(schedule);
  }

  /** @throws Problem SCHEDULE_NOT_FOUND, FORBIDDEN, NOT_SUPPORTED */
  find(nameOrUid: string, caller: Caller, right: Right): Schedule {
    this.#checkOn();
    const schedule = this.#known(nameOrUid);
    if (schedule === undefined) throw notFound(nameOrUid);
    if (this.#parts.access.may(caller, right, schedule)) return schedule;
    throw new Problem("FORBIDDEN", `User '${caller.name}' may not ${right} schedule ${schedule.name}.`);
  }

  /** Those the caller may view, by name. @throws Problem NOT_SUPPORTED */
  list(caller: Caller): readonly Schedule[] {
    this.#checkOn();
    return [...this.#schedules.values()]
      .filter((schedule) => this.#parts.access.may(caller, "view", schedule))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The runs that are kept, oldest first. */
  runsOf({ uid }: Schedule): readonly Run[] {
    return this.#runs.of(uid);
  }

  /** Why a run that has not ended has come no further; null: nothing is in its way. */
  trouble(run: Run): string | null {
    return this.#runs.trouble(run);
  }

  /** Ids of the uploads that schedules name. */
  uploads(): readonly string[] {
    return [...this.#schedules.values()].flatMap(({ request }) => uploadsInRequest(request).map(({ id }) => id));
  }

  /** Lets go of everything without ending a batch. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new Error("the schedules were closed"));
    await Promise.all([this.#looking, this.#runs.close()]);
  }

  #put(schedule: Schedule): void {
    if (!this.#removed.has(schedule.uid)) this.#schedules.set(schedule.uid, schedule);
  }

  #drop(uid: string): void {
    this.#schedules.delete(uid);
    this.#removed.add(uid);
    const [oldest] = this.#removed;
    if (this.#removed.size > REMOVED_LIMIT && oldest !== undefined) this.#removed.delete(oldest);
  }

  #known(nameOrUid: string): Schedule | undefined {
    return this.#schedules.get(nameOrUid) ?? [...this.#schedules.values()].find(({ name }) => name === nameOrUid);
  }

  #checkOn(): void {
    const off = this.#off ?? this.#parts.launcher.schedules.off;
    if (off !== null) throw new Problem("NOT_SUPPORTED", `There are no schedules here: ${off}`);
  }

  #checkLimit(owner: string | null): void {
    const { maxSchedulesPerUser } = this.#parts.limits;
    const coming = [...this.#coming].filter(({ name }) => this.#known(name) === undefined);
    const own = [...this.#schedules.values(), ...coming].filter((other) => other.owner === owner);
    if (maxSchedulesPerUser === 0 || own.length < maxSchedulesPerUser) return;
    throw new Problem(
      "TOO_MANY_SCHEDULES",
      `Rejected, too many schedules of ${owner ?? "this server"}: the limit per user is ${maxSchedulesPerUser}. Delete one that is not needed.`,
    );
  }

  /** What can be known now of whether its batches will be refused; answers whom Spark is to run as. */
  async #admit(request: BatchRequest, caller: Caller, signal: AbortSignal): Promise<string | null> {
    if (isTooDeep(request)) throw new Problem("INVALID", "batch is nested too deeply to be kept.");
    const draft = await this.#parts.read(request, caller);
    const { proxyUser } = draft.spec;
    this.#parts.access.checkProxyUser(caller, proxyUser);
    await this.#parts.launcher.plan(draft, signal);
    return proxyUser;
  }
}

const notFound = (name: string): Problem => new Problem("SCHEDULE_NOT_FOUND", `Schedule '${name.slice(0, 100)}' not found.`);
