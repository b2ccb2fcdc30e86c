import type { DriverPod } from "./pod-reading.ts";

/** The newest warning that Kubernetes gave of a pod of one name; it may be heard of before the pod. */
export class NewestWarning {
  #newest: { readonly podUid: string; readonly message: string } | null = null;

  /** Answers whether it is news. */
  heard(podUid: string, message: string): boolean {
    if (this.#newest?.podUid === podUid && this.#newest.message === message) return false;
    this.#newest = { podUid, message };
    return true;
  }

  /** What was said of this pod, and of none of its name before. */
  of(pod: DriverPod | null): string | null {
    return this.#newest !== null && this.#newest.podUid === pod?.metadata.uid ? this.#newest.message : null;
  }
}
