import { Problem } from "../../core/problems.ts";
import type { ClaimState } from "./claim-reading.ts";

/** A question that is not answered by then is given up. */
const ASK_MS = 3_000;
/** What was not there a moment ago is not asked for again. */
const ABSENT_MS = 1_000;
const ABSENT_LIMIT = 1_000;
/** Questions a second, and how many at once after a pause: whoever asks for what never was must not keep the API server busy. */
const RATE = 50;
const BURST = 100;

type Ask = (idOrName: number | string, signal: AbortSignal) => Promise<ClaimState | null>;

/** Asks the API server for claims that are not known here: for each once at a time, and not too often. */
export class Lookups {
  readonly #ask: Ask;
  readonly #running = new Map<number | string, Promise<ClaimState | null>>();
  /** What is not there, and until when that is believed. */
  readonly #absent = new Map<number | string, number>();
  #left = BURST;
  #leftAtMs = performance.now();

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** @throws Problem DRIVER_UNREACHABLE when it cannot be found out now */
  async find(idOrName: number | string): Promise<ClaimState | null> {
    if ((this.#absent.get(idOrName) ?? 0) > performance.now()) return null;
    const running = this.#running.get(idOrName) ?? this.#find(idOrName).finally(() => this.#running.delete(idOrName));
    this.#running.set(idOrName, running);
    return running;
  }

  async #find(idOrName: number | string): Promise<ClaimState | null> {
    const shown = String(idOrName).slice(0, 100);
    if (!this.#take()) throw new Problem("DRIVER_UNREACHABLE", `Too many unknown sessions are asked for: '${shown}' was not looked up.`);
    try {
      const state = await this.#ask(idOrName, AbortSignal.timeout(ASK_MS));
      if (state === null) this.#note(idOrName);
      return state;
    } catch (cause) {
      const message = `Whether there is a session '${shown}' cannot be found out now; try again in a moment.`;
      throw new Problem("DRIVER_UNREACHABLE", message, { cause });
    }
  }

  #note(idOrName: number | string): void {
    if (this.#absent.size >= ABSENT_LIMIT) this.#absent.clear();
    this.#absent.set(idOrName, performance.now() + ABSENT_MS);
  }

  /** Whether one more question may be asked now. */
  #take(): boolean {
    const nowMs = performance.now();
    this.#left = Math.min(BURST, this.#left + ((nowMs - this.#leftAtMs) * RATE) / 1_000);
    this.#leftAtMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
