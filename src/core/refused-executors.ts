/** What Spark's Kubernetes client says of what it was not allowed to make. */
const MARK = "Failure executing: POST at: ";
const REFUSAL = /^\S+\/namespaces\/[^/\s]+\/\w+\. Message: (.+?)\.? Received status:/;
/** So much of a line is looked at, which may be any text of a user's. */
const LOOK_CHARS = 4_096;
const TOLD_CHARS = 1_000;
/** Spark tries it again each second, unless `spark.kubernetes.allocation.batch.delay` says otherwise. */
const STANDS_MS = 30_000;

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
      const at = line.indexOf(MARK);
      if (at === -1) continue;
      const from = at + MARK.length;
      const words = REFUSAL.exec(line.slice(from, from + LOOK_CHARS))?.[1];
      // A new context counts its executors from 1 again, and goes on to the next number.
      if (words !== undefined && !words.includes("already exists")) this.#last = { words: words.slice(0, TOLD_CHARS), atMs: this.#now() };
    }
  }

  /** Why there are no more executors; null when Spark has not been refused any for half a minute. */
  get standing(): string | null {
    if (this.#last === null || Math.abs(this.#now() - this.#last.atMs) > STANDS_MS) return null;
    return `Spark is refused an executor and asks again: ${this.#last.words}.`;
  }
}
