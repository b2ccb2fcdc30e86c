import { randomUUID } from "node:crypto";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Static, Type } from "typebox";
import { nextDueMs } from "../core/cron.ts";
import { publishSession } from "../core/events.ts";
import type { Clock } from "../core/ports.ts";
import {
  BatchRequest,
  nameTaken,
  Run,
  type RunEnd,
  redactRequest,
  type Schedule,
  type ScheduleChange,
  type ScheduleDraft,
  type ScheduleKeeper,
  type ScheduleListener,
  Timing,
} from "../core/schedule.ts";
import { readWhole, storing, writeWhole } from "./files.ts";
import { dueRun, forgotten, lastBeforeSetBack } from "./ticking.ts";

const Text = Type.String();
const Nullable = Type.Union([Text, Type.Null()]);
const Stored = Type.Object({
  uid: Text,
  name: Text,
  owner: Nullable,
  proxyUser: Nullable,
  timing: Timing,
  /** With its secrets: the directory is the server's alone. */
  request: BatchRequest,
  createdMs: Type.Integer(),
  lastMs: Type.Union([Type.Integer(), Type.Null()]),
  runs: Type.Array(Run),
});
type Stored = Static<typeof Stored>;

/** A machine that slept or whose clock was set looks again after so long. */
const LOOK_EVERY_MS = 30_000;

/**
 * Schedules as files, one each, ticked by a timer in the server. A run is written down, with the time it was due at, before anybody is told
 * of it: whatever dies, it is there once.
 */
export class LocalSchedules implements ScheduleKeeper {
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #byName = new Map<string, Stored>();
  #listener: ScheduleListener | null = null;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  /** One change at a time. */
  #changing: Promise<unknown> = Promise.resolve();

  constructor(directory: string, clock: Clock) {
    this.#directory = directory;
    this.#clock = clock;
  }

