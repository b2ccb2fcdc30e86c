import type { Duplex } from "node:stream";
import { publishSession } from "../../core/events.ts";
import type { EndCause } from "../../core/states.ts";
import { TOO_OFTEN } from "../restarts.ts";
import { type Api, type ApiError, isStatus } from "./api.ts";
import { type ClaimedParts, ClaimedWorkload, FOREVER_MS } from "./claimed-workload.ts";
import { Crashes } from "./crashes.ts";
import type { DriverObjects } from "./driver.ts";
import { ExecutorWarnings } from "./executor-warnings.ts";
import { Fates, GONE_UNSEEN } from "./fates.ts";
import type { KeptLogs } from "./kept-log.ts";
import { NewestWarning } from "./newest-warning.ts";
import { type DriverPod, endOfGonePod, readPod, restartsOf } from "./pod-reading.ts";
import { type Refusal, readRefusal } from "./refusals.ts";
import { eraseMounts, eraseSession, makeSession, ownSession, presentPod, type SessionPlace } from "./session-objects.ts";

/** What a workload needs of its launcher. */
export interface KubernetesWorkloadParts extends ClaimedParts {
  /** Why its driver can never be spoken to; null: it can. */
  readonly mute: string | null;
  readonly api: Api;
  readonly logs: KeptLogs;
  readonly namespace: string;
  readonly name: string;
  /** The pod that the watch knows, once it has looked or was refused. */
  readonly found: Promise<DriverPod | null>;
  /** What is to be made; the same whoever makes it. */
  objects(signal: AbortSignal): Promise<DriverObjects>;
  dial(pod: DriverPod, signal: AbortSignal): Promise<Duplex>;
}

/** An executor that Kubernetes warned of is looked at so often, while it waits. */
const EXECUTOR_LOOK_MS = 15_000;

/** A driver as a pod: adopted where there is one, told of where it is gone, made where it never was. */
export class KubernetesWorkload extends ClaimedWorkload {
  override readonly mute: string | null;
  readonly #parts: KubernetesWorkloadParts;
  readonly #fates: Fates;
  #sought = false;
  #pod: DriverPod | null = null;
  /** The pod as it was last, once it has gone. */
  #gone: DriverPod | null = null;
  readonly #warning = new NewestWarning();
  readonly #executors: ExecutorWarnings;
  #restarts = 0;
  readonly #crashes = new Crashes();

  constructor(parts: KubernetesWorkloadParts) {
    super(parts, "driver's pod");
    this.#parts = parts;
    this.mute = parts.mute;
    this.#executors = new ExecutorWarnings(parts.api, parts.namespace);
    this.#fates = new Fates({ place: this.#place, claim: parts.state.claim, logs: parts.logs });
  }

