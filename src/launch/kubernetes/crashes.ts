/** A supervisor that crashes more often than this within the window is given up. */
export const RESTART_LIMIT = 3;
const RESTART_WINDOW_MS = 10 * 60_000;

/** When a driver's container crashed. */
export class Crashes {
  /** By their number; times of the node's clock. */
  readonly #atMs = new Map<number, number>();

  /** Whether there have been too many of late; `crashes` is how many there were in all, the last one at `atMs`. */
  tooMany(crashes: number, atMs: number): boolean {
    this.#atMs.set(crashes, atMs);
    // Those that no server of ours saw are taken for recent: the kubelet itself forgets them after ten quiet minutes.
    const unseen = crashes - this.#atMs.size;
    const recent = [...this.#atMs.values()].filter((ms) => ms > Date.now() - RESTART_WINDOW_MS).length;
    return unseen + recent > RESTART_LIMIT;
  }
}
