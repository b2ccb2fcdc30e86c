import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { publishSession } from "../../core/events.ts";
import { Problem } from "../../core/problems.ts";
import {
  type BatchRequest,
  nameTaken,
  type Run,
  type RunEnd,
  redactRequest,
  type Schedule,
  type ScheduleChange,
  type ScheduleDraft,
  type ScheduleKeeper,
  type ScheduleListener,
} from "../../core/schedule.ts";
import { type Api, isStatus } from "./api.ts";
import {
  type CronJob,
  cronJob,
  cronJobName,
  cronJobPatch,
  type Job,
  jobBegun,
  jobStatus,
  makingOf,
  partSelector,
  REQUEST_PART,
  RUN_PART,
  readCronJob,
  readJob,
  requestOf,
  SCHEDULE_LABEL,
  SCHEDULE_PART,
  secretOf,
} from "./cron-job.ts";
import { instanceLabels } from "./names.ts";
import { SCHEDULE_RIGHTS } from "./rights.ts";
import { lackingRights, ownAccount } from "./rights-review.ts";
import type { PodSettings } from "./settings.ts";
import { type Stored, Watch } from "./watch.ts";

interface SecretObject extends Stored {
  readonly data?: Readonly<Record<string, string>>;
}

/** Nothing of a schedule is worth waiting for longer. */
const STORE_MS = 30_000;
const UNDO_MS = 10_000;
/** Annotations of an object may have 256 KiB in all. */
const REQUEST_LIMIT_BYTES = 200 * 1024;
/** A Secret follows its CronJob at once. */
const SECRET_GRACE_MS = 60_000;
/** All servers hear of a run at the same moment; most then find that another has taken it. */
const SPREAD_MS = 300;

/** Schedules as CronJobs of the server's own namespace, runs as their Jobs, which nobody makes pods of. */
export class CronJobs implements ScheduleKeeper {
  readonly #api: Api;
  readonly #namespace: string;
  readonly #settings: PodSettings;
  /** Names of the runs' Jobs, by uid. */
  readonly #jobs = new Map<string, string>();
  /** Why what is watched may not be read now. */
  readonly #refusals = new Map<string, string>();
  #watches: readonly { close(): Promise<void> }[] = [];

  constructor(api: Api, namespace: string, settings: PodSettings) {
    this.#api = api;
    this.#namespace = namespace;
    this.#settings = settings;
  }

  async follow(listener: ScheduleListener, signal: AbortSignal): Promise<string | null> {
    const lacking = await this.#lacking(signal);
    if (lacking !== null) return lacking;
    try {
      // A watch tries for ever; what is not allowed is to be known now.
      for (const path of [this.#cronJobs, this.#jobsPath]) await this.#api.get(path, signal, { limit: 1 });
    } catch (error) {
      if (isStatus(error, 403)) return mayNot(error.message);
      throw error;
    }
    try {
      await this.#watch(listener, signal);
      return null;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #watch(listener: ScheduleListener, signal: AbortSignal): Promise<void> {
    const { instance } = this.#settings;
    const fault = (detail: string) => publishSession({ session: -1, event: "fault", detail });
    const schedules = new Watch<CronJob>(this.#api, {
      path: this.#cronJobs,
      query: { labelSelector: partSelector(instance, SCHEDULE_PART) },
      changed: (item) => listener.scheduled(readCronJob(item)),
      gone: ({ metadata: { uid } }) => listener.unscheduled({ uid }),
      keep: ({ metadata, spec }) => ({ metadata, spec: { ...spec, jobTemplate: {} } }),
      refused: (why) => this.#noteRefusal(SCHEDULE_PART, why),
      fault,
    });
    this.#watches = [schedules];
    // Who takes up a run asks for its schedule.
    await unless(signal, schedules.synced);
    const runs = new Watch<Job>(this.#api, {
      path: this.#jobsPath,
      query: { labelSelector: partSelector(instance, RUN_PART) },
      changed: (job) => this.#changed(job, listener),
      gone: (job) => this.#gone(job, listener),
      keep: ({ metadata: { annotations: _, ...metadata } }) => ({ metadata }),
      refused: (why) => this.#noteRefusal(RUN_PART, why),
      fault,
    });
    this.#watches = [schedules, runs];
    await unless(signal, runs.synced);
  }

  #noteRefusal(part: string, why: string | null): void {
    if (why === null) this.#refusals.delete(part);
    else this.#refusals.set(part, mayNot(why));
  }

