/** That something has changed, and those who wait for a change that brings what they want. */
export class Changes {
  #count = 0;
  readonly #waiters = new Set<() => void>();

  /** Grows with each. */
  get count(): number {
    return this.#count;
  }

  tell(): void {
    this.#count += 1;
    for (const wake of [...this.#waiters]) wake();
  }

  /** Resolves with true once `fact` holds, with false after `waitMs`; looks again at each change. Rejects with the signal's reason. */
  until(fact: () => boolean, waitMs: number, signal: AbortSignal): Promise<boolean> {
    if (fact()) return Promise.resolve(true);
    if (waitMs <= 0) return Promise.resolve(false);
    return new Promise((resolve, reject) => {
      const finish = (end: () => void) => {
        clearTimeout(timer);
        this.#waiters.delete(look);
        signal.removeEventListener("abort", abort);
        end();
      };
      const look = () => {
        if (fact()) finish(() => resolve(true));
      };
      const abort = () => finish(() => reject(signal.reason));
      const timer = setTimeout(() => finish(() => resolve(false)), waitMs);
      this.#waiters.add(look);
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
    });
  }
}
