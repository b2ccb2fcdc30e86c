import type { Duplex } from "node:stream";
import { publishSession } from "../core/events.ts";
import type {
  Attempt,
  Claim,
  ClaimDraft,
  ClaimListener,
  ExecutorView,
  Launcher,
  LaunchPlan,
  SessionDraft,
  SessionEnd,
  WantedClaim,
  Workload,
} from "../core/ports.ts";
import { Problem } from "../core/problems.ts";
import type { SessionSpec } from "../core/spec.ts";
import type { RecordFrame } from "../protocol/frames.ts";
import { plain } from "./conf.ts";
import { describe } from "./files.ts";
import { admit } from "./kubernetes/admission.ts";
import { type Api, ApiError } from "./kubernetes/api.ts";
import type { ClaimState } from "./kubernetes/claim-reading.ts";
import { Claims } from "./kubernetes/claims.ts";
import { openCluster } from "./kubernetes/cluster.ts";
import { connectTcp, secure, tlsContext } from "./kubernetes/dial.ts";
import { driverObjects } from "./kubernetes/driver.ts";
import { DriverWatches, type PodWarning } from "./kubernetes/driver-watches.ts";
import { executorLogOf, executorsOf } from "./kubernetes/executors.ts";
import { KeptLogs } from "./kubernetes/kept-log.ts";
import { type MasterKeys, UNKNOWN_KEY } from "./kubernetes/keys.ts";
import { KnownClaims } from "./kubernetes/known-claims.ts";
import { readLack } from "./kubernetes/lacks.ts";
import { masterKeysOfFile, readMasterKeys } from "./kubernetes/master-key.ts";
import { driverName, SESSION_LABEL } from "./kubernetes/names.ts";
import { clearOrphans } from "./kubernetes/orphans.ts";
import { namespaceOf, PORTS } from "./kubernetes/pod.ts";
import type { DriverPod } from "./kubernetes/pod-reading.ts";
import { CronJobs } from "./kubernetes/schedules.ts";
import { eraseSession, type SessionPlace } from "./kubernetes/session-objects.ts";
import type { KubernetesSettings, PodSettings } from "./kubernetes/settings.ts";
import { packShim } from "./kubernetes/shim.ts";
import { isSparkApplication, planApplication } from "./kubernetes/spark-application.ts";
import { eraseApplication } from "./kubernetes/spark-application-objects.ts";
import type { SparkApplicationWorkload } from "./kubernetes/spark-application-workload.ts";
import { Applications } from "./kubernetes/spark-applications.ts";
import { openTunnel } from "./kubernetes/tunnel.ts";
import type { Stored } from "./kubernetes/watch.ts";
import { KubernetesWorkload } from "./kubernetes/workload.ts";
import { sparkLaunch } from "./spark.ts";

const OPEN_MS = 30_000;
const CLEAN_MS = 180_000;

/** Drivers as pods, known by claims. Rejects when the cluster does not answer or what is needed there is missing. */
export const openKubernetesLauncher = async (settings: KubernetesSettings): Promise<Launcher> => {
  const { api, namespace, pods, reach } = openCluster(settings);
  try {
    const signal = AbortSignal.timeout(OPEN_MS);
    const [shim, keys] = await Promise.all([
      packShim(settings.shimDir),
      settings.masterKeyFile === null
        ? readMasterKeys(api, namespace, settings.instance, signal)
        : masterKeysOfFile(settings.masterKeyFile),
    ]);
    const claims = new Claims(api, namespace, settings.instance, keys);
    return new KubernetesLauncher({ settings: pods, startTimeoutMs: settings.startTimeoutMs, api, keys, shim, reach, claims });
  } catch (error) {
    api.close();
    throw error;
  }
};

interface LauncherParts {
  readonly settings: PodSettings;
  readonly startTimeoutMs: number;
  readonly api: Api;
  readonly claims: Claims;
  readonly keys: MasterKeys;
  readonly shim: Uint8Array;
  readonly reach: "address" | "port-forward";
}

class KubernetesLauncher implements Launcher {
  readonly schedules: CronJobs;
  readonly #parts: LauncherParts;
  readonly #known: KnownClaims;
  readonly #logs: KeptLogs;
  /** Uids of the claims made by this server. */
  readonly #own = new Set<string>();
  /** Whether all claims that were there at the start are known. */
  #following = false;
  readonly #workloads = new Map<string, AnyWorkload>();
  /** By the name of their pods. */
  readonly #byName = new Map<string, AnyWorkload>();
  readonly #watches: DriverWatches;
  /** Those of SparkApplications, each begun with the first batch that is one. */
  readonly #applications: Applications;
  readonly #tls = tlsContext();
  readonly #closing = new AbortController();
  #closed: Promise<void> | null = null;

