import type { SessionEnd } from "../core/ports.ts";
import type { WorkloadPhase } from "../core/states.ts";

/** A workload's phase and those who follow it. */
export class Phases {
  #current: WorkloadPhase;
  readonly #followers = new Set<(phase: WorkloadPhase) => void>();

  /** Of a session that has not ended (null) it is pending first, for this reason. */
  constructor(end: SessionEnd | null, reason: string) {
    this.#current = end === null ? { phase: "pending", reason } : { phase: "ended", ...end };
  }

  get current(): WorkloadPhase {
    return this.#current;
  }

  /** Nothing follows an end. */
  set(phase: WorkloadPhase): void {
    if (this.#current.phase === "ended") return;
    this.#current = phase;
    for (const tell of this.#followers) tell(phase);
  }

  /** Resolves when it runs. Rejects when it has ended, or with the signal's reason. */
  async running(signal: AbortSignal): Promise<void> {
    for await (const { phase } of this.follow(signal)) {
      if (phase === "ended") throw new Error("the driver has ended");
      if (phase === "running") return;
    }
    throw signal.reason;
  }

  /** The phase now and each later one, none left out; ends after `ended` or when the signal aborts. */
  async *follow(signal: AbortSignal): AsyncGenerator<WorkloadPhase, void, undefined> {
    const queue: WorkloadPhase[] = [this.#current];
    let wake: () => void = () => undefined;
    const tell = (phase: WorkloadPhase) => {
      queue.push(phase);
      wake();
    };
    const leave = () => wake();
    this.#followers.add(tell);
    signal.addEventListener("abort", leave);
    try {
      while (!signal.aborted) {
        const phase = queue.shift();
        if (phase === undefined) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        yield phase;
        if (phase.phase === "ended") return;
      }
    } finally {
      this.#followers.delete(tell);
      signal.removeEventListener("abort", leave);
    }
  }
}
