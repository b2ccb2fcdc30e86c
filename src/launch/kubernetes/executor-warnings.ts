import { type Api, isStatus } from "./api.ts";
import type { DriverPod } from "./pod-reading.ts";

const ASK_MS = 5_000;

/** What Kubernetes says of a driver's executors that do not start: why a job waits. The newest counts, while its executor waits. */
export class ExecutorWarnings {
  readonly #api: Api;
  readonly #namespace: string;
  #newest: { readonly executor: string; readonly message: string; readonly atMs: number } | null = null;

  constructor(api: Api, namespace: string) {
    this.#api = api;
    this.#namespace = namespace;
  }

  warned(executor: string, message: string, atMs: number): void {
    if (atMs >= (this.#newest?.atMs ?? 0)) this.#newest = { executor, message, atMs };
  }

  /** In words; null when there is none. Nobody tells that an executor waits no more, so that it is looked at. */
  async standing(signal: AbortSignal): Promise<string | null> {
    const newest = this.#newest;
    if (newest === null) return null;
    const within = AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]);
    const waits = await this.#api.get<DriverPod>(`api/v1/namespaces/${this.#namespace}/pods/${newest.executor}`, within).then(
      ({ status }) => status?.phase === "Pending",
      (error: unknown) => !isStatus(error, 404),
    );
    if (waits) return `Executor ${newest.executor} waits: ${newest.message}`;
    if (this.#newest === newest) this.#newest = null;
    return null;
  }
}
