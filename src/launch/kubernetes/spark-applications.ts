import { publishSession } from "../../core/events.ts";
import { describe } from "../files.ts";
import { isStatus } from "./api.ts";
import { uidOf } from "./claim-reading.ts";
import { INSTANCE_LABEL, SESSION_LABEL } from "./names.ts";
import { type Orphanage, orphansOf } from "./orphans.ts";
import type { DriverPod } from "./pod-reading.ts";
import { applicationsPath, OPERATOR } from "./spark-application.ts";
import { eraseApplication } from "./spark-application-objects.ts";
import type { SparkApplication } from "./spark-application-reading.ts";
import { type SparkApplicationParts, SparkApplicationWorkload } from "./spark-application-workload.ts";
import { type Stored, Watch } from "./watch.ts";

export interface ApplicationsParts extends Orphanage {
  /** The workload of this name, whatever kind it is. */
  named(name: string): unknown;
  /** Whether a driver's pod of this name was of an attempt that is known to have ended. */
  past(session: string, name: string): boolean;
  /** Where new batches are made as SparkApplications; none: they are not. */
  readonly namespaces: readonly string[];
}

const EXAMINE_MS = 30_000;

/** All SparkApplications of this server's batches, followed by one watch a namespace that is begun with the first of them. */
export class Applications {
  readonly #parts: ApplicationsParts;
  readonly #watches = new Map<string, Watch<SparkApplication>>();
  readonly #closing = new AbortController();
  /** Uids of pods that are being ended. */
  readonly #strays = new Set<string>();

  constructor(parts: ApplicationsParts) {
    this.#parts = parts;
  }

  launch(parts: SparkApplicationParts): SparkApplicationWorkload {
    this.#watch(parts.namespace);
    return new SparkApplicationWorkload(parts);
  }

  /** Nothing of anybody's is in that namespace any more. */
  leave(namespace: string): void {
    void this.#watches.get(namespace)?.close();
    this.#watches.delete(namespace);
  }

  /** Says what is missing for new batches to be SparkApplications; removes those that no living batch owns. Never rejects. */
  async examine(): Promise<void> {
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(EXAMINE_MS)]);
    for (const namespace of this.#parts.namespaces)
      try {
        for (const orphan of await orphansOf(this.#parts, applicationsPath(namespace), signal)) await this.#end(orphan, namespace, signal);
      } catch (error) {
        if (!this.#closing.signal.aborted) fault(`batches cannot be SparkApplications in namespace ${namespace}: ${whyNot(error)}`);
      }
  }

  /**
   * Ends a driver that the operator made of a SparkApplication that is gone: its spark-submit was under way when the batch ended, and
   * nothing else knows of that pod.
   */
  checkStray(pod: DriverPod): void {
    const { name, uid, labels = {}, deletionTimestamp } = pod.metadata;
    const session = labels[SESSION_LABEL];
    if (labels[OPERATOR.launchedLabel] !== "true" || session === undefined || deletionTimestamp !== undefined) return;
    if (this.#strays.has(uid) || (this.#parts.named(name) !== undefined && this.#parts.lives(session))) return;
    this.#strays.add(uid);
    void this.#endStray(pod, session).finally(() => this.#strays.delete(uid));
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new Error("the launcher was closed"));
    await Promise.all([...this.#watches.values()].map((watch) => watch.close()));
  }

  async #endStray({ metadata: { name, namespace = "", uid } }: DriverPod, session: string): Promise<void> {
    const { api, claims, past } = this.#parts;
    const { signal } = this.#closing;
    try {
      // What is known here may be old: another server may have claimed it a moment ago.
      if (!past(session, name) && (await claims.lives(session, signal))) return;
      fault(`driver ${name}, made of a SparkApplication that is gone, belongs to no attempt that goes on, and is removed`);
      await api.delete(`api/v1/namespaces/${namespace}/pods/${name}`, signal, { preconditions: { uid } });
    } catch (error) {
      if (!signal.aborted && !isStatus(error, 409)) fault(`driver ${name} belongs to no batch and cannot be removed: ${describe(error)}`);
    }
  }

  async #end(orphan: Stored, namespace: string, signal: AbortSignal): Promise<void> {
    const { name } = orphan.metadata;
    fault(`SparkApplication ${name} belongs to no batch and is removed`);
    await eraseApplication({ api: this.#parts.api, namespace, name, uid: uidOf(orphan) }, 0, signal);
  }

  #watch(namespace: string): void {
    if (this.#watches.has(namespace)) return;
    const { api, instance } = this.#parts;
    const workload = ({ metadata: { name } }: SparkApplication): SparkApplicationWorkload | null => {
      const found = this.#parts.named(name);
      return found instanceof SparkApplicationWorkload ? found : null;
    };
    const watch = new Watch<SparkApplication>(api, {
      path: applicationsPath(namespace),
      query: { labelSelector: `${INSTANCE_LABEL}=${instance}` },
      changed: (application) => workload(application)?.applicationChanged(application),
      gone: (application) => workload(application)?.applicationGone(application),
      // Enough to tell of its end.
      keep: ({ metadata, status }) => ({ metadata, ...(status === undefined ? {} : { status }) }),
      fault,
    });
    this.#watches.set(namespace, watch);
  }
}

const fault = (detail: string): void => publishSession({ session: -1, event: "fault", detail });

/** Why the list of SparkApplications could not be read. */
export const whyNot = (error: unknown): string => {
  if (isStatus(error, 404)) return `the Spark Operator's CRD ${OPERATOR.resource}.${OPERATOR.group} (v1beta2) is not installed`;
  if (isStatus(error, 403)) return `the server's account may not (docs/kubernetes.md has the Role): ${error.message}`;
  return describe(error);
};
