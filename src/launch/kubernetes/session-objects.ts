import { setTimeout as pause } from "node:timers/promises";
import { type Api, type ApiCall, ApiError, isStatus } from "./api.ts";
import type { DriverObjects } from "./driver.ts";
import { endOfLog, type NumberedLines } from "./log-end.ts";
import { ROLE_LABEL, SESSION_LABEL, TAG_LABEL } from "./names.ts";
import type { DriverPod } from "./pod-reading.ts";
import type { Stored } from "./watch.ts";

/** What a session has in the cluster besides its claim, and how to get at it. */
export interface SessionPlace {
  readonly api: Api;
  readonly namespace: string;
  /** Of the pod, the Secret and the ConfigMap. */
  readonly name: string;
  /** The session's. */
  readonly uid: string;
}

/** A pod whose node does not answer is forgotten so long after its grace: the kubelet ends it when it comes back. */
const UNREACHABLE_MS = 60_000;
const DELETE_MS = 120_000;
/** What only tells more is not waited for longer. */
const LOG_MS = 5_000;
const WHOLE_LOG_MS = 20_000;
const TAIL_LINES = 1_000;
const FIRST_LOOK_MS = 50;
const LOOK_LIMIT_MS = 1_000;

const pathOf = ({ namespace }: SessionPlace, kind: string): string => `api/v1/namespaces/${namespace}/${kind}`;

/**
 * Makes what is not there yet and answers the pod. Several servers may do it at once.
 * @throws ApiError as Kubernetes refuses it; 422 when something of that name belongs to somebody else
 */
export const makeSession = async (
  place: SessionPlace,
  { pod, secret, configMap }: DriverObjects,
  signal: AbortSignal,
): Promise<DriverPod> => {
  const make = async <T extends Stored>(kind: string, object: unknown): Promise<T> => {
    for (;;) {
      try {
        return await place.api.create<T>(pathOf(place, kind), object, signal);
      } catch (error) {
        if (!isStatus(error, 409)) throw error;
      }
      const present = await presentObject<T>(place, kind, signal);
      if (present?.metadata.labels?.[SESSION_LABEL] === place.uid) return present;
      if (present !== null) throw new ApiError(422, "Conflict", `${kind} ${place.name} is there already and belongs to somebody else`, 0);
    }
  };
  // The pod last: a mount that comes late costs a second.
  await Promise.all([make("secrets", secret), make("configmaps", configMap)]);
  return make<DriverPod>("pods", pod);
};

/** The session's pod, null when there is none. */
export const presentPod = async (place: SessionPlace, signal: AbortSignal): Promise<DriverPod | null> => {
  const pod = await presentObject<DriverPod>(place, "pods", signal);
  return pod?.metadata.labels?.[SESSION_LABEL] === place.uid ? pod : null;
};

const presentObject = async <T extends Stored>(place: SessionPlace, kind: string, signal: AbortSignal): Promise<T | null> => {
  try {
    return await place.api.get<T>(`${pathOf(place, kind)}/${place.name}`, signal);
  } catch (error) {
    if (isStatus(error, 404)) return null;
    throw error;
  }
};

/** Secret and ConfigMap belong to the pod from then on, and go with it. */
export const ownSession = async (place: SessionPlace, podUid: string, signal: AbortSignal): Promise<void> => {
  const ownerReferences = [{ apiVersion: "v1", kind: "Pod", name: place.name, uid: podUid }];
  const own = (kind: string) =>
    place.api.merge(`${pathOf(place, kind)}/${place.name}`, { metadata: { ownerReferences } }, signal).catch((error: unknown) => {
      if (!isStatus(error, 404)) throw error;
    });
  await Promise.all([own("secrets"), own("configmaps")]);
};

/** The last lines that a container of the pod wrote, of this life or of the one before; none when they cannot be had. */
export const readLog = async (place: SessionPlace, container: string | undefined, signal: AbortSignal): Promise<readonly string[]> => {
  const within = AbortSignal.any([signal, AbortSignal.timeout(LOG_MS)]);
  const read = (previous: boolean) => logText(place, { container, previous, tailLines: TAIL_LINES }, within);
  return ((await read(false)) || (await read(true))).split("\n").filter((line) => line !== "");
};

/** What a container of the pod wrote in this life, as far as its node keeps it and it can be held; nothing when it cannot be had. */
export const readWholeLog = (place: SessionPlace, container: string | undefined, signal: AbortSignal): Promise<NumberedLines> => {
  const within = AbortSignal.any([signal, AbortSignal.timeout(WHOLE_LOG_MS)]);
  return place.api
    .read(`${pathOf(place, "pods")}/${place.name}/log`, { container }, endOfLog, within)
    .catch(() => ({ from: 0, lines: [] }));
};

const logText = async (place: SessionPlace, query: ApiCall["query"], signal: AbortSignal): Promise<string> => {
  const text = await place.api.get<unknown>(`${pathOf(place, "pods")}/${place.name}/log`, signal, query).catch(() => "");
  return typeof text === "string" ? text : "";
};

/**
 * Deletes the driver's pod, executors, Secret and ConfigMap and waits until they are gone; what belongs to the driver's pod besides
 * (executors' ConfigMap, claims on demand) goes with it. Idempotent.
 */
export const eraseSession = async (place: SessionPlace, graceMs: number, signal: AbortSignal): Promise<void> => {
  const { api, name } = place;
  const pods = pathOf(place, "pods");
  // Not those of another attempt, which another server may have begun already.
  const of = `${SESSION_LABEL}=${place.uid},${TAG_LABEL}=${name}`;
  const within = AbortSignal.any([signal, AbortSignal.timeout(graceMs + UNREACHABLE_MS + DELETE_MS)]);
  const executors = { labelSelector: `${of},${ROLE_LABEL}=executor` };
  const end = (gracePeriodSeconds: number) => api.delete(`${pods}/${name}`, within, { gracePeriodSeconds });
  await end(Math.ceil(graceMs / 1_000));
  const forcedMs = Date.now() + graceMs + UNREACHABLE_MS;
  for (let waitMs = FIRST_LOOK_MS; ; waitMs = Math.min(2 * waitMs, LOOK_LIMIT_MS)) {
    const { items } = await api.list<Stored>(pods, { labelSelector: of }, within);
    if (items.length === 0) break;
    const driver = items.find((item) => item.metadata.name === name);
    if (driver === undefined) await api.delete(pods, within, { gracePeriodSeconds: 0 }, executors);
    // Another server made it since: it did not know yet that the session ends.
    else if (driver.metadata.deletionTimestamp === undefined) await end(Math.ceil(graceMs / 1_000));
    else if (Date.now() > forcedMs) await end(0);
    await pause(waitMs, undefined, { signal: within });
  }
  await eraseMounts(place, within);
};

/** Deletes what the driver's pod mounts. Idempotent. */
export const eraseMounts = async (place: SessionPlace, signal: AbortSignal): Promise<void> => {
  await Promise.all(["secrets", "configmaps"].map((kind) => place.api.delete(`${pathOf(place, kind)}/${place.name}`, signal)));
};
