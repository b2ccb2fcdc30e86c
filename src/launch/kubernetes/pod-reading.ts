import { Type } from "typebox";
import { Check } from "typebox/value";
import type { EndState } from "../../core/states.ts";
import type { Stored } from "./watch.ts";

/** The parts of a pod that tell how its driver is. */
export interface DriverPod extends Stored {
  readonly spec: { readonly nodeName?: string; readonly containers: readonly { readonly name: string; readonly image?: string }[] };
  readonly status?: {
    readonly phase?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly podIP?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
    }[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}
interface ContainerStatus {
  readonly name: string;
  readonly restartCount: number;
  readonly state?: ContainerState;
  readonly lastState?: ContainerState;
}
interface ContainerState {
  readonly waiting?: { readonly reason?: string; readonly message?: string };
  readonly running?: { readonly startedAt?: string };
  readonly terminated?: Terminated;
}
interface Terminated {
  readonly exitCode: number;
  readonly signal?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly finishedAt?: string;
}

/** How a driver ended, as far as its pod tells; `logTail` null: nobody wrote one down, the container's log may have it. */
export interface PodEnd {
  readonly state: EndState;
  readonly reason: string;
  readonly logTail: readonly string[] | null;
  readonly appId: string | null;
}

/** What a pod says of its driver. `crashed`: the kubelet is starting it again, for the so manyeth time. */
export type PodReading =
  | { readonly is: "pending"; readonly reason: string }
  | { readonly is: "running" }
  | { readonly is: "crashed"; readonly crashes: number; readonly atMs: number; readonly reason: string }
  | { readonly is: "hopeless"; readonly reason: string }
  | { readonly is: "over"; readonly end: PodEnd };

/** Written by the supervisor when it ends by itself: python-shim/spark_shim/termination.py. */
const TerminationMessage = Type.Object({
  state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success"), Type.Literal("error")]),
  reason: Type.String(),
  logTail: Type.Array(Type.String()),
  appId: Type.Union([Type.String(), Type.Null()]),
});

/** What no waiting mends: the pod's own words for it. */
const HOPELESS_WAITING: ReadonlySet<string> = new Set(["InvalidImageName", "ErrImageNeverPull", "ImageInspectError"]);
const HOPELESS_PULL = /not found|does not exist|unauthorized|authorization failed|denied|forbidden|no such manifest|manifest unknown/i;
const HOPELESS_START = /executable file not found|no such file or directory|exec format error|permission denied/i;

/** `warning`: the newest warning that Kubernetes gave about the pod, null when there is none. */
export const readPod = (pod: DriverPod, warning: string | null): PodReading => {
  const { status = {}, spec } = pod;
  const driver = status.containerStatuses?.find((container) => container.name === spec.containers[0]?.name);
  const terminated = driver?.state?.terminated;
  if ((status.phase === "Succeeded" || status.phase === "Failed") && endedByDeletion(pod, terminated))
    return { is: "over", end: readGonePod(pod) };
  if (status.phase === "Succeeded") return { is: "over", end: ownEnd(terminated) ?? plainEnd("") };
  if (status.phase === "Failed") return { is: "over", end: ownEnd(terminated) ?? plainEnd(failure(pod, terminated)) };
  if (driver?.state?.running !== undefined) return { is: "running" };
  const init = initTrouble(status.initContainerStatuses ?? []);
  if (init !== null) return init;
  const waiting = driver?.state?.waiting;
  const last = terminated ?? driver?.lastState?.terminated;
  if (driver !== undefined && last !== undefined && last.exitCode !== 0) {
    if (last.reason === "StartError" || last.reason === "ContainerCannotRun")
      return { is: "hopeless", reason: `The driver's container cannot be started: ${words(last.message)}` };
    const crashes = driver.restartCount + 1;
    return {
      is: "crashed",
      crashes,
      atMs: Date.parse(last.finishedAt ?? "") || 0,
      reason: `The driver's container ended: ${exitWords(last)}`,
    };
  }
  if (driver !== undefined && last !== undefined && terminated !== undefined)
    return { is: "pending", reason: "The driver's container exited." };
  if (waiting !== undefined) return readWaiting(waiting, spec.containers[0]?.image ?? "", warning);
  const scheduled = status.conditions?.find((condition) => condition.type === "PodScheduled");
  if (scheduled?.status === "False")
    return { is: "pending", reason: `The driver's pod waits for a node: ${words(scheduled.message ?? scheduled.reason)}` };
  return { is: "pending", reason: warning ?? "The driver's pod waits for a node." };
};

/** Whether it had not ended by itself when somebody asked for its end. */
const endedByDeletion = ({ metadata }: DriverPod, terminated: Terminated | undefined): boolean => {
  const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = metadata;
  if (deletionTimestamp === undefined) return false;
  const askedMs = Date.parse(deletionTimestamp) - deletionGracePeriodSeconds * 1_000;
  return !(Date.parse(terminated?.finishedAt ?? "") < askedMs);
};

const readWaiting = (waiting: { reason?: string; message?: string }, image: string, warning: string | null): PodReading => {
  const { reason = "", message } = waiting;
  if (HOPELESS_WAITING.has(reason))
    return { is: "hopeless", reason: `The driver's image ${image} cannot be used (${reason}): ${words(message)}` };
  if (reason === "ErrImagePull" || reason === "ImagePullBackOff") {
    const why = `The driver's image ${image} cannot be pulled: ${words(warning ?? message)}`;
    return HOPELESS_PULL.test(`${message} ${warning}`) ? { is: "hopeless", reason: why } : { is: "pending", reason: why };
  }
  if (reason === "CreateContainerConfigError" || reason === "CreateContainerError" || reason === "RunContainerError") {
    const why = `The driver's container cannot be made (${reason}): ${words(message)}`;
    return HOPELESS_START.test(message ?? "") ? { is: "hopeless", reason: why } : { is: "pending", reason: why };
  }
  if (reason === "PodInitializing") return { is: "pending", reason: "The init containers of the driver's pod run." };
  return { is: "pending", reason: warning ?? "The driver's container is being made." };
};

const initTrouble = (statuses: readonly ContainerStatus[]): PodReading | null => {
  for (const { name, state, lastState } of statuses) {
    const terminated = state?.terminated ?? lastState?.terminated;
    if (terminated !== undefined && terminated.exitCode !== 0)
      return { is: "pending", reason: `Init container ${name} of the driver's pod failed and is started again: ${exitWords(terminated)}` };
    if (state?.waiting?.reason !== undefined && state.waiting.reason !== "PodInitializing")
      return {
        is: "pending",
        reason: `Init container ${name} of the driver's pod waits (${state.waiting.reason}): ${words(state.waiting.message)}`,
      };
    if (state?.running !== undefined) return { is: "pending", reason: `Init container ${name} of the driver's pod runs.` };
  }
  return null;
};

/** What a pod that is gone said last: `deleted` by somebody, evicted, taken with its node. */
export const readGonePod = (pod: DriverPod): PodEnd => {
  const { status = {}, spec } = pod;
  const driver = status.containerStatuses?.find((container) => container.name === spec.containers[0]?.name);
  const disruption = status.conditions?.find((condition) => condition.type === "DisruptionTarget" && condition.status === "True");
  const why =
    disruption === undefined
      ? "The driver's pod was deleted."
      : `The driver's pod was taken away (${disruption.reason ?? "disruption"}): ${words(disruption.message)}`;
  const own = ownEnd(driver?.state?.terminated);
  // A signal is how Kubernetes tells it; why it did is what counts.
  return { state: "dead", reason: why, logTail: own?.logTail ?? null, appId: own?.appId ?? null };
};

const ownEnd = (terminated: Terminated | undefined): PodEnd | null => {
  let message: unknown;
  try {
    message = JSON.parse(terminated?.message ?? "");
  } catch {
    return null;
  }
  if (!Check(TerminationMessage, message)) return null;
  const { state, reason, logTail, appId } = message;
  // `error` is a word for drivers that are up and broken; nothing follows an end.
  return { state: state === "error" ? "dead" : state, reason, logTail, appId };
};

const plainEnd = (reason: string): PodEnd => ({ state: "dead", reason, logTail: null, appId: null });

const failure = ({ status = {}, spec }: DriverPod, terminated: Terminated | undefined): string => {
  if (status.reason === "Evicted") return `The driver's pod was evicted: ${words(status.message)}`;
  if (status.reason === "NodeLost" || status.reason === "NodeShutdown" || status.reason === "Terminated")
    return `The node ${spec.nodeName ?? ""} of the driver's pod was lost or shut down: ${words(status.message)}`;
  const container = terminated === undefined ? "" : ` ${exitWords(terminated)}`;
  return `The driver's pod failed${status.reason === undefined ? "" : ` (${status.reason})`}: ${words(status.message ?? "")}${container}`;
};

const SIGNAL_BASE = 128;

const exitWords = ({ exitCode, reason, message }: Terminated): string => {
  if (reason === "OOMKilled")
    return "OOMKilled: it used more memory than its limit; ask for more spark.driver.memory or spark.driver.memoryOverhead.";
  const killed = exitCode > SIGNAL_BASE ? `killed by signal ${exitCode - SIGNAL_BASE}` : `exit code ${exitCode}`;
  const last = message?.trim().split("\n").at(-1);
  return `${killed}${reason === undefined || reason === "Error" ? "" : ` (${reason})`}${last ? `: ${last}` : ""}.`;
};

/** A message as part of a sentence; Kubernetes' may be long. */
const words = (message: string | undefined): string => {
  const text = (message ?? "").trim().replaceAll(/\s+/g, " ");
  return text === "" ? "no reason is given." : `${text.slice(0, 1_000)}${/[.!]$/.test(text) ? "" : "."}`;
};
