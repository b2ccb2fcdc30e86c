/** What a queue tells its filler: it holds more than its bound; it has room again. */
export interface Pressure {
  full(): void;
  free(): void;
}

/** Events between a socket and the one loop that folds them. Never drops: past its bound it asks the filler to wait. */
export class EventQueue<Event> implements AsyncIterable<Event> {
  readonly #limitBytes: number;
  readonly #pressure: Pressure;
  #events: { event: Event; bytes: number }[] = [];
  #bytes = 0;
  #full = false;
  #ended = false;
  #wake: (() => void) | null = null;

  constructor(limitBytes: number, pressure: Pressure) {
    this.#limitBytes = limitBytes;
    this.#pressure = pressure;
  }

  /** Whether the filler was asked to wait. */
  get full(): boolean {
    return this.#full;
  }

  push(event: Event, bytes: number): void {
    this.#events.push({ event, bytes });
    this.#bytes += bytes;
    if (this.#bytes > this.#limitBytes && !this.#full) {
      this.#full = true;
      this.#pressure.full();
    }
    this.#wake?.();
  }

  /** What is queued is still delivered. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void, undefined> {
    for (;;) {
      const taken = this.#events;
      this.#events = [];
      for (const { event, bytes } of taken) {
        yield event;
        this.#bytes -= bytes;
      }
      if (this.#full && this.#bytes <= this.#limitBytes) {
        this.#full = false;
        this.#pressure.free();
      }
      if (this.#events.length > 0) continue;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }
}
