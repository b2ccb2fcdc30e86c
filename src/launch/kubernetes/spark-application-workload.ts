import type { Duplex } from "node:stream";
import type { DriverLink } from "../../core/ports.ts";
import { type Api, type ApiError, isStatus } from "./api.ts";
import { type ClaimedParts, ClaimedWorkload, FOREVER_MS } from "./claimed-workload.ts";
import { type Fate, Fates } from "./fates.ts";
import type { KeptLogs } from "./kept-log.ts";
import { NewestWarning } from "./newest-warning.ts";
import { DRIVER_CONTAINER } from "./pod.ts";
import { PodLink } from "./pod-link.ts";
import type { DriverPod, PodEnd } from "./pod-reading.ts";
import type { Refusal } from "./refusals.ts";
import { presentPod, readLog, type SessionPlace } from "./session-objects.ts";
import type { SparkApplicationObject } from "./spark-application.ts";
import { eraseApplication, makeApplication, presentApplication, readApplicationRefusal } from "./spark-application-objects.ts";
import {
  type DriverSight,
  driverBegan,
  endOfApplication,
  readApplication,
  type SparkApplication,
  stateOf,
} from "./spark-application-reading.ts";

/** What a workload needs of its launcher. */
export interface SparkApplicationParts extends ClaimedParts {
  readonly api: Api;
  readonly logs: KeptLogs;
  readonly namespace: string;
  /** The SparkApplication's and its driver's pod's. */
  readonly name: string;
  /** The driver's pod that the watch knows, once it has looked. */
  readonly found: Promise<DriverPod | null>;
  /** What is to be made; the same whoever makes it. */
  object(signal: AbortSignal): Promise<SparkApplicationObject>;
  /** A connection to a port of the driver's pod. */
  dialPort(pod: DriverPod, port: number, signal: AbortSignal): Promise<Duplex>;
}

const UI_PORT = 4040;

/** One attempt of a batch as a SparkApplication: made once, followed by the status that the Spark Operator writes, removed at its end. */
export class SparkApplicationWorkload extends ClaimedWorkload {
  readonly #parts: SparkApplicationParts;
  readonly #fates: Fates;
  readonly #link: PodLink;
  #application: SparkApplication | null = null;
  /** As it was last, once it has gone. */
  #gone: SparkApplication | null = null;
  #pod: DriverPod | null = null;
  #gonePod: DriverPod | null = null;
  readonly #warning = new NewestWarning();

