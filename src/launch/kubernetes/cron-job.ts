import type { BatchRequest, Run, RunEnd, Schedule, ScheduleChange, ScheduleDraft, Timing } from "../../core/schedule.ts";
import { redactRequest } from "../../core/schedule.ts";
import { INSTANCE_LABEL, instanceLabels, OWNER_ANNOTATION } from "./names.ts";
import type { PodSettings } from "./settings.ts";
import type { Stored } from "./watch.ts";

/** Who sees to the Jobs of schedules: Kubernetes' own controller leaves those of others alone (from 1.32 on). */
const MANAGED_BY = "longwick.dev/batch";
export const SCHEDULE_LABEL = "longwick/schedule";
const REQUEST_ANNOTATION = "longwick/request";
const PROXY_USER_ANNOTATION = "longwick/proxy-user";
const SECRET_ANNOTATION = "longwick/request-secret";
const MAKING_ANNOTATION = "longwick/making";
const DUE_ANNOTATION = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/** On a Job: its batch was made; the message is its id. */
const ACCEPTED = "longwick.dev/Batch";

/** What a schedule's and a run's objects are called by in their label. */
export const SCHEDULE_PART = "schedule";
export const RUN_PART = "run";
export const REQUEST_PART = "schedule-request";

export interface CronJob extends Stored {
  readonly spec: {
    readonly schedule: string;
    readonly timeZone?: string;
    readonly concurrencyPolicy?: Timing["concurrencyPolicy"];
    readonly startingDeadlineSeconds?: number;
    readonly suspend?: boolean;
    readonly successfulJobsHistoryLimit?: number;
    readonly failedJobsHistoryLimit?: number;
    readonly jobTemplate: { readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> } };
  };
  readonly status?: { readonly lastScheduleTime?: string };
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
}

export interface Job extends Stored {
  readonly metadata: Stored["metadata"] & {
    readonly ownerReferences?: readonly { readonly kind: string; readonly name: string; readonly uid: string }[];
  };
  readonly status?: { readonly startTime?: string; readonly conditions?: readonly Condition[] };
}

type Request = ScheduleChange["batch"];

export const cronJobName = (instance: string, name: string): string => `${instance}-${name}`;

/**
 * A schedule as Kubernetes ticks it. `secret`: the name of the Secret with all of the request; null: nothing in it is secret. `making`: by
 * what whoever makes it knows it again.
 */
export const cronJob = (
  draft: ScheduleDraft,
  { secret, making }: { readonly secret: string | null; readonly making: string },
  settings: Pick<PodSettings, "instance" | "image">,
): object => {
  const { instance, image } = settings;
  return {
    apiVersion: "batch/v1",
    kind: "CronJob",
    metadata: {
      name: cronJobName(instance, draft.name),
      labels: { ...instanceLabels(instance, SCHEDULE_PART), [SCHEDULE_LABEL]: draft.name },
      annotations: { [MAKING_ANNOTATION]: making },
    },
    spec: {
      ...draft.timing,
      jobTemplate: {
        metadata: {
          labels: { ...instanceLabels(instance, RUN_PART), [SCHEDULE_LABEL]: draft.name },
          annotations: {
            ...(draft.owner === null ? {} : { [OWNER_ANNOTATION]: draft.owner }),
            ...Object.fromEntries(Object.entries(requestAnnotations(draft, secret)).filter(([, value]) => value !== null)),
          },
        },
        spec: {
          managedBy: MANAGED_BY,
          // Where Kubernetes is too old to leave it alone.
          suspend: true,
          backoffLimit: 0,
          template: { metadata: { labels: instanceLabels(instance, RUN_PART) }, spec: nobodysPod(image) },
        },
      },
    },
  };
};

/** A Job must say what its pods would be like; none is ever made. */
const nobodysPod = (image: string): object => ({
  restartPolicy: "Never",
  automountServiceAccountToken: false,
  securityContext: { runAsNonRoot: true, runAsUser: 65_534, seccompProfile: { type: "RuntimeDefault" } },
  containers: [
    {
      name: "none",
      image,
      command: ["false"],
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
      resources: { requests: { cpu: "1m", memory: "1Mi" }, limits: { cpu: "1m", memory: "1Mi" } },
    },
  ],
});

/** null takes an annotation away. */
const requestAnnotations = ({ request, proxyUser }: NonNullable<Request>, secret: string | null): Record<string, string | null> => ({
  [REQUEST_ANNOTATION]: JSON.stringify(redactRequest(request)),
  [PROXY_USER_ANNOTATION]: proxyUser,
  [SECRET_ANNOTATION]: secret,
});

/** A merge patch of a CronJob. */
export const cronJobPatch = ({ timing, batch }: ScheduleChange, secret: string | null): object => ({
  spec: { ...timing, ...(batch === undefined ? {} : { jobTemplate: { metadata: { annotations: requestAnnotations(batch, secret) } } }) },
});

/** What it is to run, without secrets. */
const readRequest = (annotations: Readonly<Record<string, string>> | undefined): BatchRequest => {
  try {
    const request: unknown = JSON.parse(annotations?.[REQUEST_ANNOTATION] ?? "{}");
    return typeof request === "object" && request !== null ? { ...request } : {};
  } catch {
    return {};
  }
};