  async follow(listener: ScheduleListener, signal: AbortSignal): Promise<null> {
    for (const file of await readdir(this.#directory)) {
      signal.throwIfAborted();
      if (!file.endsWith(".json")) continue;
      const stored = await readWhole(join(this.#directory, file), Stored).catch((error: unknown) => {
        fault(`schedule ${file} cannot be read and is left out: ${String(error)}`);
        return null;
      });
      if (stored === null) continue;
      this.#byName.set(stored.name, stored);
      listener.scheduled(shown(stored));
      for (const run of stored.runs) listener.run(run);
    }
    this.#listener = listener;
    await this.tick();
    return null;
  }

  create(draft: ScheduleDraft): Promise<Schedule> {
    return this.#alone(async () => {
      if (this.#byName.has(draft.name)) throw nameTaken(draft.name);
      const stored = { ...draft, uid: randomUUID(), createdMs: this.#clock.now(), lastMs: null, runs: [] };
      await this.#write(stored);
      return shown(stored);
    });
  }

  /** The files are this server's alone. */
  readonly off = null;

  async find(): Promise<null> {
    return null;
  }

  change({ name, uid }: Schedule, { timing, batch }: ScheduleChange): Promise<Schedule | null> {
    return this.#alone(async () => {
      const before = this.#byName.get(name);
      if (before?.uid !== uid) return null;
      const after = { ...before, ...batch, timing: { ...before.timing, ...timing } };
      await this.#keep(after);
      return shown(after);
    });
  }

  remove({ name, uid }: Schedule): Promise<void> {
    return this.#alone(async () => {
      const stored = this.#byName.get(name);
      if (stored?.uid !== uid) return;
      await rm(this.#path(name), { force: true });
      this.#byName.delete(name);
      this.#listener?.unscheduled({ uid });
      for (const run of stored.runs) this.#listener?.gone(run);
    });
  }

  async request({ schedule }: Run): Promise<BatchRequest | null> {
    const stored = this.#byName.get(schedule.name);
    return stored?.uid === schedule.uid ? stored.request : null;
  }

  accepted(run: Run, batch: number): Promise<void> {
    return this.#changeRun(run, (present) => ({ ...present, batch }));
  }

  conclude(run: Run, end: RunEnd): Promise<void> {
    return this.#changeRun(run, (present) => ({ ...present, end: present.end ?? end }));
  }

  async #changeRun({ uid, schedule }: Run, change: (run: Run) => Run): Promise<void> {
    await this.#alone(async () => {
      const stored = this.#byName.get(schedule.name);
      const present = stored?.runs.find((run) => run.uid === uid);
      if (stored === undefined || present === undefined) return;
      const changed = change(present);
      await this.#keep({ ...stored, runs: stored.runs.map((run) => (run === present ? changed : run)) });
      if (this.#byName.get(schedule.name)?.runs.includes(changed) === true) this.#listener?.run(changed);
    });
  }

  /** Writes it without the runs that are history no longer. */
  async #keep(stored: Stored): Promise<void> {
    const past = forgotten(stored);
    await this.#write({ ...stored, runs: stored.runs.filter((run) => !past.includes(run)) });
    for (const run of past) this.#listener?.gone(run);
  }

  /** Begins the runs that are due, and sets the timer for the next ones. The timer calls it; so does who moves the clock. */
  tick(): Promise<void> {
    return this.#alone(async () => undefined);
  }

  /** Changes come one after the other, and after each it is looked what is due by then. */
  #alone<Value>(work: () => Promise<Value>): Promise<Value> {
    const changing = this.#changing.then(() => storing(work));
    this.#changing = changing.then(
      () => this.#begin(),
      () => undefined,
    );
    // Whoever waits for the change waits for what follows of it.
    return this.#changing.then(() => changing);
  }

  async #begin(): Promise<void> {
    if (this.#listener === null || this.#closed) return;
    for (const stored of [...this.#byName.values()]) {
      await this.#beginOf(stored).catch((error: unknown) => fault(`schedule ${stored.name} cannot begin a run: ${String(error)}`));
    }
    this.#setTimer();
  }

  async #beginOf(stored: Stored): Promise<void> {
    const nowMs = this.#clock.now();
    const setBackMs = lastBeforeSetBack(stored, nowMs);
    if (setBackMs !== null) return this.#write({ ...stored, lastMs: setBackMs });
    const due = dueRun(stored, nowMs);
    if (due === null) return;
    const { uid, name, owner, runs } = stored;
    const { dueMs, replaced } = due;
    const run: Run = { uid: randomUUID(), schedule: { uid, name }, owner, dueMs, createdMs: nowMs, batch: null, end: null };
    await this.#write({ ...stored, lastMs: dueMs, runs: [...runs.filter((other) => !replaced.includes(other)), run] });
    for (const other of replaced) this.#listener?.gone(other);
    this.#listener?.run(run);
  }

  #setTimer(): void {
    clearTimeout(this.#timer);
    const nowMs = this.#clock.now();
    const next = [...this.#byName.values()].flatMap(({ timing }) => (timing.suspend ? [] : [nextMs(timing, nowMs)]));
    if (next.length === 0) return;
    const waitMs = Math.max(
      0,
      next.reduce((least, ms) => Math.min(least, ms - nowMs), LOOK_EVERY_MS),
    );
    this.#timer = setTimeout(() => void this.tick(), waitMs).unref();
  }

  async #write(stored: Stored): Promise<void> {
    await writeWhole(this.#path(stored.name), JSON.stringify(stored));
    this.#byName.set(stored.name, stored);
    this.#listener?.scheduled(shown(stored));
  }

  #path(name: string): string {
    return join(this.#directory, `${name}.json`);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#changing;
    clearTimeout(this.#timer);
  }
}

const fault = (detail: string): void => publishSession({ session: -1, event: "fault", detail });

/** When to look again; Unix ms. A schedule that a hand has written, or another tz database, is left to be looked at now and then. */
const nextMs = ({ schedule, timeZone }: Timing, nowMs: number): number => {
  try {
    return nextDueMs(schedule, timeZone, nowMs) ?? Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
};

const shown = ({ runs: _, request, ...schedule }: Stored): Schedule => ({ ...schedule, request: redactRequest(request) });
