import type { Duplex } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { V1Pod } from "@kubernetes/client-node";
import { publishSession } from "../../core/events.ts";
import type { SessionEnd, Workload } from "../../core/ports.ts";
import type { WorkloadPhase } from "../../core/states.ts";
import { describe } from "../files.ts";
import { Phases } from "../phases.ts";
import { type Api, ApiError, isStatus, NoAnswer } from "./api.ts";
import type { ClaimState, Claims } from "./claims.ts";
import type { DriverObjects } from "./driver.ts";
import type { SessionKeys } from "./keys.ts";
import { ROLE_LABEL, SESSION_LABEL } from "./names.ts";
import { type DriverPod, type PodEnd, readGonePod, readPod, restartsOf } from "./pod-reading.ts";
import { readRefusal } from "./refusals.ts";
import type { Stored } from "./watch.ts";

/** What a workload needs of its launcher. */
export interface KubernetesWorkloadParts {
  readonly state: ClaimState;
  readonly keys: SessionKeys;
  /** Why its driver can never be spoken to; null: it can. */
  readonly mute: string | null;
  readonly api: Api;
  readonly claims: Claims;
  readonly namespace: string;
  readonly name: string;
  /** The pod that the watch knows, once it has looked. */
  readonly found: Promise<DriverPod | null>;
  readonly startTimeoutMs: number;
  /** What is to be made; the same whoever makes it. */
  objects(signal: AbortSignal): Promise<DriverObjects>;
  dial(pod: DriverPod, signal: AbortSignal): Promise<Duplex>;
}

/** A supervisor that crashes more often than this within the window is given up. */
const RESTART_LIMIT = 3;
const RESTART_WINDOW_MS = 10 * 60_000;
const TAIL_LINES = 100;
/** A try to make the objects; then its state is told, and it is tried again. */
const CREATE_MS = 20_000;
const QUOTA_PAUSE_MS = 5_000;
/** A pod whose node does not answer is forgotten so long after its grace: the kubelet ends it when it comes back. */
const UNREACHABLE_MS = 60_000;
const LOOK_MS = 1_000;
/** What only tells more is not waited for longer. */
const ASK_MS = 5_000;
/** An executor that Kubernetes warned of is looked at so often, while it waits. */
const EXECUTOR_LOOK_MS = 15_000;
const DELETE_MS = 120_000;
/** The longest a timer can be told to wait. */
const FOREVER_MS = 2 ** 31 - 1;

/**
 * A driver as a pod. One loop looks where it stands and does what is next, whoever left it there: finish what was to end, adopt the
 * pod there is, tell of the one that is gone, make the one that never was.
 */
export class KubernetesWorkload implements Workload {
  readonly key: Uint8Array;
  readonly mute: string | null;
  readonly #parts: KubernetesWorkloadParts;
  readonly #phases: Phases;
  readonly #releasing = new AbortController();
  readonly #life: Promise<void>;
  readonly #sinceMs = Date.now();
  #changed = Promise.withResolvers<void>();
  #pod: DriverPod | null = null;
  /** The pod as it was last, once it has gone. */
  #gone: DriverPod | null = null;
  #launched: boolean;
  #settled = false;
  #doom: SessionEnd | null;
  #stopGraceMs: number | null = null;
  #warning: string | null = null;
  #executorWarning: { readonly executor: string; readonly message: string; readonly atMs: number } | null = null;
  #restarts = 0;
  readonly #crashesMs = new Map<number, number>();

  constructor(parts: KubernetesWorkloadParts) {
    this.#parts = parts;
    this.key = parts.keys.link;
    this.mute = parts.mute;
    const { claim, launched, doom } = parts.state;
    this.#launched = launched;
    this.#doom = doom;
    const { end } = claim;
    this.#phases = new Phases(end === null ? { phase: "pending", reason: "The driver's pod is being made." } : { phase: "ended", ...end });
    this.#life = end === null ? this.#live() : Promise.resolve();
  }

  get phase(): WorkloadPhase {
    return this.#phases.current;
  }

  phases(signal: AbortSignal): AsyncIterable<WorkloadPhase> {
    return this.#phases.follow(signal);
  }

  async dial(signal: AbortSignal): Promise<Duplex> {
    for await (const { phase } of this.#phases.follow(signal)) {
      if (phase === "ended") throw new Error("the driver has ended");
      const pod = this.#pod;
      if (phase === "running" && pod !== null) return this.#parts.dial(pod, signal);
    }
    throw signal.reason;
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopGraceMs ??= graceMs;
    this.#poke();
    await this.#life;
  }

