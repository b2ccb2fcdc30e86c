import { setTimeout as pause } from "node:timers/promises";
import { ApiError, isStatus } from "./api.ts";
import { SESSION_LABEL } from "./names.ts";
import { type Refusal, readRefusal } from "./refusals.ts";
import { eraseSession, type SessionPlace } from "./session-objects.ts";
import { applicationsPath, OPERATOR, type SparkApplicationObject } from "./spark-application.ts";
import type { SparkApplication } from "./spark-application-reading.ts";

/** A finalizer of somebody's may keep a SparkApplication for a while after all else has gone. */
const FINALIZED_MS = 60_000;
const FIRST_LOOK_MS = 50;
const LOOK_LIMIT_MS = 1_000;

/**
 * Makes the SparkApplication unless it is there, and answers it. Several servers may do it at once.
 * @throws ApiError as Kubernetes refuses it; 422 when something of that name belongs to somebody else
 */
export const makeApplication = async (
  place: SessionPlace,
  object: SparkApplicationObject,
  signal: AbortSignal,
): Promise<SparkApplication> => {
  for (;;) {
    try {
      // What the installed version of the CRD does not know is refused, not left out.
      return await place.api.create<SparkApplication>(`${applicationsPath(place.namespace)}?fieldValidation=Strict`, object, signal);
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
    }
    const present = await getApplication(place, signal);
    if (present?.metadata.labels?.[SESSION_LABEL] === place.uid) return present;
    if (present !== null)
      throw new ApiError(422, "Conflict", `SparkApplication ${place.name} is there already and belongs to somebody else`, 0);
  }
};

/** The batch's SparkApplication, null when there is none. */
export const presentApplication = async (place: SessionPlace, signal: AbortSignal): Promise<SparkApplication | null> => {
  const application = await getApplication(place, signal);
  return application?.metadata.labels?.[SESSION_LABEL] === place.uid ? application : null;
};

const getApplication = async ({ api, namespace, name }: SessionPlace, signal: AbortSignal): Promise<SparkApplication | null> => {
  try {
    return await api.get<SparkApplication>(applicationsPath(namespace, name), signal);
  } catch (error) {
    if (isStatus(error, 404)) return null;
    throw error;
  }
};

/**
 * Deletes the SparkApplication, its driver and its executors and waits until they are gone. The operator leaves a driver alone whose pod
 * began from a template: nothing in Kubernetes says that it belongs to the object. Idempotent.
 */
export const eraseApplication = async (place: SessionPlace, graceMs: number, signal: AbortSignal): Promise<void> => {
  const { api, namespace, name } = place;
  await api.delete(applicationsPath(namespace, name), signal);
  await eraseSession(place, graceMs, signal);
  const within = AbortSignal.any([signal, AbortSignal.timeout(FINALIZED_MS)]);
  for (let waitMs = FIRST_LOOK_MS; (await presentApplication(place, within)) !== null; waitMs = Math.min(2 * waitMs, LOOK_LIMIT_MS))
    await pause(waitMs, undefined, { signal: within });
};

/** A refusal in words for the person who asked for the batch. */
export const readApplicationRefusal = (error: ApiError): Refusal => {
  const { status, message } = error;
  if (status === 404 && !/namespaces? "/.test(message))
    return {
      passing: false,
      reason: `The Spark Operator is not installed: the cluster has no ${OPERATOR.resource}.${OPERATOR.group} of version v1beta2. The person who runs this server installs it, or sets kubernetesBatches to driver.`,
    };
  if (status === 400 && /strict decoding error|unknown field/.test(message))
    return { passing: false, reason: `The installed Spark Operator is too old for what is asked for: ${message}` };
  const { passing, reason } = readRefusal(error);
  return { passing, reason: reason.replace("Kubernetes refused the driver", "Kubernetes refused the SparkApplication") };
};
