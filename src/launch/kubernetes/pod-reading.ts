import { Check } from "typebox/value";
import type { EndCause, EndState } from "../../core/states.ts";
import { endStateOf, Termination } from "../ending.ts";
import type { Stored } from "./watch.ts";

/** The parts of a pod that tell how its driver is. */
export interface DriverPod extends Stored {
  readonly spec: {
    readonly nodeName?: string;
    readonly restartPolicy?: string;
    readonly initContainers?: readonly Container[];
    readonly containers: readonly Container[];
  };
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
      readonly lastTransitionTime?: string;
    }[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}
interface Container {
  readonly name: string;
  readonly image?: string;
  /** `Always` on an init container makes it a sidecar. */
  readonly restartPolicy?: string;
}
interface ContainerStatus {
  readonly name: string;
  readonly started?: boolean;
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
  readonly cause?: EndCause;
  /** An application's own. */
  readonly exitCode?: number;
}

/** What a pod says of its driver. */
export type PodReading =
  | { readonly is: "pending"; readonly reason: string }
  /** `trouble`: what is wrong all the same, or was; null when nothing is. */
  | { readonly is: "running"; readonly trouble: string | null }
  /** The kubelet is starting it again, for the so manyeth time. */
  | { readonly is: "crashed"; readonly crashes: number; readonly atMs: number; readonly reason: string }
  /** It cannot go well any more; the log of `container` may say more. */
  | { readonly is: "hopeless"; readonly reason: string; readonly container: string }
  | { readonly is: "over"; readonly end: PodEnd };

/** What no waiting mends: the pod's own words for it. */
const HOPELESS_WAITING: ReadonlySet<string> = new Set(["InvalidImageName", "ErrImageNeverPull", "ImageInspectError"]);
const HOPELESS_PULL =
  /not found|does not exist|unauthorized|authorization failed|denied|forbidden|no such manifest|manifest unknown|no such host/i;
const HOPELESS_START = /executable file not found|no such file or directory|exec format error|permission denied/i;
/** An init container that failed more often has no luck to come. */
const INIT_FAILURES = 3;

/** `warned`: the newest warning that Kubernetes gave about the pod, null when there is none. */
export const readPod = (pod: DriverPod, warned: string | null): PodReading => {
  const { status = {}, spec } = pod;
  const warning = spec.nodeName !== undefined && warned?.startsWith("FailedScheduling: ") ? null : warned;
  const driver = driverStatus(pod);
  const terminated = driver?.state?.terminated;
  // Of a pod with more containers only the driver's tells that it is over.
  const succeeded = status.phase === "Succeeded" || (status.phase !== "Failed" && terminated?.exitCode === 0);
  if ((succeeded || status.phase === "Failed") && endedByDeletion(pod, terminated)) return { is: "over", end: readGonePod(pod) };
  if (succeeded) return { is: "over", end: ownEnd(terminated) ?? plainEnd("") };
  if (status.phase === "Failed" || (terminated !== undefined && spec.restartPolicy === "Never"))
    return { is: "over", end: failedEnd(pod, terminated) };
  if (driver?.state?.running !== undefined) return { is: "running", trouble: troubleOf(pod, driver) };
  const init = initTrouble(pod, warning);
  if (init !== null) return init;
  const last = terminated ?? driver?.lastState?.terminated;
  if (driver !== undefined && last !== undefined && last.exitCode !== 0) return crashOf(driver, last);
  const waiting = driver?.state?.waiting;
  if (waiting !== undefined) return readWaiting(waiting, DRIVER, spec.containers[0], warning);
  const scheduled = conditionOf(pod, "PodScheduled");
  if (scheduled?.status === "False")
    return { is: "pending", reason: `The driver's pod waits for a node: ${words(scheduled.message ?? scheduled.reason)}` };
  return { is: "pending", reason: warning ?? "The driver's pod waits for a node." };
};

const driverStatus = ({ spec, status }: DriverPod): ContainerStatus | undefined =>
  status?.containerStatuses?.find((container) => container.name === spec.containers[0]?.name);

/** How often the kubelet has started the driver's container again. */
export const restartsOf = (pod: DriverPod): number => driverStatus(pod)?.restartCount ?? 0;

const conditionOf = ({ status }: DriverPod, type: string) => status?.conditions?.find((condition) => condition.type === type);

