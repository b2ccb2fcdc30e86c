import { Life } from "./life.ts";
import type { SessionEnd } from "./ports.ts";
import type { Application } from "./spec.ts";
import { type BatchState, batchState } from "./states.ts";

/** A try of a batch, as it is shown. */
export interface AttemptView {
  /** From 1. */
  readonly number: number;
  readonly startedMs: number;
  /** How it ended; null: it has not. */
  readonly end: SessionEnd | null;
}

/** A batch: an application that runs to its end, in one attempt or several, each with a driver of its own. */
export class Batch extends Life {
  get state(): BatchState {
    return batchState(this.phase, this.end !== null);
  }

  get application(): Application {
    const { application } = this.spec;
    if (application === undefined) throw new Error(`claim ${this.id} is no batch's`);
    return application;
  }

  /** Oldest first; the last is the current one, or the one that the batch ended with. */
  get attempts(): readonly AttemptView[] {
    const { attempts, createdMs } = this.claim;
    const ends = [...attempts, this.end];
    return ends.map((end, index) => ({ number: index + 1, startedMs: attempts[index - 1]?.nextMs ?? createdMs, end }));
  }
}
