import type { ExecutorView } from "../../core/ports.ts";
import { isStatus } from "./api.ts";
import { ROLE_LABEL, SESSION_LABEL } from "./names.ts";
import { EXECUTOR_CONTAINER } from "./pod.ts";
import type { SessionPlace } from "./session-objects.ts";
import type { Stored } from "./watch.ts";

interface ExecutorPod extends Stored {
  readonly spec?: { readonly containers?: readonly { readonly name: string }[] };
  readonly status?: { readonly phase?: string };
}

const ASK_MS = 10_000;
/** What one answer holds at most. */
const LOG_LIMIT_BYTES = 8 * 1024 * 1024;

/** The executors of a driver that are pods now. */
export const executorsOf = async (place: SessionPlace, signal: AbortSignal): Promise<readonly ExecutorView[]> => {
  const labelSelector = `${SESSION_LABEL}=${place.uid},${ROLE_LABEL}=executor`;
  const { items } = await place.api.list<ExecutorPod>(podsOf(place), { labelSelector }, within(signal));
  return items.map(({ metadata, status }) => ({ name: metadata.name, state: (status?.phase ?? "unknown").toLowerCase() }));
};

/** The last lines that an executor of this driver has written; null: there is no such pod. */
export const executorLogOf = async (place: SessionPlace, name: string, tailLines: number, signal: AbortSignal): Promise<string | null> => {
  const { api } = place;
  const path = `${podsOf(place)}/${encodeURIComponent(name)}`;
  try {
    const pod = await api.get<ExecutorPod>(path, within(signal));
    if (pod.metadata.labels?.[SESSION_LABEL] !== place.uid || pod.metadata.labels[ROLE_LABEL] !== "executor") return null;
    const container = pod.spec?.containers?.find((one) => one.name === EXECUTOR_CONTAINER)?.name ?? pod.spec?.containers?.[0]?.name;
    const log = await api.get<unknown>(`${path}/log`, within(signal), { container, tailLines, limitBytes: LOG_LIMIT_BYTES });
    return typeof log === "string" ? log : "";
  } catch (error) {
    if (isStatus(error, 404)) return null;
    // Its container waits to be started.
    if (isStatus(error, 400)) return "";
    throw error;
  }
};

const podsOf = ({ namespace }: SessionPlace): string => `api/v1/namespaces/${namespace}/pods`;
const within = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]);