export const readCronJob = ({ metadata, spec, status }: CronJob): Schedule => {
  const { annotations } = spec.jobTemplate.metadata ?? {};
  return {
    uid: metadata.uid,
    name: metadata.labels?.[SCHEDULE_LABEL] ?? metadata.name,
    owner: annotations?.[OWNER_ANNOTATION] ?? null,
    proxyUser: annotations?.[PROXY_USER_ANNOTATION] ?? null,
    timing: {
      schedule: spec.schedule,
      timeZone: spec.timeZone ?? "Etc/UTC",
      concurrencyPolicy: spec.concurrencyPolicy ?? "Allow",
      startingDeadlineSeconds: spec.startingDeadlineSeconds ?? null,
      suspend: spec.suspend ?? false,
      successfulJobsHistoryLimit: spec.successfulJobsHistoryLimit ?? 3,
      failedJobsHistoryLimit: spec.failedJobsHistoryLimit ?? 1,
    },
    request: readRequest(annotations),
    createdMs: timeOf(metadata.creationTimestamp),
    lastMs: status?.lastScheduleTime === undefined ? null : timeOf(status.lastScheduleTime),
  };
};

export const makingOf = ({ metadata }: CronJob): string | null => metadata.annotations?.[MAKING_ANNOTATION] ?? null;

export const secretOf = ({
  metadata,
}: {
  readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> };
}): string | null => metadata?.annotations?.[SECRET_ANNOTATION] ?? null;

export const requestOf = ({ metadata }: Job): BatchRequest => readRequest(metadata.annotations);

export const readJob = ({ metadata, status }: Job): Run => {
  const cronJobOf = metadata.ownerReferences?.find(({ kind }) => kind === "CronJob");
  const createdMs = timeOf(metadata.creationTimestamp);
  const batch = Number(conditionOf(status, ACCEPTED)?.message ?? Number.NaN);
  return {
    uid: metadata.uid,
    schedule: { uid: cronJobOf?.uid ?? "", name: metadata.labels?.[SCHEDULE_LABEL] ?? cronJobOf?.name ?? "" },
    owner: metadata.annotations?.[OWNER_ANNOTATION] ?? null,
    dueMs: timeOf(metadata.annotations?.[DUE_ANNOTATION]) || createdMs,
    createdMs,
    batch: Number.isSafeInteger(batch) ? batch : null,
    end: endOf(status),
  };
};

const endOf = (status: Job["status"]): RunEnd | null => {
  const [complete, failed] = [conditionOf(status, "Complete"), conditionOf(status, "Failed")];
  const end = complete ?? failed;
  if (end === undefined) return null;
  const state = end === complete ? "success" : "failed";
  return { state, reason: end.message ?? end.reason ?? "", endedMs: timeOf(end.lastTransitionTime) };
};

const conditionOf = (status: Job["status"], type: string): Condition | undefined =>
  status?.conditions?.find((condition) => condition.type === type && condition.status === "True");

const timeOf = (text: string | undefined): number => (text === undefined ? 0 : Date.parse(text) || 0);

/** The longest message of a condition. */
const MESSAGE_LIMIT = 2_000;

/**
 * The status of a Job whose batch was made, or has ended. Kubernetes wants its controllers' order of things: `SuccessCriteriaMet` before
 * `Complete`, `FailureTarget` before `Failed`, a start before either, and never takes an end back.
 */
export const jobStatus = ({ status, metadata }: Job, batch: number | null, end: RunEnd | null): object => {
  const now = stamp(Date.now());
  const condition = (type: string, reason: string, message: string) => ({
    ...{ type, status: "True", reason, message: message.slice(0, MESSAGE_LIMIT) },
    ...{ lastProbeTime: now, lastTransitionTime: now },
  });
  const conditions = batch === null ? [] : [condition(ACCEPTED, "Accepted", String(batch))];
  const startTime = status?.startTime ?? metadata.creationTimestamp ?? now;
  if (end === null) return { status: { startTime, conditions } };
  const [first, last] = end.state === "success" ? ["SuccessCriteriaMet", "Complete"] : ["FailureTarget", "Failed"];
  const reason = end.state === "success" ? "BatchSucceeded" : batch === null ? "BatchRefused" : "BatchFailed";
  return {
    status: {
      startTime,
      ...(end.state === "success" ? { completionTime: now } : {}),
      conditions: [...conditions, condition(first ?? "", reason, end.reason), condition(last ?? "", reason, end.reason)],
    },
  };
};

/** The status of a Job whose batch is about to be made. */
export const jobBegun = ({ status, metadata }: Job): object => ({
  status: { startTime: status?.startTime ?? metadata.creationTimestamp ?? stamp(Date.now()) },
});

/** As the API writes times: no parts of seconds. */
const stamp = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");

/** Objects of this instance's schedules, as a label selector. */
export const partSelector = (instance: string, part: string): string => `${INSTANCE_LABEL}=${instance},longwick/part=${part}`;