  get off(): string | null {
    const [refusal = null] = this.#refusals.values();
    return refusal;
  }

  /** What of all that schedules need the server may not do now; null: nothing, or that cannot be asked. */
  async #lacking(signal: AbortSignal): Promise<string | null> {
    const places = { server: this.#namespace, sessions: this.#settings.namespace };
    try {
      const lacking = await lackingRights(
        places,
        SCHEDULE_RIGHTS,
        ownAccount(this.#api, () => signal),
      );
      return lacking.length === 0 ? null : mayNot(`it may not ${lacking.join(", ")}.`);
    } catch (error) {
      if (isStatus(error, 403, 404)) return null;
      throw error;
    }
  }

  #changed(job: Job, listener: ScheduleListener): void {
    // Whoever deletes it waits for what belongs to it, in the foreground.
    if (job.metadata.deletionTimestamp !== undefined) return this.#gone(job, listener);
    this.#jobs.set(job.metadata.uid, job.metadata.name);
    listener.run(readJob(job));
  }

  #gone({ metadata: { uid } }: Job, listener: ScheduleListener): void {
    this.#jobs.delete(uid);
    listener.gone({ uid });
  }

  create(draft: ScheduleDraft, signal: AbortSignal): Promise<Schedule> {
    return storing(signal, async (within) => {
      // One whose runs nobody may follow is not made.
      const lacking = await this.#lacking(within);
      if (lacking !== null) throw new Problem("NOT_SUPPORTED", `There are no schedules here: ${lacking}`);
      const secret = this.#secretFor(draft.request);
      const made = await this.#make(draft, secret, within);
      if (secret !== null) {
        await this.#keepSecret(secret, draft.request, made, within).catch(async (error: unknown) => {
          await this.#unmake(made).catch(() => undefined);
          throw error;
        });
      }
      return readCronJob(made);
    });
  }

  async #make(draft: ScheduleDraft, secret: string | null, signal: AbortSignal): Promise<CronJob> {
    const making = randomUUID();
    try {
      return await this.#api.create<CronJob>(this.#cronJobs, cronJob(draft, { secret, making }, this.#settings), signal);
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
      // The answer to an attempt before was lost.
      const present = await this.#look<CronJob>(this.#cronJobPath(draft.name), signal);
      if (present !== null && makingOf(present) === making) return present;
      throw nameTaken(draft.name, { cause: error });
    }
  }

  #unmake({ metadata: { name, uid } }: CronJob): Promise<void> {
    return this.#api.delete(`${this.#cronJobs}/${name}`, AbortSignal.timeout(UNDO_MS), { preconditions: { uid } });
  }

  find(name: string, signal: AbortSignal): Promise<Schedule | null> {
    return storing(signal, async (within) => {
      if (!/^[a-z][-a-z0-9]*$/.test(name)) return null;
      const found = await this.#look<CronJob>(this.#cronJobPath(name), within);
      return found?.metadata.labels?.[SCHEDULE_LABEL] === name ? readCronJob(found) : null;
    });
  }

  change(schedule: Schedule, change: ScheduleChange, signal: AbortSignal): Promise<Schedule | null> {
    return storing(signal, async (within) => {
      const path = this.#cronJobPath(schedule.name);
      const before = await this.#look<CronJob>(path, within);
      if (before?.metadata.uid !== schedule.uid) return null;
      const { batch } = change;
      const secret = batch === undefined ? null : this.#secretFor(batch.request);
      // Before a run may look for it.
      if (batch !== undefined && secret !== null) await this.#keepSecret(secret, batch.request, before, within);
      const after = await this.#patch(path, { metadata: { uid: schedule.uid }, ...cronJobPatch(change, secret) }, within);
      if (after === null) return null;
      const old = batch === undefined ? null : secretOf(before.spec.jobTemplate);
      if (old !== null) await this.#api.delete(`${this.#secrets}/${old}`, within);
      return readCronJob(after);
    });
  }

  /** Null when it is gone, whether or not another has its name by now. */
  async #patch(path: string, patch: object, signal: AbortSignal): Promise<CronJob | null> {
    return this.#api.merge<CronJob>(path, patch, signal).catch((error: unknown) => {
      if (isStatus(error, 404, 409)) return null;
      throw error;
    });
  }

  /** Jobs and Secret belong to the CronJob: Kubernetes removes them after it. */
  remove({ name, uid }: Schedule, signal: AbortSignal): Promise<void> {
    return storing(signal, async (within) => {
      const options = { propagationPolicy: "Background", preconditions: { uid } };
      await this.#api.delete(this.#cronJobPath(name), within, options).catch((error: unknown) => {
        // Another of that name is there by now.
        if (!isStatus(error, 409)) throw error;
      });
    });
  }

  /** Says in the Job that the run begins, first of all: who may not write there must make no batch that nobody could write there. */
  async request(run: Run, signal: AbortSignal): Promise<BatchRequest | null> {
    await pause(Math.random() * SPREAD_MS, undefined, { signal });
    const job = await this.#job(run, signal);
    if (job === null) return null;
    if (job.status?.startTime === undefined) await this.#write(run, jobBegun, signal);
    const secret = secretOf(job);
    if (secret === null) return requestOf(job);
    const stored = await this.#secretRequest(secret, signal);
    if (stored !== null) return stored;
    if (Date.now() - run.createdMs < SECRET_GRACE_MS) throw new Error(`Secret ${secret} is not there yet`);
    return this.#changedRequest(run, signal);
  }

  /** What the run's schedule is to run by now. */
  async #changedRequest({ schedule: { name, uid } }: Run, signal: AbortSignal): Promise<BatchRequest | null> {
    const present = await this.#look<CronJob>(this.#cronJobPath(name), signal);
    if (present?.metadata.uid !== uid) return null;
    const secret = secretOf(present.spec.jobTemplate);
    return secret === null ? readCronJob(present).request : this.#secretRequest(secret, signal);
  }

  async #secretRequest(name: string, signal: AbortSignal): Promise<BatchRequest | null> {
    const stored = await this.#look<SecretObject>(`${this.#secrets}/${name}`, signal);
    if (stored === null) return null;
    return JSON.parse(Buffer.from(stored.data?.["request.json"] ?? "", "base64").toString()) as BatchRequest;
  }

  accepted(run: Run, batch: number, signal: AbortSignal): Promise<void> {
    return this.#write(run, (job) => jobStatus(job, batch, null), signal);
  }

  conclude(run: Run, end: RunEnd, signal: AbortSignal): Promise<void> {
    const ended = (job: Job) => {
      const { batch } = readJob(job);
      if (run.batch === null && batch !== null) throw new Error(`another server has made it batch ${batch}`);
      return jobStatus(job, batch ?? run.batch, end);
    };
    return this.#write(run, ended, signal);
  }

  /** Never over an end that is there. */
  async #write(run: Run, status: (job: Job) => object, signal: AbortSignal): Promise<void> {
    for (;;) {
      const job = await this.#job(run, signal);
      if (job === null || readJob(job).end !== null) return;
      const { name, resourceVersion } = job.metadata;
      try {
        await this.#api.merge<Job>(`${this.#jobsPath}/${name}/status`, { metadata: { resourceVersion }, ...status(job) }, signal);
        return;
      } catch (error) {
        if (isStatus(error, 404)) return;
        if (!isStatus(error, 409)) throw error;
      }
    }
  }

  /** As it is now; null when it is gone. */
  async #job({ uid }: Run, signal: AbortSignal): Promise<Job | null> {
    const name = this.#jobs.get(uid);
    const job = name === undefined ? null : await this.#look<Job>(`${this.#jobsPath}/${name}`, signal);
    return job?.metadata.uid === uid ? job : null;
  }

  async close(): Promise<void> {
    await Promise.all(this.#watches.map((watch) => watch.close()));
  }

  /** The name of the Secret that is to hold the request; null: nothing in it is secret. */
  #secretFor(request: BatchRequest): string | null {
    const shown = JSON.stringify(redactRequest(request));
    if (Buffer.byteLength(shown) > REQUEST_LIMIT_BYTES)
      throw new Problem("SPEC_REFUSED", `Rejected, Reason: a schedule's batch may have ${REQUEST_LIMIT_BYTES} bytes of JSON.`);
    return shown === JSON.stringify(request) ? null : `${this.#settings.instance}-schedule-${randomBytes(8).toString("hex")}`;
  }

  async #keepSecret(name: string, request: BatchRequest, { metadata }: CronJob, signal: AbortSignal): Promise<void> {
    const ownerReferences = [{ apiVersion: "batch/v1", kind: "CronJob", name: metadata.name, uid: metadata.uid }];
    const secret = {
      metadata: { name, labels: instanceLabels(this.#settings.instance, REQUEST_PART), ownerReferences },
      type: "Opaque",
      immutable: true,
      stringData: { "request.json": JSON.stringify(request) },
    };
    await this.#api.create(this.#secrets, secret, signal).catch((error: unknown) => {
      // The answer to an attempt before was lost.
      if (!isStatus(error, 409)) throw error;
    });
  }

  async #look<T>(path: string, signal: AbortSignal): Promise<T | null> {
    return this.#api.get<T>(path, signal).catch((error: unknown) => {
      if (isStatus(error, 404)) return null;
      throw error;
    });
  }

  get #cronJobs(): string {
    return `apis/batch/v1/namespaces/${this.#namespace}/cronjobs`;
  }
  get #jobsPath(): string {
    return `apis/batch/v1/namespaces/${this.#namespace}/jobs`;
  }
  get #secrets(): string {
    return `api/v1/namespaces/${this.#namespace}/secrets`;
  }
  #cronJobPath(name: string): string {
    return `${this.#cronJobs}/${cronJobName(this.#settings.instance, name)}`;
  }
}

