import { RESTART_LIMIT, recentOf } from "../restarts.ts";

/** When a driver's container crashed. */
export class Crashes {
  /** By their number; times of the node's clock. */
  readonly #atMs = new Map<number, number>();

  /** Whether there have been too many of late; `crashes` is how many there were in all, the last one at `atMs`. */
  tooMany(crashes: number, atMs: number): boolean {
    this.#atMs.set(crashes, atMs);
    // Those that no server of ours saw are taken for recent: the kubelet itself forgets them after ten quiet minutes.
    const unseen = crashes - this.#atMs.size;
    return unseen + recentOf([...this.#atMs.values()]).length > RESTART_LIMIT;
  }
}
