import type { Duplex } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { publishSession } from "../../core/events.ts";
import type { Workload } from "../../core/ports.ts";
import type { WorkloadPhase } from "../../core/states.ts";
import { describe } from "../files.ts";
import { Phases } from "../phases.ts";
import { ApiError, NoAnswer } from "./api.ts";
import type { ClaimState, Doom } from "./claim-reading.ts";
import type { Claims } from "./claims.ts";
import { type Fate, GONE_CLAIM, STOPPED } from "./fates.ts";
import type { SessionKeys } from "./keys.ts";
import { isLack, type Lack, readLack } from "./lacks.ts";
import type { Refusal } from "./refusals.ts";

/** What every workload needs that a claim stands for. */
export interface ClaimedParts {
  readonly state: ClaimState;
  readonly keys: SessionKeys;
  readonly claims: Claims;
  /** Whether another server made the claim and most likely looks after it. */
  readonly others: boolean;
  /** How long a driver may take to run; 0: for ever. */
  readonly startTimeoutMs: number;
}

/** What another server has begun is left to it for so long; then it is taken for gone. */
const TAKEOVER_MS = 3_000;
/** A try to make what is to be made; then its state is told, and it is tried again. */
const CREATE_MS = 20_000;
const CREATE_PAUSE_MS = 1_000;
const QUOTA_PAUSE_MS = 5_000;
/** A right that is missing may come so late: with the next step of an installation, or once an API server has read its rules. */
const RIGHTS_MS = 30_000;
const RIGHTS_PAUSE_MS = 2_000;
/** The longest a timer can be told to wait. */
export const FOREVER_MS = 2 ** 31 - 1;

/**
 * One loop looks where a workload stands and does what is next, whoever left it there. Several servers may do the same at once: every
 * step may be done twice, and what was decided is in the claim. So that it seldom is, the one that made the claim goes first. What is
 * made, read and removed is its kind's own business.
 */
export abstract class ClaimedWorkload implements Workload {
  readonly key: Uint8Array;
  readonly seal: Uint8Array;
  readonly mute: string | null = null;
  readonly #parts: ClaimedParts;
  /** What is made of the claim, as its log calls it. */
  readonly #made: string;
  readonly #phases: Phases;
  readonly #releasing = new AbortController();
  readonly #life: Promise<void>;
  #changed = Promise.withResolvers<void>();
  #launched: boolean;
  #erased = false;
  #doom: Doom | null;
  /** Whether the claim does not say so yet. */
  #doomIsNew = false;
  #others: boolean;
  /** Since when something is to be done that another server most likely does. */
  #leftSinceMs: number | null = null;
  #stopGraceMs: number | null = null;
  /** Since when no driver runs. */
  #startingSinceMs = Date.now();
  /** What is not done for want of a right, and since when. */
  #lack: { readonly unknown: boolean; readonly sinceMs: number } | null = null;
  /** Something was made that the claim may not know of. */
  protected unclaimed = false;

  constructor(parts: ClaimedParts, made: string) {
    const { claim, launched, doom } = parts.state;
    this.#parts = parts;
    this.#made = made;
    this.key = parts.keys.link;
    this.seal = parts.keys.seal;
    this.#launched = launched;
    this.#doom = doom;
    this.#others = parts.others;
    this.#phases = new Phases(claim.end, `The ${made} is being made.`);
    this.#life = claim.end === null ? this.#live() : Promise.resolve();
  }

  /** Does what is next while nothing has decided its end; answers how long nothing needs to be done unless something changes, 0: go on. */
  protected abstract look(signal: AbortSignal): Promise<number>;
  /** Makes of the claim what is not there yet. @throws ApiError as Kubernetes refuses it */
  protected abstract make(signal: AbortSignal): Promise<void>;
  /** What it means that Kubernetes refused to make it. */
  protected abstract refusal(error: ApiError): Refusal;
  /** It cannot go well any more. */
  protected abstract giveUp(reason: string, signal: AbortSignal): Promise<number>;
  /** Removes all of it but its claim, and waits until it is gone. Idempotent. */
  protected abstract remove(graceMs: number, signal: AbortSignal): Promise<void>;
  /** Whether something of it is there that nobody has begun to remove. */
  protected abstract readonly present: boolean;

  abstract dial(signal: AbortSignal): Promise<Duplex>;

  get phase(): WorkloadPhase {
    return this.#phases.current;
  }

  phases(signal: AbortSignal): AsyncIterable<WorkloadPhase> {
    return this.#phases.follow(signal);
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopGraceMs ??= graceMs;
    this.#others = false;
    this.poke();
    await this.#life;
  }