  constructor(parts: SparkApplicationParts) {
    super(parts, "SparkApplication");
    this.#parts = parts;
    this.#fates = new Fates({ place: this.#place, claim: parts.state.claim, logs: parts.logs });
    this.#link = new PodLink({ place: this.#place, dialUi: (signal) => this.#dialUi(signal) });
    // What came since is newer.
    void parts.found.then((pod) => pod !== null && this.#pod === null && this.#gonePod === null && this.podChanged(pod));
  }

  /** Its driver is the operator's: nothing of ours listens there. */
  dial(): Promise<Duplex> {
    return Promise.reject(new Error("a SparkApplication's driver has no supervisor"));
  }

  /** What its driver writes, in a link's words. */
  link(): DriverLink {
    return this.#link;
  }

  /** The watch saw the SparkApplication. */
  applicationChanged(application: SparkApplication): void {
    if (application.metadata.name !== this.#parts.name || this.#gone?.metadata.uid === application.metadata.uid) return;
    this.#application = application;
    this.poke();
  }

  /** The watch saw the SparkApplication go. */
  applicationGone(application: SparkApplication): void {
    if (application.metadata.name !== this.#parts.name) return;
    this.#gone = application;
    this.#application = null;
    this.poke();
  }

  /** The watch saw a driver's pod. */
  podChanged(pod: DriverPod): void {
    if (pod.metadata.name !== this.#parts.name) return;
    this.#pod = driverFirst(pod);
    if (driverBegan(this.#pod)) this.#link.begin(DRIVER_CONTAINER);
    this.poke();
  }

  /** The watch saw a driver's pod go. */
  podGone(pod: DriverPod): void {
    if (pod.metadata.name !== this.#parts.name) return;
    this.#gonePod = driverFirst(pod);
    this.#pod = null;
    this.poke();
  }

  /** Kubernetes warned of something about the driver's pod of this uid. */
  warned(podUid: string, message: string): void {
    if (this.#warning.heard(podUid, message)) this.poke();
  }

  /** What executors go through is the operator's to tell. */
  executorWarned(): void {}

  protected get present(): boolean {
    const there = (object: SparkApplication | DriverPod | null) => object !== null && object.metadata.deletionTimestamp === undefined;
    return there(this.#application) || there(this.#pod);
  }

  protected async remove(graceMs: number, signal: AbortSignal): Promise<void> {
    await eraseApplication(this.#place, graceMs, signal).catch((error: unknown) => {
      // Who may not make one may not delete one either, and has made none.
      if (this.launched || this.present || !isStatus(error, 403)) throw error;
    });
  }

  protected async look(signal: AbortSignal): Promise<number> {
    const application = this.#application;
    if (application === null) return this.#without(signal);
    if (!this.launched) {
      const leftMs = await this.leftToOthersMs(signal);
      if (leftMs > 0) return Math.min(leftMs, await this.#read(application, signal));
      await this.settle(application.metadata.uid, signal);
      return 0;
    }
    return this.#read(application, signal);
  }

  get #place(): SessionPlace {
    const { api, namespace, name, state } = this.#parts;
    return { api, namespace, name, uid: state.claim.uid };
  }

  get #sight(): DriverSight {
    return { pod: this.#pod, gone: this.#gonePod, warning: this.#warning.of(this.#pod), lines: [] };
  }

  /** Does what its state calls for. */
  async #read(application: SparkApplication, signal: AbortSignal): Promise<number> {
    this.#tellSpark(application);
    const reading = readApplication(application, this.#sight);
    // What is known of its pod may have become more by then.
    if (reading.is === "over") return this.condemn(() => this.#fateBy((sight) => endOfApplication(application, sight), signal), signal);
    if (this.stopping) return this.stopNow(signal);
    const leftMs = this.#leftToLiveMs();
    if (leftMs <= 0) return this.condemn(() => this.#fateBy(() => this.#expired(application), signal), signal);
    switch (reading.is) {
      case "hopeless":
        return this.giveUp(reading.reason, signal);
      case "running":
        this.startsAnew();
        this.tell({ phase: "running", ...(reading.trouble === null ? {} : { trouble: reading.trouble }) });
        return leftMs;
      case "pending":
        // It may have run before: the operator begins it anew when somebody changes the object.
        if (this.phase.phase === "running" || reading.held) this.startsAnew();
        return Math.min(leftMs, await this.pending(reading.reason, signal));
    }
  }

  /** How it ended by what is known of its pod now, which the watch may be late with; and what it wrote. */
  async #fateBy(end: (sight: DriverSight) => PodEnd, signal: AbortSignal): Promise<Fate> {
    const present = await presentPod(this.#place, signal);
    const pod = present === null ? null : driverFirst(present);
    const lines = pod === null ? [] : await readLog(this.#place, DRIVER_CONTAINER, signal);
    const told = end({ ...this.#sight, pod, gone: this.#gonePod ?? this.#pod, lines });
    if (pod !== null) return this.#fates.over(pod, told, signal);
    return { ...told, logTail: told.logTail ?? [] };
  }

  async #without(signal: AbortSignal): Promise<number> {
    if (this.stopping) return this.stopNow(signal);
    const gone = this.#gone;
    if (gone !== null) return this.condemn(() => this.#fateBy((sight) => endOfApplication(gone, sight), signal), signal);
    const leftMs = await this.leftToOthersMs(signal);
    if (leftMs > 0) return leftMs;
    if (!this.launched) return this.create(signal);
    // The watch may be behind what the claim says.
    const application = await presentApplication(this.#place, signal);
    if (application === null) return this.condemn(() => this.#fateBy(() => goneUnseen(this.#parts.name), signal), signal);
    this.#application ??= application;
    return 0;
  }

  protected async make(signal: AbortSignal): Promise<void> {
    const object = await this.#parts.object(signal);
    this.unclaimed = true;
    const made = await makeApplication(this.#place, object, signal);
    if (this.#gone?.metadata.uid !== made.metadata.uid) this.#application ??= made;
  }

  protected refusal(error: ApiError): Refusal {
    return readApplicationRefusal(error);
  }

  protected giveUp(reason: string, signal: AbortSignal): Promise<number> {
    return this.condemn(() => this.#fates.givenUp(this.#pod, DRIVER_CONTAINER, reason, "submission-refused", signal), signal);
  }

  #leftToLiveMs(): number {
    const { createdMs, spec } = this.#parts.state.claim;
    return spec.ttlMs === 0 ? FOREVER_MS : Math.min(FOREVER_MS, createdMs + spec.ttlMs - Date.now());
  }

  #expired({ status }: SparkApplication): PodEnd {
    const reason = `The session ended because its time to live of ${this.#parts.state.claim.spec.ttlMs / 1_000} s was over.`;
    return { state: "dead", reason, logTail: null, appId: status?.sparkApplicationId || null };
  }

  #tellSpark(application: SparkApplication): void {
    const { status, spec } = application;
    const ip = this.#pod?.status?.podIP;
    const shows = stateOf(application) === "RUNNING" && ip !== undefined && spec?.sparkConf?.["spark.ui.enabled"] !== "false";
    const appId = status?.sparkApplicationId || null;
    if (appId !== null) this.#link.tell({ appId, uiUrl: shows ? `http://${ip}:${uiPortOf(application)}` : null });
  }

  #dialUi(signal: AbortSignal): Promise<Duplex> {
    const application = this.#application;
    if (this.#pod === null || application === null) return Promise.reject(new Error("the driver's pod is gone"));
    return this.#parts.dialPort(this.#pod, uiPortOf(application), signal);
  }
}

const uiPortOf = ({ spec }: SparkApplication): number => Number(spec?.sparkConf?.["spark.ui.port"] ?? UI_PORT) || UI_PORT;

/** Spark puts its own container behind those of a template. */
const driverFirst = (pod: DriverPod): DriverPod => {
  const { containers } = pod.spec;
  const driver = containers.find(({ name }) => name === DRIVER_CONTAINER);
  if (driver === undefined) return pod;
  return { ...pod, spec: { ...pod.spec, containers: [driver, ...containers.filter((other) => other !== driver)] } };
};

const goneUnseen = (name: string): PodEnd => ({
  state: "dead",
  reason: `SparkApplication ${name} is gone; it was deleted while no server looked.`,
  logTail: null,
  appId: null,
  cause: "driver-lost",
});
