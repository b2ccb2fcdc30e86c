import type { WantedClaim } from "../../core/ports.ts";
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
/** How much of a caller's own words goes back in a message. */
const SHOWN_CHARACTERS = 100;

type Ask = (wanted: WantedClaim, signal: AbortSignal) => Promise<ClaimState | null>;

/** Asks the API server for claims that are not known here: for each once at a time, and not too often. */
export class Lookups {
  readonly #ask: Ask;
  /** By what is wanted, in words. */
  readonly #running = new Map<string, Promise<ClaimState | null>>();
  /** What is not there, and until when that is believed. */
  readonly #absent = new Map<string, number>();
  #left = BURST;
  #leftAtMs = performance.now();

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** @throws Problem DRIVER_UNREACHABLE when it cannot be found out now */
  async find(wanted: WantedClaim): Promise<ClaimState | null> {
    const words = wordsOf(wanted);
    if ((this.#absent.get(words) ?? 0) > performance.now()) return null;
    const running = this.#running.get(words) ?? this.#find(wanted, words).finally(() => this.#running.delete(words));
    this.#running.set(words, running);
    return running;
  }

  async #find(wanted: WantedClaim, words: string): Promise<ClaimState | null> {
    const shown = words.slice(0, SHOWN_CHARACTERS);
    if (!this.#take()) throw new Problem("DRIVER_UNREACHABLE", `Too many unknown sessions are asked for: ${shown} was not looked up.`);
    try {
      const state = await this.#ask(wanted, AbortSignal.timeout(ASK_MS));
      if (state === null) this.#note(words);
      return state;
    } catch (cause) {
      const message = `Whether there is a ${shown} cannot be found out now; try again in a moment.`;
      throw new Problem("DRIVER_UNREACHABLE", message, { cause });
    }
  }

  #note(words: string): void {
    if (this.#absent.size >= ABSENT_LIMIT) this.#absent.clear();
    this.#absent.set(words, performance.now() + ABSENT_MS);
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

const wordsOf = (wanted: WantedClaim): string =>
  "kernel" in wanted ? `kernel ${wanted.kernel}` : `session ${"id" in wanted ? wanted.id : `'${wanted.name}'`}`;
