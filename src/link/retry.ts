import { setTimeout as sleep } from "node:timers/promises";

/** Pauses between attempts: doubled each time up to a limit, with jitter so that many links do not dial in step. */
export class Backoff {
  readonly #firstMs: number;
  readonly #limitMs: number;
  #nextMs: number;

  constructor(firstMs: number, limitMs: number) {
    this.#firstMs = firstMs;
    this.#limitMs = limitMs;
    this.#nextMs = firstMs;
  }

  /** The next pause in milliseconds: between half and the whole of what is due. */
  next(): number {
    const dueMs = this.#nextMs;
    this.#nextMs = Math.min(2 * dueMs, this.#limitMs);
    return dueMs * (0.5 + Math.random() / 2);
  }

  /** Something worked: begin with short pauses again. */
  reset(): void {
    this.#nextMs = this.#firstMs;
  }
}

/** Waits; a signal that aborts ends the pause early, without an exception. */
export const pause = async (ms: number, signal: AbortSignal): Promise<void> => {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
};

/**
 * Runs `work` with a signal that aborts when the outer one does or after `ms`, whichever comes first; leaves neither timer nor listener.
 * The reason of the late case is an Error with `message`.
 */
export const within = async <Value>(
  ms: number,
  message: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<Value>,
): Promise<Value> => {
  signal.throwIfAborted();
  const controller = new AbortController();
  const leave = () => controller.abort(signal.reason);
  const timer = setTimeout(() => controller.abort(new Error(message)), ms);
  signal.addEventListener("abort", leave, { once: true });
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", leave);
  }
};
