import { type Static, Type } from "typebox";
import { Problem } from "./problems.ts";
import { redactAddresses, redactArguments, redactValue } from "./redaction.ts";

const Text = Type.String();

/** When runs begin and how they meet one another; names and meaning are those of Kubernetes' CronJob. */
export const Timing = Type.Object({
  schedule: Type.String({ description: "Five cron fields, or `@daily` and its like." }),
  timeZone: Type.String({ description: "A name of the tz database." }),
  concurrencyPolicy: Type.Enum(["Allow", "Forbid", "Replace"], { description: "What happens when a run is due while another one runs." }),
  startingDeadlineSeconds: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()], {
    description: "A run that could not begin so long after it was due is left out; null: it begins late.",
  }),
  suspend: Type.Boolean({ description: "Whether no runs begin." }),
  successfulJobsHistoryLimit: Type.Integer({ minimum: 0 }),
  failedJobsHistoryLimit: Type.Integer({ minimum: 0 }),
});
export type Timing = Static<typeof Timing>;

/** The body that `POST /batches` takes; faces read it, everybody else carries it. */
export const BatchRequest = Type.Record(Text, Type.Unknown());
export type BatchRequest = Static<typeof BatchRequest>;

/** What somebody asks for. */
export interface ScheduleDraft {
  readonly name: string;
  readonly owner: string | null;
  readonly proxyUser: string | null;
  readonly timing: Timing;
  /** With its secrets: the keeper keeps them where only servers can read them. */
  readonly request: BatchRequest;
}

/** What somebody asks to have changed. */
export interface ScheduleChange {
  readonly timing: Partial<Timing>;
  /** In place of the one before, with whom Spark is to run as; absent: it stays. */
  readonly batch?: { readonly request: BatchRequest; readonly proxyUser: string | null };
}

export interface Schedule {
  readonly uid: string;
  /** Unique among the schedules there are. */
  readonly name: string;
  readonly owner: string | null;
  readonly proxyUser: string | null;
  readonly timing: Timing;
  /** Redacted: safe to show. */
  readonly request: BatchRequest;
  readonly createdMs: number;
  /** When a run was due last that began; null: none has. */
  readonly lastMs: number | null;
}

export const RunEnd = Type.Object({
  state: Type.Enum(["success", "failed"]),
  reason: Text,
  endedMs: Type.Integer(),
});
export type RunEnd = Static<typeof RunEnd>;

/** One time that a schedule was due and was not left out. */
export const Run = Type.Object({
  uid: Type.String({ format: "uuid", description: "Its batch's too." }),
  schedule: Type.Object({ uid: Text, name: Text }),
  owner: Type.Union([Text, Type.Null()]),
  /** Unix ms. */
  dueMs: Type.Integer(),
  createdMs: Type.Integer(),
  /** The id of its batch; null: there is none yet, or there never was one. */
  batch: Type.Union([Type.Integer(), Type.Null()]),
  end: Type.Union([RunEnd, Type.Null()]),
});
export type Run = Static<typeof Run>;

/** Told of schedules and runs, whichever server or hand made, changed or removed them. Must not throw. */
export interface ScheduleListener {
  scheduled(schedule: Schedule): void;
  unscheduled(schedule: Pick<Schedule, "uid">): void;
  /** The run is there, or is another than before. */
  run(run: Run): void;
  /** It is not kept any more: it was replaced or deleted, or has ended and is history no longer. */
  gone(run: Pick<Run, "uid">): void;
}

/** Where schedules are kept, and what ticks: a cluster's CronJobs, or a timer beside local drivers. */
export interface ScheduleKeeper {
  /**
   * Tells of all that is there and resolves; then of what changes until it is closed. Answers why there can be no schedules; null: there
   * can. Rejects when that cannot be found out. Called again until it has told of all.
   */
  follow(listener: ScheduleListener, signal: AbortSignal): Promise<string | null>;
  /** Why what it has told of may be true no longer: what it could read it may not read now. Null: it is true. */
  readonly off: string | null;
  /**
   * Durable when it returns.
   * @throws Problem NAME_TAKEN, SPEC_REFUSED, NOT_SUPPORTED, DRIVER_UNREACHABLE
   */
  create(draft: ScheduleDraft, signal: AbortSignal): Promise<Schedule>;
  /** One that `follow` has not told of yet; null: there is none of that name. @throws Problem DRIVER_UNREACHABLE */
  find(name: string, signal: AbortSignal): Promise<Schedule | null>;
  /** Null when there is none any more. @throws Problem SPEC_REFUSED, DRIVER_UNREACHABLE */
  change(schedule: Schedule, change: ScheduleChange, signal: AbortSignal): Promise<Schedule | null>;
  /** Removes it and its runs; `gone` is told of each. Idempotent. @throws Problem DRIVER_UNREACHABLE */
  remove(schedule: Schedule, signal: AbortSignal): Promise<void>;
  /** What the run is to run, with its secrets. Null when that is gone for good. */
  request(run: Run, signal: AbortSignal): Promise<BatchRequest | null>;
  /** Writes down that the run has its batch; from then on nobody makes it another. Idempotent. */
  accepted(run: Run, batch: number, signal: AbortSignal): Promise<void>;
  /** Writes down how it ended. Idempotent; the first end stays. Rejects when it has no batch as far as `run` knows, and has one. */
  conclude(run: Run, end: RunEnd, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export const nameTaken = (name: string, options: { cause?: unknown } = {}): Problem =>
  new Problem("NAME_TAKEN", `Rejected, Reason: Duplicate schedule name: ${name}`, options);

/** The request without secrets: values of secret conf keys and arguments, credentials in addresses. */
export const redactRequest = (request: BatchRequest): BatchRequest => {
  const { conf, args } = request;
  return {
    ...Object.fromEntries(Object.entries(request).map(([field, value]) => [field, redactTexts(value)])),
    ...(typeof conf === "object" && conf !== null ? { conf: redactConf(conf) } : {}),
    ...(Array.isArray(args) ? { args: redactSome(args) } : {}),
  };
};

/** A text, or those of a list. */
const redactTexts = (value: unknown): unknown =>
  typeof value === "string" ? redactAddresses(value) : Array.isArray(value) ? value.map(redactTexts) : value;

const redactConf = (conf: object): object =>
  Object.fromEntries(
    Object.entries(conf).map(([key, value]) => {
      const shown = redactValue(key, String(value));
      return [key, shown === String(value) ? value : shown];
    }),
  );

/** Numbers and the like stay what they are. */
const redactSome = (args: readonly unknown[]): readonly unknown[] => {
  const texts = args.map(String);
  return redactArguments(texts).map((shown, index) => (shown === texts[index] ? args[index] : shown));
};
