export interface LivenessTuning {
  /** A connection on which nothing came for so long is asked whether it still lives … */
  readonly quietMs: number;
  /** … sooner while somebody waits for an answer. */
  readonly waitingQuietMs: number;
  /** Until anything is heard after asking. */
  readonly answerMs: number;
}

export interface LivenessSubject {
  /** Whether an answer is outstanding. */
  waiting(): boolean;
  /** Whether we are not reading: silence then says nothing. */
  deaf(): boolean;
  ask(): void;
  dead(): void;
}

/**
 * Finds half-open connections, on any carrier alike: TCP keepalive would not cross a port-forward and takes minutes by default. Silence
 * alone ends nothing; an unanswered question does, and only the connection.
 */
export class Liveness {
  readonly #tuning: LivenessTuning;
  readonly #subject: LivenessSubject;
  #heardMs = performance.now();
  #asked = false;
  #dueMs = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(tuning: LivenessTuning, subject: LivenessSubject) {
    this.#tuning = tuning;
    this.#subject = subject;
    this.#arm(tuning.quietMs);
  }

  /** Something came. */
  heard(): void {
    this.#heardMs = performance.now();
    if (!this.#asked) return;
    this.#asked = false;
    this.#arm(this.#tuning.quietMs);
  }

  /** A request was sent: look sooner. */
  expecting(): void {
    const { waitingQuietMs } = this.#tuning;
    if (!this.#asked && this.#dueMs > performance.now() + waitingQuietMs) this.#arm(waitingQuietMs);
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #arm(delayMs: number): void {
    this.close();
    this.#dueMs = performance.now() + delayMs;
    this.#timer = setTimeout(() => this.#look(), delayMs);
  }

  #look(): void {
    if (this.#subject.deaf()) this.heard();
    // Timers run before sockets are read: after a long turn of the event loop the answer may be there, unread.
    if (this.#asked) setImmediate(() => this.#judge());
    else this.#judge();
  }

  #judge(): void {
    if (this.#timer === null) return;
    if (this.#asked) return this.#subject.dead();
    const { quietMs, waitingQuietMs, answerMs } = this.#tuning;
    const limitMs = this.#subject.waiting() ? waitingQuietMs : quietMs;
    const leftMs = this.#heardMs + limitMs - performance.now();
    if (leftMs > 0) return this.#arm(leftMs);
    this.#asked = true;
    this.#subject.ask();
    this.#arm(answerMs);
  }
}