  async dial(signal: AbortSignal): Promise<Duplex> {
    await this.running(signal);
    if (this.#pod === null) throw new Error("the driver's pod is gone");
    return this.#parts.dial(this.#pod, signal);
  }

  /** The watch saw the pod. */
  podChanged(pod: DriverPod): void {
    if (pod.metadata.name !== this.#parts.name || this.#gone?.metadata.uid === pod.metadata.uid) return;
    this.#pod = pod;
    this.poke();
  }

  /** The watch saw the pod go. */
  podGone(pod: DriverPod): void {
    if (pod.metadata.name !== this.#parts.name) return;
    this.#gone = pod;
    this.#pod = null;
    this.poke();
  }

  /** Kubernetes warned of something about the pod of this uid. */
  warned(podUid: string, message: string): void {
    if (!this.#warning.heard(podUid, message)) return;
    if (this.phase.phase === "running") publishSession({ session: this.#parts.state.claim.id, event: "fault", detail: message });
    this.poke();
  }

  /** Kubernetes warned of something about one of its executors. */
  executorWarned(executor: string, message: string, atMs: number): void {
    this.#executors.warned(executor, message, atMs);
    this.poke();
  }

  protected get present(): boolean {
    return this.#pod !== null && this.#pod.metadata.deletionTimestamp === undefined;
  }

  protected async remove(graceMs: number, signal: AbortSignal): Promise<void> {
    try {
      await eraseSession(this.#place, graceMs, signal);
    } catch (error) {
      // Who may not make a pod may not delete one either, and has made none.
      if (this.launched || this.present || !isStatus(error, 403)) throw error;
      await eraseMounts(this.#place, signal).catch(ignoreForbidden);
    }
  }

  protected async look(signal: AbortSignal): Promise<number> {
    await this.#seek();
    const pod = this.#pod;
    if (pod === null) return this.#without(signal);
    if (this.launched) return this.#read(pod, signal);
    const leftMs = await this.leftToOthersMs(signal);
    if (leftMs > 0) return Math.min(leftMs, await this.#read(pod, signal));
    // Once the pod is there its Secret and ConfigMap belong to it.
    await Promise.all([this.settle(pod.metadata.uid, signal), ownSession(this.#place, pod.metadata.uid, signal)]);
    return 0;
  }

  get #place(): SessionPlace {
    const { api, namespace, name, state } = this.#parts;
    return { api, namespace, name, uid: state.claim.uid };
  }

  /** Before anything is made of it, the watch must have looked. */
  async #seek(): Promise<void> {
    if (this.#sought) return;
    this.#sought = true;
    const found = await this.#parts.found;
    // What came since is newer.
    if (this.#gone === null) this.#pod ??= found;
  }

  /** Does what the pod calls for. */
  async #read(pod: DriverPod, signal: AbortSignal): Promise<number> {
    const reading = readPod(pod, this.#warning.of(pod));
    if (reading.is === "over") return this.condemn(() => this.#fates.over(pod, reading.end, signal), signal);
    if (this.stopping) return this.stopNow(signal);
    switch (reading.is) {
      case "hopeless":
        return this.giveUp(reading.reason, signal, reading);
      case "crashed":
        return this.#crashed(reading, signal);
      case "running":
        return this.#running(pod, reading.trouble, signal);
      case "pending":
        return this.pending(reading.reason, signal);
    }
  }

  async #without(signal: AbortSignal): Promise<number> {
    if (this.stopping) return this.stopNow(signal);
    if (this.#gone !== null) {
      const end = endOfGonePod(this.#gone);
      return this.condemn(() => ({ ...end, logTail: end.logTail ?? [] }), signal);
    }
    const leftMs = await this.leftToOthersMs(signal);
    if (leftMs > 0) return leftMs;
    if (!this.launched) return this.create(signal);
    // The watch of the pods may be behind what the claim says.
    const pod = await presentPod(this.#place, signal);
    if (pod === null) return this.condemn(() => GONE_UNSEEN, signal);
    this.#pod ??= pod;
    return 0;
  }

  protected async make(signal: AbortSignal): Promise<void> {
    const objects = await this.#parts.objects(signal);
    this.unclaimed = true;
    const made = await makeSession(this.#place, objects, signal);
    if (this.#gone?.metadata.uid !== made.metadata.uid) this.#pod ??= made;
  }

  protected refusal(error: ApiError): Refusal {
    return readRefusal(error);
  }

  async #running(pod: DriverPod, trouble: string | null, signal: AbortSignal): Promise<number> {
    const restarts = restartsOf(pod);
    if (restarts > this.#restarts && this.phase.phase === "running")
      this.tell({ phase: "pending", reason: "The driver's container ended and was started again." });
    this.#restarts = restarts;
    const executor = await this.#executors.standing(signal);
    const told = [trouble, executor].filter((text) => text !== null).join(" ");
    this.tell({ phase: "running", ...(told === "" ? {} : { trouble: told }) });
    return executor === null ? FOREVER_MS : EXECUTOR_LOOK_MS;
  }

  async #crashed({ crashes, atMs, reason }: { crashes: number; atMs: number; reason: string }, signal: AbortSignal): Promise<number> {
    if (!this.#crashes.tooMany(crashes, atMs)) {
      this.tell({ phase: "pending", reason: `${reason} It is being started again.` });
      return FOREVER_MS;
    }
    return this.giveUp(`The driver crashed, and was started again ${TOO_OFTEN}. ${reason}`, signal, { cause: "driver-lost" });
  }

  /** It cannot go well any more; `cause`: unless it never ran. */
  protected giveUp(reason: string, signal: AbortSignal, about: { container?: string; cause?: EndCause } = {}): Promise<number> {
    const { container, cause = "submission-refused" } = about;
    return this.condemn(() => this.#fates.givenUp(this.#pod, container ?? null, reason, cause, signal), signal);
  }
}

const ignoreForbidden = (error: unknown): void => {
  if (!isStatus(error, 403)) throw error;
};
