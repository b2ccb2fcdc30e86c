import type { Duplex } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { publishSession } from "../../core/events.ts";
import type { Workload } from "../../core/ports.ts";
import type { EndCause, WorkloadPhase } from "../../core/states.ts";
import { describe } from "../files.ts";
import { Phases } from "../phases.ts";
import { TOO_OFTEN } from "../restarts.ts";
import { type Api, ApiError, NoAnswer } from "./api.ts";
import type { ClaimState, Doom } from "./claim-reading.ts";
import type { Claims } from "./claims.ts";
import { Crashes } from "./crashes.ts";
import type { DriverObjects } from "./driver.ts";
import { ExecutorWarnings } from "./executor-warnings.ts";
import { type Fate, Fates, GONE_CLAIM, GONE_UNSEEN, STOPPED } from "./fates.ts";
import type { KeptLogs } from "./kept-log.ts";
import type { SessionKeys } from "./keys.ts";
import { type DriverPod, endOfGonePod, readPod, restartsOf } from "./pod-reading.ts";
import { readRefusal } from "./refusals.ts";
import { eraseSession, makeSession, ownSession, presentPod, type SessionPlace } from "./session-objects.ts";

/** What a workload needs of its launcher. */
export interface KubernetesWorkloadParts {
  readonly state: ClaimState;
  readonly keys: SessionKeys;
  /** Why its driver can never be spoken to; null: it can. */
  readonly mute: string | null;
  readonly api: Api;
  readonly claims: Claims;
  readonly logs: KeptLogs;
  readonly namespace: string;
  readonly name: string;
  /** The pod that the watch knows, once it has looked or looks in vain. */
  readonly found: Promise<DriverPod | null>;
  readonly startTimeoutMs: number;
  /** Whether another server made the session and most likely looks after it. */
  readonly others: boolean;
  /** What is to be made; the same whoever makes it. */
  objects(signal: AbortSignal): Promise<DriverObjects>;
  dial(pod: DriverPod, signal: AbortSignal): Promise<Duplex>;
}

/** A try to make the objects; then its state is told, and it is tried again. */
const CREATE_MS = 20_000;
const QUOTA_PAUSE_MS = 5_000;
/** What another server has begun is left to it for so long; then it is taken for gone. */
const TAKEOVER_MS = 3_000;
const LOOK_MS = 1_000;
/** An executor that Kubernetes warned of is looked at so often, while it waits. */
const EXECUTOR_LOOK_MS = 15_000;
/** The longest a timer can be told to wait. */
const FOREVER_MS = 2 ** 31 - 1;

/**
 * A driver as a pod. One loop looks where it stands and does what is next, whoever left it there: finish what was to end, adopt the
 * pod there is, tell of the one that is gone, make the one that never was. Several servers may do the same at once: every step may be
 * done twice, and what was decided is in the claim. So that it seldom is, the one that made the session goes first.
 */
export class KubernetesWorkload implements Workload {
  readonly key: Uint8Array;
  readonly mute: string | null;
  readonly seal: Uint8Array;
  readonly #parts: KubernetesWorkloadParts;
  readonly #fates: Fates;
  readonly #phases: Phases;
  readonly #releasing = new AbortController();
  readonly #life: Promise<void>;
  readonly #sinceMs = Date.now();
  #changed = Promise.withResolvers<void>();
  #pod: DriverPod | null = null;
  /** The pod as it was last, once it has gone. */
  #gone: DriverPod | null = null;
  #launched: boolean;
  /** Something was made that the claim may not know of. */
  #unclaimed = false;
  #erased = false;
  #doom: Doom | null;
  #others: boolean;
  /** Since when something is to be done that another server most likely does. */
  #leftSinceMs: number | null = null;
  #stopGraceMs: number | null = null;
  #warning: string | null = null;
  readonly #executors: ExecutorWarnings;
  #restarts = 0;
  readonly #crashes = new Crashes();

  constructor(parts: KubernetesWorkloadParts) {
    this.#parts = parts;
    this.key = parts.keys.link;
    this.mute = parts.mute;
    this.seal = parts.keys.seal;
    this.#executors = new ExecutorWarnings(parts.api, parts.namespace);
    const { claim, launched, doom } = parts.state;
    this.#fates = new Fates({ place: this.#place, claim, logs: parts.logs });
    this.#launched = launched;
    this.#doom = doom;
    this.#others = parts.others;
    const { end } = claim;
    this.#phases = new Phases(end, "The driver's pod is being made.");
    this.#life = end === null ? this.#live() : Promise.resolve();
  }

  get phase(): WorkloadPhase {
    return this.#phases.current;
  }

  phases(signal: AbortSignal): AsyncIterable<WorkloadPhase> {
    return this.#phases.follow(signal);
  }