  /** The watch saw the pod. */
  podChanged(pod: DriverPod): void {
    if (this.#gone?.metadata.uid === pod.metadata.uid) return;
    this.#pod = pod;
    this.#poke();
  }

  /** The watch saw the pod go. */
  podGone(pod: DriverPod): void {
    this.#gone = pod;
    this.#pod = null;
    this.#poke();
  }

  /** Kubernetes warned of something about the pod of this uid. */
  warned(podUid: string, message: string): void {
    if (this.#pod === null || this.#pod.metadata.uid !== podUid || this.#warning === message) return;
    this.#warning = message;
    if (this.phase.phase === "running") publishSession({ session: this.#parts.state.claim.id, event: "fault", detail: message });
    this.#poke();
  }

  /** Kubernetes warned of something about one of its executors: why a job waits for it. The newest counts. */
  executorWarned(executor: string, message: string, atMs: number): void {
    if (atMs < (this.#executorWarning?.atMs ?? 0)) return;
    this.#executorWarning = { executor, message: `Executor ${executor} waits: ${message}`, atMs };
    this.#poke();
  }

  /** Stops watching; the pod goes on. Idempotent. */
  async release(): Promise<void> {
    this.#releasing.abort(new Error("the launcher was closed"));
    this.#poke();
    await this.#life;
  }

  /** Removes what the session has in the cluster besides its claim. Idempotent. */
  erase(graceMs: number, signal: AbortSignal): Promise<void> {
    return eraseSession(this.#parts, graceMs, signal);
  }

  #poke(): void {
    this.#changed.resolve();
  }

  async #live(): Promise<void> {
    const { signal } = this.#releasing;
    try {
      this.#pod ??= await this.#parts.found;
      while (!signal.aborted && this.phase.phase !== "ended") {
        this.#changed = Promise.withResolvers<void>();
        const waitMs = await this.#step(signal);
        if (waitMs > 0) await this.#wait(waitMs, signal);
      }
    } catch (error) {
      if (signal.aborted) return;
      this.#end({ state: "dead", reason: `The driver's pod cannot be looked after: ${describe(error)}.`, logTail: null, appId: null });
    }
  }

  async #wait(waitMs: number, signal: AbortSignal): Promise<void> {
    const leave = new AbortController();
    await Promise.race([
      this.#changed.promise,
      pause(waitMs, undefined, { signal: AbortSignal.any([signal, leave.signal]) }).catch(() => undefined),
    ]);
    leave.abort();
  }

  /** Does what is next; answers how long nothing needs to be done unless something changes, 0: go on. */
  async #step(signal: AbortSignal): Promise<number> {
    if (this.#doom !== null) return this.#finish(this.#doom, signal);
    const pod = this.#pod;
    if (pod === null) return this.#withoutPod(signal);
    if (!this.#settled) await this.#settle(pod, signal);
    const reading = readPod(pod, this.#warning);
    if (reading.is === "over") {
      this.#end({ ...reading.end, logTail: reading.end.logTail ?? (await this.#readLog(signal)) });
      return 0;
    }
    if (this.#stopGraceMs !== null) return this.#stopNow(signal);
    switch (reading.is) {
      case "hopeless":
        return this.#giveUp(reading.reason, signal, reading.container);
      case "crashed":
        return this.#crashed(reading, signal);
      case "running":
        return this.#running(pod, reading.trouble, signal);
      case "pending":
        return this.#pending(reading.reason, signal);
    }
  }

  async #withoutPod(signal: AbortSignal): Promise<number> {
    if (this.#stopGraceMs !== null) return this.#stopNow(signal);
    if (this.#gone !== null || this.#launched) {
      const end = this.#gone === null ? GONE_UNSEEN : readGonePod(this.#gone);
      return this.#condemn({ ...end, logTail: end.logTail ?? [] }, signal);
    }
    return this.#create(signal);
  }

  async #create(signal: AbortSignal): Promise<number> {
    const { api, namespace, name, state } = this.#parts;
    try {
      const within = AbortSignal.any([signal, AbortSignal.timeout(CREATE_MS)]);
      const { pod, secret, configMap } = await this.#parts.objects(within);
      const make = async <T extends Stored>(kind: string, object: unknown): Promise<T> => {
        const path = `api/v1/namespaces/${namespace}/${kind}`;
        try {
          return await api.create<T>(path, object, within);
        } catch (error) {
          if (!isStatus(error, 409)) throw error;
          const present = await api.get<T>(`${path}/${name}`, within);
          if (present.metadata.labels?.[SESSION_LABEL] === state.claim.uid) return present;
          throw new ApiError(422, "Conflict", `${kind} ${name} is there already and belongs to somebody else`, 0);
        }
      };
      await Promise.all([make("secrets", secret), make("configmaps", configMap)]);
      const made = await make<DriverPod>("pods", pod satisfies V1Pod);
      if (this.#gone?.metadata.uid !== made.metadata.uid) this.#pod ??= made;
      return 0;
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof NoAnswer)
        return Math.min(await this.#pending(`The driver's pod is still to be made: ${error.message}.`, signal), LOOK_MS);
      if (!(error instanceof ApiError)) throw error;
      const { passing, reason } = readRefusal(error);
      return passing ? Math.min(await this.#pending(reason, signal), QUOTA_PAUSE_MS) : this.#giveUp(reason, signal);
    }
  }

  /** Once the pod is there its Secret and ConfigMap belong to it, and the claim knows that it was. */
  async #settle(pod: DriverPod, signal: AbortSignal): Promise<void> {
    const { api, claims, namespace, name, state } = this.#parts;
    this.#settled = true;
    if (this.#launched) return;
    const ownerReferences = [{ apiVersion: "v1", kind: "Pod", name, uid: pod.metadata.uid }];
    const own = (kind: string) =>
      api.merge(`api/v1/namespaces/${namespace}/${kind}/${name}`, { metadata: { ownerReferences } }, signal).catch((error: unknown) => {
        if (!isStatus(error, 404)) throw error;
      });
    await Promise.all([own("secrets"), own("configmaps"), claims.launched(state.claim, pod.metadata.uid, signal)]);
    this.#launched = true;
  }

  async #running(pod: DriverPod, trouble: string | null, signal: AbortSignal): Promise<number> {
    const restarts = restartsOf(pod);
    if (restarts > this.#restarts && this.phase.phase === "running")
      this.#phases.set({ phase: "pending", reason: "The driver's container ended and was started again." });
    this.#restarts = restarts;
    const executor = await this.#waitingExecutor(signal);
    const told = [trouble, executor].filter((text) => text !== null).join(" ");
    this.#tell({ phase: "running", ...(told === "" ? {} : { trouble: told }) });
    return executor === null ? FOREVER_MS : EXECUTOR_LOOK_MS;
  }

  /** What was said of an executor stands while that waits. */
  async #waitingExecutor(signal: AbortSignal): Promise<string | null> {
    const warning = this.#executorWarning;
    if (warning === null) return null;
    const { api, namespace } = this.#parts;
    const within = AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]);
    const waits = await api.get<DriverPod>(`api/v1/namespaces/${namespace}/pods/${warning.executor}`, within).then(
      ({ status }) => status?.phase === "Pending",
      (error: unknown) => !isStatus(error, 404),
    );
    if (waits) return warning.message;
    if (this.#executorWarning === warning) this.#executorWarning = null;
    return null;
  }

  async #pending(reason: string, signal: AbortSignal): Promise<number> {
    this.#tell({ phase: "pending", reason });
    const { startTimeoutMs } = this.#parts;
    if (startTimeoutMs === 0) return FOREVER_MS;
    const leftMs = this.#sinceMs + startTimeoutMs - Date.now();
    if (leftMs > 0) return leftMs;
    return this.#giveUp(`The driver did not start within ${Math.round(startTimeoutMs / 1_000)} s. ${reason}`, signal);
  }

  async #crashed({ crashes, atMs, reason }: { crashes: number; atMs: number; reason: string }, signal: AbortSignal): Promise<number> {
    this.#crashesMs.set(crashes, atMs);
    // Crashes that no server of ours saw are taken for recent: the kubelet itself forgets them after ten quiet minutes.
    const unseen = crashes - this.#crashesMs.size;
    const recent = [...this.#crashesMs.values()].filter((ms) => ms > Date.now() - RESTART_WINDOW_MS).length;
    if (unseen + recent <= RESTART_LIMIT) {
      this.#tell({ phase: "pending", reason: `${reason} It is being started again.` });
      return FOREVER_MS;
    }
    return this.#giveUp(`The driver crashed, and was started again ${RESTART_LIMIT} times within ten minutes. ${reason}`, signal);
  }

  /** It cannot go well any more. */
  async #giveUp(reason: string, signal: AbortSignal, container?: string): Promise<number> {
    const logTail = this.#pod === null ? [] : await this.#readLog(signal, container);
    return this.#condemn({ state: "dead", reason, logTail: [...logTail, reason], appId: null }, signal);
  }

  #stopNow(signal: AbortSignal): Promise<number> {
    return this.#condemn({ state: "killed", reason: "The session was stopped.", logTail: [], appId: null }, signal);
  }

  /** Written down first: whoever finds the claim finishes what was begun. */
  async #condemn(end: Omit<SessionEnd, "endedMs">, signal: AbortSignal): Promise<number> {
    this.#doom = { ...end, endedMs: Date.now() };
    await this.#parts.claims.doom(this.#parts.state.claim, this.#doom, signal);
    return 0;
  }

  async #finish(doom: SessionEnd, signal: AbortSignal): Promise<number> {
    await this.erase(this.#stopGraceMs ?? 0, signal);
    this.#end(doom);
    return 0;
  }

  #end({ state, reason, logTail }: PodEnd): void {
    this.#phases.set({ phase: "ended", state, reason, logTail: logTail ?? [] });
  }

  #tell(phase: WorkloadPhase): void {
    if (!isDeepStrictEqual(this.phase, phase)) this.#phases.set(phase);
  }