const mayNot = (why: string): string => `the server's account may not use CronJobs and Jobs (docs/kubernetes.md has the Role): ${why}`;

/** Waits, but no longer than the signal says. */
const unless = async (signal: AbortSignal, wait: Promise<void>): Promise<void> => {
  const given = Promise.withResolvers<never>();
  const giveUp = () => given.reject(signal.reason);
  signal.addEventListener("abort", giveUp, { once: true });
  if (signal.aborted) giveUp();
  await Promise.race([wait, given.promise]).finally(() => signal.removeEventListener("abort", giveUp));
};

/** The API server's refusals as Problems. */
const storing = async <T>(signal: AbortSignal, work: (within: AbortSignal) => Promise<T>): Promise<T> => {
  try {
    return await work(AbortSignal.any([signal, AbortSignal.timeout(STORE_MS)]));
  } catch (error) {
    if (error instanceof Problem) throw error;
    if (isStatus(error, 400, 413, 422)) throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${error.message}`, { cause: error });
    const why = error instanceof Error ? error.message : String(error);
    if (isStatus(error, 403)) throw new Problem("NOT_SUPPORTED", `Kubernetes refuses the schedule: ${why}`, { cause: error });
    throw new Problem("DRIVER_UNREACHABLE", `Kubernetes cannot be asked about schedules now: ${why}.`, { cause: error });
  }
};
