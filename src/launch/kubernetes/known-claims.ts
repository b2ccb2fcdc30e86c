import { publishSession } from "../../core/events.ts";
import type { WantedClaim } from "../../core/ports.ts";
import type { ClaimState, ConfigMap } from "./claim-reading.ts";
import type { Claims } from "./claims.ts";
import { Lookups } from "./lookups.ts";
import type { Watch } from "./watch.ts";

/** Told of claims, whichever server's hand is in it. */
export interface ClaimNews {
  changed(state: ClaimState): void;
  gone(state: ClaimState): void;
}

/** News of a claim that is gone come late by moments only. */
const GONE_LIMIT = 1_000;

/** What this server knows of claims: its own, and by one watch those of every server of the instance. */
export class KnownClaims {
  readonly #claims: Claims;
  readonly #lookups: Lookups;
  readonly #states = new Map<string, ClaimState>();
  /** Uids of those that were here and are gone: what is heard of them after that is old. */
  readonly #gone = new Set<string>();
  readonly #watches: Watch<ConfigMap>[] = [];

  constructor(claims: Claims) {
    this.#claims = claims;
    this.#lookups = new Lookups((wanted, signal) => claims.find(wanted, signal));
  }

  get(uid: string): ClaimState | undefined {
    return this.#states.get(uid);
  }

  /** Tells of all there are and resolves; goes on telling until closed. */
  async follow(news: ClaimNews, signal: AbortSignal): Promise<void> {
    const changed = (state: ClaimState) => {
      if (this.#gone.has(state.claim.uid)) return;
      this.put(state);
      news.changed(state);
    };
    const gone = (uid: string) => {
      const state = this.#states.get(uid);
      this.drop(uid);
      if (state !== undefined) news.gone(state);
    };
    const fault = (detail: string) => publishSession({ session: -1, event: "fault", detail });
    const watch = await this.#claims.follow({ changed, gone, fault }, signal);
    this.#watches.push(watch);
    await orAborted(watch.synced, signal);
  }

  /**
   * A claim, asked for where claims are kept.
   * @throws Problem DRIVER_UNREACHABLE when that cannot be found out now
   */
  async find(wanted: WantedClaim): Promise<ClaimState | null> {
    const found = await this.#lookups.find(wanted);
    if (found === null || this.#gone.has(found.claim.uid)) return null;
    const known = this.#states.get(found.claim.uid);
    if (known !== undefined) return known;
    this.put(found);
    return found;
  }

  /** Nothing for one that is gone, nor what was so before its last attempt. */
  put(state: ClaimState): void {
    const { uid, attempts } = state.claim;
    const known = this.#states.get(uid)?.claim.attempts.length ?? 0;
    if (!this.#gone.has(uid) && attempts.length >= known) this.#states.set(uid, state);
  }

  /** It is gone for good. */
  drop(uid: string): void {
    this.#states.delete(uid);
    this.#gone.add(uid);
    const [oldest] = this.#gone;
    if (this.#gone.size > GONE_LIMIT && oldest !== undefined) this.#gone.delete(oldest);
  }

  async close(): Promise<void> {
    await Promise.all(this.#watches.map((watch) => watch.close()));
  }
}

const orAborted = async (promise: Promise<void>, signal: AbortSignal): Promise<void> => {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
};