  /** The last lines a container wrote, of this life or of the one before. */
  async #readLog(signal: AbortSignal, container = this.#pod?.spec.containers[0]?.name): Promise<readonly string[]> {
    const { api, namespace, name } = this.#parts;
    const within = AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]);
    const read = (previous: boolean) =>
      api
        .get<unknown>(`api/v1/namespaces/${namespace}/pods/${name}/log`, within, { container, previous, tailLines: TAIL_LINES })
        .catch(() => "");
    const text = (await read(false)) || (await read(true));
    return typeof text === "string" ? text.split("\n").filter((line) => line !== "") : [];
  }
}

const GONE_UNSEEN: PodEnd = {
  state: "dead",
  reason: "The driver's pod is gone; it was deleted while no server looked.",
  logTail: [],
  appId: null,
};

/** What of a session is to be removed, and how to get at it. */
export interface SessionRemains {
  readonly api: Api;
  readonly namespace: string;
  readonly name: string;
  readonly state: { readonly claim: { readonly uid: string } };
}

/**
 * Deletes the driver's pod, executors, Secret and ConfigMap and waits until they are gone; what belongs to the driver's pod besides
 * (executors' ConfigMap, claims on demand) goes with it. Idempotent.
 */
export const eraseSession = async (
  { api, namespace, name, state }: SessionRemains,
  graceMs: number,
  signal: AbortSignal,
): Promise<void> => {
  const of = `${SESSION_LABEL}=${state.claim.uid}`;
  const pods = `api/v1/namespaces/${namespace}/pods`;
  const within = AbortSignal.any([signal, AbortSignal.timeout(graceMs + UNREACHABLE_MS + DELETE_MS)]);
  const executors = { labelSelector: `${of},${ROLE_LABEL}=executor` };
  await api.delete(`${pods}/${name}`, within, { gracePeriodSeconds: Math.ceil(graceMs / 1_000) });
  const forcedMs = Date.now() + graceMs + UNREACHABLE_MS;
  for (let lookMs = FIRST_LOOK_MS; ; lookMs = Math.min(LOOK_MS, lookMs * LOOK_GROWTH)) {
    const { items } = await api.list<Stored>(pods, { labelSelector: of }, within);
    if (items.length === 0) break;
    if (items.every((item) => item.metadata.name !== name)) await api.delete(pods, within, { gracePeriodSeconds: 0 }, executors);
    else if (Date.now() > forcedMs) await api.delete(`${pods}/${name}`, within, { gracePeriodSeconds: 0 });
    await pause(lookMs, undefined, { signal: within });
  }
  await Promise.all([
    api.delete(`api/v1/namespaces/${namespace}/secrets/${name}`, within),
    api.delete(`api/v1/namespaces/${namespace}/configmaps/${name}`, within),
  ]);
};
/** Most go within two seconds, some stay for minutes. */
const FIRST_LOOK_MS = 100;
const LOOK_GROWTH = 1.5;