const crashOf = ({ name, restartCount }: ContainerStatus, last: Terminated): PodReading => {
  if (last.reason === "StartError" || last.reason === "ContainerCannotRun")
    return { is: "hopeless", reason: `The driver's container cannot be started: ${words(last.message)}`, container: name };
  return {
    is: "crashed",
    crashes: restartCount + 1,
    atMs: Date.parse(last.finishedAt ?? "") || 0,
    reason: `The driver's container ended: ${exitWords(last)}`,
  };
};

/** What a driver that runs has gone through, or is about to. */
const troubleOf = (pod: DriverPod, { restartCount, lastState }: ContainerStatus): string | null => {
  const told: string[] = [];
  const ready = conditionOf(pod, "Ready");
  // The node controller takes a pod's readiness away when its node falls silent; the kubelet would take the containers' with it.
  if (ready?.status === "False" && ready.reason === undefined && conditionOf(pod, "ContainersReady")?.status === "True")
    told.push(
      `Node ${pod.spec.nodeName ?? ""} of the driver's pod has been unreachable for Kubernetes since ${ready.lastTransitionTime ?? "a while"} (NodeNotReady); the driver may go on working.`,
    );
  if (pod.metadata.deletionTimestamp !== undefined) {
    const by = disruptionOf(pod);
    told.push(by === null ? "The driver's pod is being deleted." : `The driver's pod is being taken away ${by}`);
  }
  const ended = lastState?.terminated;
  if (ended !== undefined) {
    const times = restartCount === 1 ? "once" : `${restartCount} times`;
    told.push(`The driver's container was started again, ${times} so far; before that it ended: ${exitWords(ended)}`);
  }
  return told.length === 0 ? null : told.join(" ");
};

/** Whether it had not ended by itself when somebody asked for its end. */
const endedByDeletion = ({ metadata }: DriverPod, terminated: Terminated | undefined): boolean => {
  const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = metadata;
  if (deletionTimestamp === undefined) return false;
  const askedMs = Date.parse(deletionTimestamp) - deletionGracePeriodSeconds * 1_000;
  return !(Date.parse(terminated?.finishedAt ?? "") < askedMs);
};

/** Whose container is told of. */
interface Subject {
  readonly container: string;
  readonly image: string;
}
const DRIVER: Subject = { container: "The driver's container", image: "The driver's image" };

const readWaiting = (
  { reason = "", message }: { reason?: string; message?: string },
  subject: Subject,
  { name, image = "" }: Container = { name: "" },
  warning: string | null,
): PodReading => {
  const named = [subject.image, ...(image === "" ? [] : [image])].join(" ");
  const told = (hopeless: boolean, why: string): PodReading =>
    hopeless ? { is: "hopeless", reason: why, container: name } : { is: "pending", reason: why };
  if (HOPELESS_WAITING.has(reason)) return told(true, `${named} cannot be used (${reason}): ${words(message)}`);
  if (reason === "ErrImagePull" || reason === "ImagePullBackOff") {
    // The kubelet's own words for what a pull failed of; other warnings are of what was before.
    const failed = warning?.startsWith("Failed: ") ? warning : null;
    return told(HOPELESS_PULL.test(`${message} ${failed}`), `${named} cannot be pulled: ${words(failed ?? message)}`);
  }
  if (reason === "CreateContainerConfigError" || reason === "CreateContainerError" || reason === "RunContainerError")
    return told(HOPELESS_START.test(message ?? ""), `${subject.container} cannot be made (${reason}): ${words(message)}`);
  if (reason === "PodInitializing") return told(false, "The init containers of the driver's pod run.");
  return told(false, warning ?? `${subject.container} is being made.`);
};

const initTrouble = ({ spec, status }: DriverPod, warning: string | null): PodReading | null => {
  for (const { name, state, lastState, restartCount, started } of status?.initContainerStatuses ?? []) {
    const container = spec.initContainers?.find((one) => one.name === name) ?? { name };
    // A sidecar that has started keeps nothing from beginning, whatever it went through.
    if (container.restartPolicy === "Always" && started === true) continue;
    const which = `Init container ${name} of the driver's pod`;
    const terminated = state?.terminated ?? lastState?.terminated;
    if (terminated !== undefined && terminated.exitCode !== 0) {
      // While it runs again its newest try has not failed.
      const failures = restartCount + (state?.running === undefined ? 1 : 0);
      if (failures > INIT_FAILURES)
        return { is: "hopeless", reason: `${which} failed ${failures} times: ${exitWords(terminated)}`, container: name };
      return { is: "pending", reason: `${which} failed and is started again: ${exitWords(terminated)}` };
    }
    if (state?.running !== undefined) return { is: "pending", reason: `${which} runs.` };
    if (state?.waiting?.reason !== undefined && state.waiting.reason !== "PodInitializing") {
      return readWaiting(state.waiting, { container: which, image: `The image of init container ${name}` }, container, warning);
    }
  }
  return null;
};

