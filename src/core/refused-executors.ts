/** What Spark's Kubernetes client says of what it was not allowed to make. */
const REFUSAL = /Failure executing: POST at: \S+\/namespaces\/[^/\s]+\/\w+\. Message: (.+?)\.? Received status:/;
/** Spark tries it again each second, unless `spark.kubernetes.allocation.batch.delay` says otherwise. */
const STANDS_MS = 30_000;
const LIMIT_CHARS = 1_000;

/** Executors that Spark asks for and may not have: nobody but the driver's log tells of it, between lines of Java. The last refusal counts. */
export class RefusedExecutors {
  readonly #now: () => number;
  #last: { readonly words: string; readonly atMs: number } | null = null;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Lines of the driver's log as they come. */
  heard(lines: readonly string[]): void {
    for (const line of lines) {
      const words = REFUSAL.exec(line)?.[1];
      if (words !== undefined) this.#last = { words: words.slice(0, LIMIT_CHARS), atMs: this.#now() };
    }
  }

  /** Why there are no more executors; null when Spark has not been refused any for half a minute. */
  get standing(): string | null {
    if (this.#last === null || Math.abs(this.#now() - this.#last.atMs) > STANDS_MS) return null;
    return `Spark is refused an executor and asks again: ${this.#last.words}.`;
  }
}