  constructor(parts: LauncherParts) {
    this.#parts = parts;
    this.#known = new KnownClaims(parts.claims);
    this.#logs = new KeptLogs(parts.api, parts.claims.namespace, parts.settings.instance);
    this.#applications = new Applications({
      ...this.#orphanage(),
      named: (name) => this.#byName.get(name),
      past: (uid, name) => {
        const claim = this.#known.get(uid)?.claim;
        const { instance } = parts.settings;
        return (
          claim?.attempts.some((_, index) => driverName(instance, { ...claim, attempts: claim.attempts.slice(0, index) }) === name) === true
        );
      },
      namespaces: parts.settings.batches === "spark-application" ? [parts.settings.namespace] : [],
    });
    this.schedules = new CronJobs(parts.api, parts.claims.namespace, parts.settings);
    this.#watches = new DriverWatches({
      ...{ api: parts.api, instance: parts.settings.instance, home: parts.settings.namespace },
      changed: (pod) => {
        this.#workloads.get(sessionOf(pod))?.podChanged(pod);
        if (this.#following) this.#applications.checkStray(pod);
      },
      gone: (pod) => this.#workloads.get(sessionOf(pod))?.podGone(pod),
      warned: (warning) => this.#warned(warning),
    });
  }

  async claim(draft: ClaimDraft, signal: AbortSignal): Promise<Claim> {
    const { spec } = await admit(draft, this.#parts.settings, signal);
    // Before the watch may tell of it.
    this.#own.add(draft.uid);
    const state = await this.#parts.claims.claim({ ...draft, spec }, signal).catch((error: unknown) => {
      this.#own.delete(draft.uid);
      throw error;
    });
    if (this.#known.get(draft.uid) === undefined) this.#known.put(state);
    return state.claim;
  }

  async plan(draft: SessionDraft, signal: AbortSignal): Promise<LaunchPlan> {
    return (await admit(draft, this.#parts.settings, signal)).plan;
  }

  async follow(listener: ClaimListener, signal: AbortSignal): Promise<void> {
    const changed = (state: ClaimState) => {
      this.#workloads.get(state.claim.uid)?.claimChanged(state);
      listener.known(state.claim);
    };
    const gone = ({ claim }: ClaimState) => {
      this.#workloads.get(claim.uid)?.claimGone();
      this.#forget(claim);
      listener.gone(claim);
    };
    await this.#known.follow({ changed, gone }, signal);
    this.#following = true;
    void this.#clearOrphans();
    void this.#applications.examine();
  }

  async find(wanted: WantedClaim): Promise<Claim | null> {
    return (await this.#known.find(wanted))?.claim ?? null;
  }

  launch(claim: Claim): Workload {
    const known = this.#workloads.get(claim.uid);
    if (known !== undefined) return known;
    const { settings, keys, api, claims, reach } = this.#parts;
    const state = this.#known.get(claim.uid) ?? goneState(claim);
    const namespace = this.#namespaceOf(claim.spec);
    const name = driverName(settings.instance, claim);
    this.#watches.enter(namespace, claim.uid);
    const { keyId } = state;
    // Without its key a driver cannot be spoken to, but it can be ended.
    const keyIsKnown = keys.knows(keyId);
    const sessionKeys = keys.session(keyIsKnown ? keyId : keys.current, claim.uid);
    const shared = {
      ...{ state, keys: sessionKeys, api, claims, logs: this.#logs, namespace, name },
      startTimeoutMs: this.#parts.startTimeoutMs,
      others: this.#following && !this.#own.has(claim.uid),
      dialPort: (pod: DriverPod, port: number, signal: AbortSignal): Promise<Duplex> =>
        reach === "address" ? connectTcp(pod.status?.podIP ?? "", port, signal) : openTunnel(api, namespace, name, port, signal),
    };
    const found = this.#watches.find(namespace, (pod) => isDriverOf(pod, claim.uid, name));
    const workload = isSparkApplication(claim.spec)
      ? this.#applications.launch({
          ...shared,
          found,
          object: async (signal) => planApplication({ claim, spec: await claims.spec(state, signal), settings }).object,
        })
      : new KubernetesWorkload({
          ...shared,
          found,
          mute: keyIsKnown ? null : UNKNOWN_KEY,
          objects: async (signal) =>
            driverObjects({
              claim,
              spec: await claims.spec(state, signal),
              settings,
              linkKey: sessionKeys.link,
              certificate: keys.certificate(keyId, claim.uid),
              shim: this.#parts.shim,
            }),
          dial: async (pod, signal) => secure(await shared.dialPort(pod, PORTS.link, signal), sessionKeys.pin, this.#tls, signal),
        });
    this.#workloads.set(claim.uid, workload);
    this.#byName.set(name, workload);
    // What was warned of before anybody here knew whose it was.
    for (const warning of this.#watches.warnings(namespace, name)) this.#warned(warning);
    return workload;
  }

  async retry(claim: Claim, attempt: Attempt): Promise<Claim> {
    const known = this.#known.get(claim.uid) ?? goneState(claim);
    const state = await this.#parts.claims.retry({ ...known, claim }, attempt, this.#cleaning());
    this.#known.put(state);
    const name = driverName(this.#parts.settings.instance, claim);
    const workload = this.#byName.get(name);
    await workload?.release();
    this.#byName.delete(name);
    if (this.#workloads.get(claim.uid) === workload) this.#workloads.delete(claim.uid);
    return state.claim;
  }

  async conclude(claim: Claim, end: SessionEnd): Promise<SessionEnd> {
    const state = this.#known.get(claim.uid);
    if (state === undefined) return end;
    if (state.claim.end !== null) return state.claim.end;
    const signal = this.#cleaning();
    const written = await this.#parts.claims.conclude(state, end, signal);
    this.#known.put({ ...state, claim: { ...claim, end: written } });
    await this.#erase(claim, signal).catch((error: unknown) => {
      const detail = `what is left of its driver could not be removed: ${describe(error)}`;
      publishSession({ session: claim.id, event: "fault", detail });
    });
    return written;
  }

  log(claim: Claim, from: number, lines: number): Promise<readonly string[]> {
    return this.#logs.lines(claim, from, lines);
  }

  /** They were in the driver's pod. */
  async *records(): AsyncGenerator<readonly RecordFrame[]> {}

  readonly showsExecutors = true;

  executors(claim: Claim, signal: AbortSignal): Promise<readonly ExecutorView[]> {
    return executorsOf(this.#placeOf(claim), signal);
  }

  executorLog(claim: Claim, name: string, lines: number, signal: AbortSignal): Promise<string | null> {
    return executorLogOf(this.#placeOf(claim), name, lines, signal);
  }

  #placeOf(claim: Claim): SessionPlace {
    const { api, settings } = this.#parts;
    return { api, namespace: this.#namespaceOf(claim.spec), name: driverName(settings.instance, claim), uid: claim.uid };
  }

  async remove(claim: Claim): Promise<void> {
    const signal = this.#cleaning();
    try {
      await this.#erase(claim, signal);
      await this.#parts.claims.remove(this.#known.get(claim.uid) ?? goneState(claim), signal);
    } catch (cause) {
      const why = (cause instanceof ApiError ? readLack(cause)?.reason : undefined) ?? `${describe(cause)}.`;
      throw new Problem("DRIVER_UNREACHABLE", `It could not be removed from Kubernetes, and stays listed: ${why}`, { cause });
    }
    this.#known.drop(claim.uid);
    await this.#workloads.get(claim.uid)?.release();
    this.#forget(claim);
  }

  #forget(claim: Claim): void {
    this.#own.delete(claim.uid);
    this.#workloads.delete(claim.uid);
    this.#byName.delete(driverName(this.#parts.settings.instance, claim));
    const namespace = this.#namespaceOf(claim.spec);
    if (this.#watches.leave(namespace, claim.uid)) this.#applications.leave(namespace);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort(new Error("the launcher was closed"));
    await Promise.all([...this.#workloads.values()].map((workload) => workload.release()));
    const watches = [this.#known, this.schedules, this.#applications, this.#watches];
    await Promise.all(watches.map((watch) => watch.close()));
    this.#parts.api.close();
  }

  #cleaning(): AbortSignal {
    return AbortSignal.any([this.#closing.signal, AbortSignal.timeout(CLEAN_MS)]);
  }

  /** Unless its workload has seen to that. */
  async #erase(claim: Claim, signal: AbortSignal): Promise<void> {
    if (this.#workloads.get(claim.uid)?.erased === true) return;
    const erase = isSparkApplication(claim.spec) ? eraseApplication : eraseSession;
    await erase(this.#placeOf(claim), 0, signal);
  }

  #namespaceOf(spec: SessionSpec): string {
    const { settings } = this.#parts;
    return namespaceOf(plain(sparkLaunch(0, spec, settings.spark).conf), settings);
  }

  #warned({ name, uid, driver, message, atMs }: PodWarning): void {
    const workload = this.#byName.get(driver);
    if (driver === name) workload?.warned(uid, message);
    else workload?.executorWarned(name, message, atMs);
  }

  #clearOrphans(): Promise<void> {
    return clearOrphans({ ...this.#orphanage(), namespaces: this.#watches.namespaces }, this.#closing.signal);
  }

  #orphanage() {
    const { api, claims, settings } = this.#parts;
    const lives = (uid: string) => this.#own.has(uid) || this.#known.get(uid)?.claim.end === null;
    return { api, claims, instance: settings.instance, lives };
  }
}

/** What stands for a claim that is gone: nothing is begun for it. */
const goneState = (claim: Claim): ClaimState => {
  const end: SessionEnd = { state: "killed", reason: "The session was deleted.", logTail: [], endedMs: Date.now(), appId: null };
  return { claim: { ...claim, end: claim.end ?? end }, keyId: "", hasSecret: true, shared: true, launched: true, doom: null };
};

type AnyWorkload = KubernetesWorkload | SparkApplicationWorkload;

const sessionOf = (pod: Stored): string => pod.metadata.labels?.[SESSION_LABEL] ?? "";
const isDriverOf = (pod: DriverPod, uid: string, name: string): boolean => sessionOf(pod) === uid && pod.metadata.name === name;