  /** The claim is another than before, by whichever server's hand. */
  claimChanged({ claim: { end, attempts }, launched, doom }: ClaimState): void {
    const own = this.#parts.state.claim.attempts.length;
    // What is heard late of the attempts before this one is no news of it.
    if (attempts.length < own) return;
    const followed = attempts[own];
    if (followed !== undefined) {
      this.#phases.set({ phase: "ended", ...followed });
      return this.poke();
    }
    this.#launched ||= launched;
    // Whoever decided that is at it.
    if (doom !== null && this.#doom === null && this.#stopGraceMs === null) this.#others = true;
    this.#doom ??= doom;
    this.#leftSinceMs = null;
    if (end !== null) this.#phases.set({ phase: "ended", ...end });
    this.poke();
  }

  /** The claim is gone, and with it all it stood for. */
  claimGone(): void {
    // Whoever removes a claim ends its workload first; one that was removed by hand leaves that to us.
    if (this.present) this.unclaimed = true;
    this.#phases.set({ phase: "ended", ...GONE_CLAIM });
    this.poke();
  }

  /** Whether nothing of it is left in the cluster besides its claim. */
  get erased(): boolean {
    return this.#erased;
  }

  /** Stops watching; what is there goes on. Idempotent. */
  async release(): Promise<void> {
    this.#releasing.abort(new Error("the launcher was closed"));
    this.poke();
    await this.#life;
  }

  /** Something is another than when it was looked at. */
  protected poke(): void {
    this.#changed.resolve();
  }

  /** Whether something was made of the claim: when there is none any more it is gone for good. */
  protected get launched(): boolean {
    return this.#launched;
  }

  protected get stopping(): boolean {
    return this.#stopGraceMs !== null;
  }

  /** Resolves once it runs. @throws Error when it has ended */
  protected running(signal: AbortSignal): Promise<void> {
    return this.#phases.running(signal);
  }

  protected tell(phase: WorkloadPhase): void {
    if (!isDeepStrictEqual(this.phase, phase)) this.#phases.set(phase);
  }

  /** Has it made; what Kubernetes refuses for the moment is tried again as long as a start may take. */
  protected async create(signal: AbortSignal): Promise<number> {
    try {
      await this.make(AbortSignal.any([signal, AbortSignal.timeout(CREATE_MS)]));
      return 0;
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof NoAnswer)
        return Math.min(await this.pending(`The ${this.#made} is still to be made: ${error.message}.`, signal), CREATE_PAUSE_MS);
      if (!(error instanceof ApiError) || isLack(error)) throw error;
      const { passing, reason } = this.refusal(error);
      return passing ? Math.min(await this.pending(reason, signal), QUOTA_PAUSE_MS) : this.giveUp(reason, signal);
    }
  }

  /** It does not run yet, and is given up when that takes too long; `told`: what is said until then. */
  protected async pending(reason: string, signal: AbortSignal, told = reason): Promise<number> {
    this.tell({ phase: "pending", reason: told });
    const { startTimeoutMs } = this.#parts;
    if (startTimeoutMs === 0) return FOREVER_MS;
    const leftMs = this.#startingSinceMs + startTimeoutMs - Date.now();
    if (leftMs > 0) return leftMs;
    return this.giveUp(`The driver did not start within ${Math.round(startTimeoutMs / 1_000)} s. ${reason}`, signal);
  }

  /** What comes next is a start of its own. */
  protected startsAnew(): void {
    this.#startingSinceMs = Date.now();
  }

