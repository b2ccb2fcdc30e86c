import { publishSession } from "../../core/events.ts";
import type { Api } from "./api.ts";
import { INSTANCE_LABEL, ROLE_LABEL } from "./names.ts";
import type { DriverPod } from "./pod-reading.ts";
import { type Stored, Watch } from "./watch.ts";

/** A warning of Kubernetes about a pod. */
export interface PodWarning {
  /** Of the pod that it is about. */
  readonly name: string;
  readonly uid: string;
  /** Of the driver whose pod, or whose executor's, that is. */
  readonly driver: string;
  readonly message: string;
  /** When it was seen last, Unix time in milliseconds. */
  readonly atMs: number;
}

export interface DriverWatchesParts {
  readonly api: Api;
  readonly instance: string;
  /** The namespace that is followed as long as the server lives. */
  readonly home: string;
  changed(pod: DriverPod): void;
  gone(pod: DriverPod): void;
  warned(warning: PodWarning): void;
}

interface PodEvent extends Stored {
  readonly reason?: string;
  readonly message?: string;
  /** When it was seen last, by whoever counts; else when it was seen. */
  readonly lastTimestamp?: string | null;
  readonly eventTime?: string | null;
  readonly involvedObject: { readonly uid?: string; readonly name?: string };
}

interface Followed {
  readonly pods: Watch<DriverPod>;
  readonly events: Watch<PodEvent>;
  /** Uids of the sessions whose drivers are there. */
  readonly sessions: Set<string>;
}

/** Drivers' pods and what Kubernetes warns of them: one watch of each a namespace, from its first session until its last is removed. */
export class DriverWatches {
  readonly #parts: DriverWatchesParts;
  readonly #followed = new Map<string, Followed>();

  constructor(parts: DriverWatchesParts) {
    this.#parts = parts;
    this.#follow(parts.home);
  }

  get namespaces(): readonly string[] {
    return [...this.#followed.keys()];
  }

  /** The session's driver is there. */
  enter(namespace: string, session: string): void {
    this.#follow(namespace).sessions.add(session);
  }

  /** Nothing of the session is there any more; answers whether nobody's is, and the namespace is left. */
  leave(namespace: string, session: string): boolean {
    const followed = this.#followed.get(namespace);
    if (followed === undefined) return false;
    followed.sessions.delete(session);
    if (followed.sessions.size > 0 || namespace === this.#parts.home) return false;
    this.#followed.delete(namespace);
    void close(followed);
    return true;
  }

  /** A watch that is refused is not waited for: every step can be done without it, and says what is in its way. */
  async find(namespace: string, wanted: (pod: DriverPod) => boolean): Promise<DriverPod | null> {
    const { pods } = this.#follow(namespace);
    await pods.looked;
    return [...pods.values()].find(wanted) ?? null;
  }

  /** What has been warned of a driver so far, the oldest first. */
  warnings(namespace: string, driver: string): readonly PodWarning[] {
    const events = this.#followed.get(namespace)?.events.values() ?? [];
    return [...events]
      .flatMap((event) => warningOf(event) ?? [])
      .filter((warning) => warning.driver === driver)
      .toSorted((a, b) => a.atMs - b.atMs);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#followed.values()].map(close));
  }

  #follow(namespace: string): Followed {
    const known = this.#followed.get(namespace);
    if (known !== undefined) return known;
    const { api, instance, changed, gone, warned } = this.#parts;
    const fault = (detail: string) => publishSession({ session: -1, event: "fault", detail });
    const pods = new Watch<DriverPod>(api, {
      path: `api/v1/namespaces/${namespace}/pods`,
      query: { labelSelector: `${INSTANCE_LABEL}=${instance},${ROLE_LABEL}=driver` },
      changed,
      gone,
      fault,
    });
    const events = new Watch<PodEvent>(api, {
      path: `api/v1/namespaces/${namespace}/events`,
      query: { fieldSelector: "type=Warning,involvedObject.kind=Pod" },
      changed: (event) => {
        const warning = warningOf(event);
        if (warning !== null) warned(warning);
      },
      gone: () => undefined,
      fault,
    });
    const followed = { pods, events, sessions: new Set<string>() };
    this.#followed.set(namespace, followed);
    return followed;
  }
}

const close = async ({ pods, events }: Followed): Promise<void> => {
  await Promise.all([pods.close(), events.close()]);
};

/** What follows a warning that says why. */
const SAYS_NOTHING = /^(Error: \w+|Back-off .*)$/s;

/** How Spark names executors after their prefix, here the driver's name (ExecutorPodsAllocator). */
const EXECUTOR_SUFFIX = /-exec-\d+$/;

const warningOf = ({ reason = "", message = "", involvedObject, ...event }: PodEvent): PodWarning | null => {
  if (SAYS_NOTHING.test(message)) return null;
  const { name = "", uid = "" } = involvedObject;
  const atMs = Date.parse(event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp ?? "");
  // As a line of a log.
  const text = `${reason}: ${message}`.trim().replaceAll(/\s+/g, " ");
  return { name, uid, driver: name.replace(EXECUTOR_SUFFIX, ""), message: text, atMs };
};