  async dial(signal: AbortSignal): Promise<Duplex> {
    await this.#phases.running(signal);
    if (this.#pod === null) throw new Error("the driver's pod is gone");
    return this.#parts.dial(this.#pod, signal);
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopGraceMs ??= graceMs;
    this.#others = false;
    this.#poke();
    await this.#life;
  }

  /** The watch saw the pod. */
  podChanged(pod: DriverPod): void {
    if (pod.metadata.name !== this.#parts.name || this.#gone?.metadata.uid === pod.metadata.uid) return;
    this.#pod = pod;
    this.#poke();
  }

  /** The watch saw the pod go. */
  podGone(pod: DriverPod): void {
    if (pod.metadata.name !== this.#parts.name) return;
    this.#gone = pod;
    this.#pod = null;
    this.#poke();
  }

  /** The claim is another than before, by whichever server's hand. */
  claimChanged({ claim: { end, attempts }, launched, doom }: ClaimState): void {
    const own = this.#parts.state.claim.attempts.length;
    // What is heard late of the attempts before this one is no news of it.
    if (attempts.length < own) return;
    const followed = attempts[own];
    if (followed !== undefined) {
      this.#phases.set({ phase: "ended", ...followed });
      return this.#poke();
    }
    this.#launched ||= launched;
    // Whoever decided that is at it.
    if (doom !== null && this.#doom === null && this.#stopGraceMs === null) this.#others = true;
    this.#doom ??= doom;
    this.#leftSinceMs = null;
    if (end !== null) this.#phases.set({ phase: "ended", ...end });
    this.#poke();
  }

  /** The claim is gone, and with it the session. */
  claimGone(): void {
    // Whoever removes a session ends its pod first; a claim that was removed by hand leaves that to us.
    if (this.#pod !== null && this.#pod.metadata.deletionTimestamp === undefined) this.#unclaimed = true;
    this.#phases.set({ phase: "ended", ...GONE_CLAIM });
    this.#poke();
  }

  /** Whether nothing of the session is left in the cluster besides its claim. */
  get erased(): boolean {
    return this.#erased;
  }

  /** Kubernetes warned of something about the pod of this uid. */
  warned(podUid: string, message: string): void {
    if (this.#pod === null || this.#pod.metadata.uid !== podUid || this.#warning === message) return;
    this.#warning = message;
    if (this.phase.phase === "running") publishSession({ session: this.#parts.state.claim.id, event: "fault", detail: message });
    this.#poke();
  }

  /** Kubernetes warned of something about one of its executors. */
  executorWarned(executor: string, message: string, atMs: number): void {
    this.#executors.warned(executor, message, atMs);
    this.#poke();
  }

  /** Stops watching; the pod goes on. Idempotent. */
  async release(): Promise<void> {
    this.#releasing.abort(new Error("the launcher was closed"));
    this.#poke();
    await this.#life;
  }

  get #place(): SessionPlace {
    const { api, namespace, name, state } = this.#parts;
    return { api, namespace, name, uid: state.claim.uid };
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
      // Another server ended the session while this one was making its pod.
      if (this.#unclaimed && !signal.aborted) await this.#erase(0, signal);
    } catch (error) {
      if (signal.aborted) return;
      const reason = `The driver's pod cannot be looked after: ${describe(error)}.`;
      publishSession({ session: this.#parts.state.claim.id, event: "fault", detail: reason });
      // What it ends of was known before that.
      this.#phases.set({ phase: "ended", ...(this.#doom ?? { state: "dead", reason, logTail: [], cause: "driver-lost" }) });
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
    if (this.#launched) return this.#look(pod, signal);
    const leftMs = await this.#leftToOthersMs(signal);
    if (leftMs > 0) return Math.min(leftMs, await this.#look(pod, signal));
    await this.#settle(pod, signal);
    return 0;
  }

  /** Does what the pod calls for. */
  async #look(pod: DriverPod, signal: AbortSignal): Promise<number> {
    const reading = readPod(pod, this.#warning);
    if (reading.is === "over") return this.#condemn(() => this.#fates.over(pod, reading.end, signal), signal);
    if (this.#stopGraceMs !== null) return this.#stopNow(signal);
    switch (reading.is) {
      case "hopeless":
        return this.#giveUp(reading.reason, signal, reading);
      case "crashed":
        return this.#crashed(reading, signal);
      case "running":
        return this.#running(pod, reading.trouble, signal);
      case "pending":
        return this.#pending(reading.reason, signal);
    }
  }

  /**
   * How long what is to be done is to be left to the server that made the session; 0: it is ours to do. Before the session is taken over
   * its claim is looked at, for that server may be hidden from us alone.
   */
  async #leftToOthersMs(signal: AbortSignal, graceMs = 0): Promise<number> {
    if (!this.#others) return 0;
    this.#leftSinceMs ??= Date.now();
    const leftMs = this.#leftSinceMs + graceMs + TAKEOVER_MS - Date.now();
    if (leftMs > 0) return leftMs;
    const { claims, state } = this.#parts;
    const now = await claims.look(state.claim, signal);
    this.#others = false;
    if (now === null) this.claimGone();
    else this.claimChanged(now);
    // Woken by that at once.
    return TAKEOVER_MS;
  }

  async #withoutPod(signal: AbortSignal): Promise<number> {
    if (this.#stopGraceMs !== null) return this.#stopNow(signal);
    if (this.#gone !== null) {
      const end = endOfGonePod(this.#gone);
      return this.#condemn(() => ({ ...end, logTail: end.logTail ?? [] }), signal);
    }
    const leftMs = await this.#leftToOthersMs(signal);
    if (leftMs > 0) return leftMs;
    if (!this.#launched) return this.#create(signal);
    // The watch of the pods may be behind what the claim says.
    const pod = await presentPod(this.#place, signal);
    if (pod === null) return this.#condemn(() => GONE_UNSEEN, signal);
    this.#pod ??= pod;
    return 0;
  }

  async #create(signal: AbortSignal): Promise<number> {
    try {
      const within = AbortSignal.any([signal, AbortSignal.timeout(CREATE_MS)]);
      const objects = await this.#parts.objects(within);
      this.#unclaimed = true;
      const made = await makeSession(this.#place, objects, within);
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
    const { claims, state } = this.#parts;
    const [after] = await Promise.all([
      claims.launched(state.claim, pod.metadata.uid, signal),
      ownSession(this.#place, pod.metadata.uid, signal),
    ]);
    if (after === null) return this.claimGone();
    this.#unclaimed = after.claim.end !== null || after.doom !== null;
    this.claimChanged(after);
  }

  async #running(pod: DriverPod, trouble: string | null, signal: AbortSignal): Promise<number> {
    const restarts = restartsOf(pod);
    if (restarts > this.#restarts && this.phase.phase === "running")
      this.#phases.set({ phase: "pending", reason: "The driver's container ended and was started again." });
    this.#restarts = restarts;
    const executor = await this.#executors.standing(signal);
    const told = [trouble, executor].filter((text) => text !== null).join(" ");
    this.#tell({ phase: "running", ...(told === "" ? {} : { trouble: told }) });
    return executor === null ? FOREVER_MS : EXECUTOR_LOOK_MS;
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
    if (!this.#crashes.tooMany(crashes, atMs)) {
      this.#tell({ phase: "pending", reason: `${reason} It is being started again.` });
      return FOREVER_MS;
    }
    return this.#giveUp(`The driver crashed, and was started again ${TOO_OFTEN}. ${reason}`, signal, { cause: "driver-lost" });
  }

  /** It cannot go well any more; `cause`: unless it never ran. */
  #giveUp(reason: string, signal: AbortSignal, about: { container?: string; cause?: EndCause } = {}): Promise<number> {
    const { container, cause = "submission-refused" } = about;
    return this.#condemn(() => this.#fates.givenUp(this.#pod, container ?? null, reason, cause, signal), signal);
  }

  #stopNow(signal: AbortSignal): Promise<number> {
    return this.#condemn(() => STOPPED, signal);
  }

  /** Written down first: whoever finds the claim finishes what was begun. */
  async #condemn(end: () => Fate | Promise<Fate>, signal: AbortSignal): Promise<number> {
    const leftMs = await this.#leftToOthersMs(signal);
    if (leftMs > 0) return leftMs;
    // Ours before the watch tells of it.
    this.#doom = { ...(await end()), endedMs: Date.now(), graceMs: this.#stopGraceMs ?? 0 };
    await this.#parts.claims.doom(this.#parts.state.claim, this.#doom, signal);
    return 0;
  }

  async #finish(doom: Doom, signal: AbortSignal): Promise<number> {
    const leftMs = await this.#leftToOthersMs(signal, doom.graceMs);
    if (leftMs > 0) return leftMs;
    await this.#erase(this.#stopGraceMs ?? doom.graceMs, signal);
    this.#phases.set({ phase: "ended", ...doom });
    return 0;
  }

  async #erase(graceMs: number, signal: AbortSignal): Promise<void> {
    await eraseSession(this.#place, graceMs, signal);
    this.#unclaimed = false;
    this.#erased = true;
  }

  #tell(phase: WorkloadPhase): void {
    if (!isDeepStrictEqual(this.phase, phase)) this.#phases.set(phase);
  }
}