  /**
   * How long what is to be done is to be left to the server that made the claim; 0: it is ours to do. Before it is taken over the claim
   * is looked at, for that server may be hidden from us alone.
   */
  protected async leftToOthersMs(signal: AbortSignal, graceMs = 0): Promise<number> {
    if (!this.#others) return 0;
    this.#leftSinceMs ??= Date.now();
    const leftMs = this.#leftSinceMs + graceMs + TAKEOVER_MS - Date.now();
    if (leftMs > 0) return leftMs;
    const { claims, state } = this.#parts;
    const now = await claims.look(state.claim, signal);
    this.#others = false;
    if (now === null) this.claimGone();
    else this.claimChanged(now);
    // Woken by that at once.
    return TAKEOVER_MS;
  }

  /** The claim knows from then on that an object of this uid was made. */
  protected async settle(uid: string, signal: AbortSignal): Promise<void> {
    const { claims, state } = this.#parts;
    const after = await claims.launched(state.claim, uid, signal);
    if (after === null) return this.claimGone();
    this.unclaimed = after.claim.end !== null || after.doom !== null;
    this.claimChanged(after);
  }

  protected stopNow(signal: AbortSignal): Promise<number> {
    return this.condemn(() => STOPPED, signal);
  }

  /** It ends, and nothing else is decided of it any more. */
  protected async condemn(fate: () => Fate | Promise<Fate>, signal: AbortSignal): Promise<number> {
    const leftMs = await this.leftToOthersMs(signal);
    if (leftMs > 0) return leftMs;
    this.#doom = { ...(await fate()), endedMs: Date.now(), graceMs: this.#stopGraceMs ?? 0 };
    this.#doomIsNew = true;
    return 0;
  }

  async #live(): Promise<void> {
    const { signal } = this.#releasing;
    try {
      // Its kind is made first.
      await Promise.resolve();
      while (!signal.aborted && this.phase.phase !== "ended") {
        this.#changed = Promise.withResolvers<void>();
        const waitMs = await this.#next(signal);
        if (waitMs > 0) await this.#wait(waitMs, signal);
      }
      // Another server ended it while this one was making something of it.
      if (this.unclaimed && !signal.aborted) await this.#erase(0, signal);
    } catch (error) {
      if (signal.aborted) return;
      const reason = `The driver cannot be looked after: ${describe(error)}.`;
      publishSession({ session: this.#parts.state.claim.id, event: "fault", detail: reason });
      // What it ends of was known before that.
      this.#phases.set({ phase: "ended", ...(this.#doom ?? { state: "dead", reason, logTail: [], cause: "driver-lost" }) });
    }
  }

  /** Does what is next; what the server may not do is tried again. Answers as `look`. */
  async #next(signal: AbortSignal): Promise<number> {
    try {
      const waitMs = this.#doom === null ? await this.look(signal) : await this.#finish(this.#doom, signal);
      this.#lack = null;
      return waitMs;
    } catch (error) {
      const lack = error instanceof ApiError && !signal.aborted ? readLack(error) : null;
      // Nobody who asked for the end is to wait for more than that.
      if (lack === null || ((this.#doom !== null || this.stopping) && !this.#mayCome(lack))) throw error;
      return this.#lacks(lack, signal);
    }
  }

  /** Notes what is missing; answers whether it has not been so for long. */
  #mayCome({ unknown, reason }: Lack): boolean {
    if (this.#lack?.unknown !== unknown) {
      this.#lack = { unknown, sinceMs: Date.now() };
      publishSession({ session: this.#parts.state.claim.id, event: "fault", detail: reason });
    }
    return Date.now() - this.#lack.sinceMs < RIGHTS_MS;
  }

  /** What was made goes on without the server; what is still to be made is given up in time. */
  async #lacks(lack: Lack, signal: AbortSignal): Promise<number> {
    const mayCome = this.#mayCome(lack);
    const told = `${lack.reason} It is tried again.`;
    if (this.phase.phase === "running") this.tell({ phase: "running", trouble: told });
    else if (this.#launched || this.#others || this.#doom !== null || this.stopping) this.tell({ phase: "pending", reason: told });
    // Without credentials nothing goes for any session, and nothing could be written down of this one's end.
    else if (lack.unknown || mayCome) return Math.min(await this.pending(lack.reason, signal, told), RIGHTS_PAUSE_MS);
    else return this.giveUp(`The driver could not be started for ${RIGHTS_MS / 1_000} s. ${lack.reason}`, signal);
    return RIGHTS_PAUSE_MS;
  }

  async #wait(waitMs: number, signal: AbortSignal): Promise<void> {
    const leave = new AbortController();
    await Promise.race([
      this.#changed.promise,
      pause(waitMs, undefined, { signal: AbortSignal.any([signal, leave.signal]) }).catch(() => undefined),
    ]);
    leave.abort();
  }

  /** Written down first: whoever finds the claim finishes what was begun. */
  async #finish(doom: Doom, signal: AbortSignal): Promise<number> {
    if (this.#doomIsNew) await this.#parts.claims.doom(this.#parts.state.claim, doom, signal);
    this.#doomIsNew = false;
    const leftMs = await this.leftToOthersMs(signal, doom.graceMs);
    if (leftMs > 0) return leftMs;
    await this.#erase(this.#stopGraceMs ?? doom.graceMs, signal);
    this.#phases.set({ phase: "ended", ...doom });
    return 0;
  }

  async #erase(graceMs: number, signal: AbortSignal): Promise<void> {
    await this.remove(graceMs, signal);
    this.unclaimed = false;
    this.#erased = true;
  }
}