/** What a pod that is gone said last: `deleted` by somebody, evicted, taken with its node. */
export const readGonePod = (pod: DriverPod): PodEnd => {
  const by = disruptionOf(pod);
  const own = ownEnd(driverStatus(pod)?.state?.terminated);
  // A signal is how Kubernetes tells it; why it did is what counts.
  const reason = by === null ? "The driver's pod was deleted." : `The driver's pod was taken away ${by}`;
  return { state: "dead", reason, logTail: own?.logTail ?? null, appId: own?.appId ?? null, cause: "driver-lost" };
};

/** The same of one whose driver may have ended before the pod was taken. */
export const endOfGonePod = (pod: DriverPod): PodEnd => {
  const reading = readPod(pod, null);
  return reading.is === "over" ? reading.end : readGonePod(pod);
};

/** Who in Kubernetes takes the pod away, and why; null when nobody does or somebody deletes it by hand. */
const disruptionOf = (pod: DriverPod): string | null => {
  const disruption = conditionOf(pod, "DisruptionTarget");
  return disruption?.status === "True" ? `(${disruption.reason ?? "disruption"}): ${words(disruption.message)}` : null;
};

const ownEnd = (terminated: Terminated | undefined): PodEnd | null => {
  let message: unknown;
  try {
    message = JSON.parse(terminated?.message ?? "");
  } catch {
    return null;
  }
  return Check(Termination, message) ? { ...message, state: endStateOf(message) } : null;
};

/** What Kubernetes says it did counts for more than the signal by which the driver knows of it. */
const failedEnd = (pod: DriverPod, terminated: Terminated | undefined): PodEnd => {
  const own = ownEnd(terminated);
  if (own !== null && pod.status?.reason === undefined) return own;
  return { ...plainEnd(failure(pod, own === null ? terminated : undefined)), logTail: own?.logTail ?? null, appId: own?.appId ?? null };
};

const plainEnd = (reason: string): PodEnd => ({ state: "dead", reason, logTail: null, appId: null, cause: "driver-lost" });

const failure = ({ status = {}, spec }: DriverPod, terminated: Terminated | undefined): string => {
  if (status.reason === "Evicted") return `The driver's pod was evicted: ${words(status.message)}`;
  if (status.reason === "NodeLost" || status.reason === "NodeShutdown" || status.reason === "Terminated")
    return `The node ${spec.nodeName ?? ""} of the driver's pod was lost or shut down: ${words(status.message)}`;
  const container = terminated === undefined ? "" : ` ${exitWords(terminated)}`;
  return `The driver's pod failed${status.reason === undefined ? "" : ` (${status.reason})`}: ${words(status.message ?? "")}${container}`;
};

const SIGNAL_BASE = 128;

const exitWords = (terminated: Terminated): string => {
  const { exitCode, reason, message } = terminated;
  const own = ownEnd(terminated);
  if (own !== null) return own.reason;
  if (reason === "OOMKilled")
    return "OOMKilled: it used more memory than its limit; ask for more spark.driver.memory or spark.driver.memoryOverhead.";
  const killed = exitCode > SIGNAL_BASE ? `killed by signal ${exitCode - SIGNAL_BASE}` : `exit code ${exitCode}`;
  const last = message?.trim().split("\n").at(-1);
  return `${killed}${reason === undefined || reason === "Error" ? "" : ` (${reason})`}${last ? `: ${words(last)}` : "."}`;
};

/** A message as part of a sentence; Kubernetes' may be long. */
const words = (message: string | undefined): string => {
  const text = (message ?? "").trim().replaceAll(/\s+/g, " ");
  return text === "" ? "no reason is given." : `${text.slice(0, 1_000)}${/[.!]$/.test(text) ? "" : "."}`;
};
