import { publishSession } from "../../core/events.ts";
import type { Claim, SessionEnd } from "../../core/ports.ts";
import type { EndCause } from "../../core/states.ts";
import { describe } from "../files.ts";
import type { KeptLogs } from "./kept-log.ts";
import type { DriverPod, PodEnd } from "./pod-reading.ts";
import { readLog, readWholeLog, type SessionPlace } from "./session-objects.ts";

/** How a driver ends; when that was is said by whoever writes it down. */
export type Fate = Omit<SessionEnd, "endedMs">;

export const STOPPED: Fate = { state: "killed", reason: "The session was stopped.", logTail: [], appId: null };
export const GONE_CLAIM = { state: "killed", reason: "The session was deleted.", logTail: [] } as const;
export const GONE_UNSEEN: Fate = {
  state: "dead",
  reason: "The driver's pod is gone; it was deleted while no server looked.",
  logTail: [],
  appId: null,
  cause: "driver-lost",
};

/** Of an application's log, that an end holds itself. */
const KEPT_LINES = 1_000;

/** Whose fates these are, and where their logs are. */
export interface FatesParts {
  readonly place: SessionPlace;
  readonly claim: Claim;
  readonly logs: KeptLogs;
}

/** How one driver ended, with what it wrote: read while its pod is there. */
export class Fates {
  readonly #parts: FatesParts;

  constructor(parts: FatesParts) {
    this.#parts = parts;
  }

  /** Its pod is over. */
  async over(pod: DriverPod, end: PodEnd, signal: AbortSignal): Promise<Fate> {
    const kept = await this.#keepLog(pod, signal);
    if (kept !== null) return { ...end, ...kept };
    const container = await readLog(this.#parts.place, driverOf(pod), signal);
    // The driver's own words for its end hold few lines.
    return { ...end, logTail: container.length > 0 ? container : (end.logTail ?? []) };
  }

  /** It is given up; the log of `container` may say more, the driver's own when it is null. */
  async givenUp(pod: DriverPod | null, container: string | null, reason: string, cause: EndCause, signal: AbortSignal): Promise<Fate> {
    const logTail = pod === null ? [] : await readLog(this.#parts.place, container ?? driverOf(pod), signal);
    return { state: "dead", reason, logTail: [...logTail, reason], appId: null, cause };
  }

  /** What an application wrote is what it leaves: all of it is kept before its pod goes; null when there is nothing to keep. */
  async #keepLog(pod: DriverPod, signal: AbortSignal): Promise<{ logTail: readonly string[]; logLines: number } | null> {
    const { place, claim, logs } = this.#parts;
    if (claim.spec.application === undefined) return null;
    try {
      const kept = await logs.keep(claim, () => readWholeLog(place, driverOf(pod), signal), signal);
      return kept === null ? null : { logTail: kept.lines.slice(-KEPT_LINES), logLines: kept.from + kept.lines.length };
    } catch (error) {
      if (signal.aborted) throw error;
      publishSession({ session: claim.id, event: "fault", detail: `its log cannot be kept whole: ${describe(error)}` });
      return null;
    }
  }
}

const driverOf = (pod: DriverPod): string | undefined => pod.spec.containers[0]?.name;
