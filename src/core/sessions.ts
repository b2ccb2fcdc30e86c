import { randomUUID } from "node:crypto";
import { v5 as uuidv5 } from "uuid";
import type { Access, Caller, Right } from "./access.ts";
import { Batch } from "./batch.ts";
import { publishSession } from "./events.ts";
import { Life, type LifeParts } from "./life.ts";
import type { Claim, ClaimDraft, LaunchPlan, SessionDraft, WantedClaim } from "./ports.ts";
import { Problem } from "./problems.ts";
import { Session } from "./session.ts";
import { uploadsIn } from "./upload-uri.ts";
import { shrinkViews, VIEWS_BYTES } from "./view-memory.ts";

export interface SessionsLimits {
  /** Sessions and batches that have not ended, of all users; 0: no limit. */
  readonly maxSessions: number;
  /** The same for each owner. */
  readonly maxSessionsPerUser: number;
  /** How long an ended session or batch stays readable. */
  readonly retentionMs: number;
  /** What is held of all statements together, in bytes; VIEWS_BYTES when absent. */
  readonly viewsBytes?: number;
}

/** How often ended sessions are looked through for those past retention. */
const TIDY_EVERY_MS = 10_000;
/** How often it is looked at how much is held: a driver may write a hundred megabytes in that time. */
const WEIGH_EVERY_MS = 1_000;
/** How long a starting server waits for the drivers it takes over. */
const ADOPT_WAIT_MS = 1_000;
type Class<Kind> = abstract new (...parts: never[]) => Kind;
const DIGITS = /^-?\d+$/;

/** Uids of claims that a client has named by a key are made of it in this name space. */
const KEY_NAMESPACE = "5c2f0f7e-3a0c-5b6f-8d0e-7c1b1f0c9a42";

/** All sessions and batches there are, whichever server made them. They share one sequence of ids, their names and their limits. */
export class Sessions {
  readonly #parts: LifeParts;
  readonly #access: Access;
  readonly #limits: SessionsLimits;
  readonly #byId = new Map<number, Life>();
  readonly #deleting = new Map<number, Promise<void>>();
  /** Sessions whose claim is being taken, by uid: they count against the limits. */
  readonly #coming = new Map<string, SessionDraft>();
  /** Creations under way that somebody may ask for again, by uid. */
  readonly #keyed = new Map<string, Promise<Life>>();
  #draining = false;
  #closed = false;
  readonly #tidy: NodeJS.Timeout;
  readonly #weigh: NodeJS.Timeout;

  constructor(parts: LifeParts, access: Access, limits: SessionsLimits) {
    this.#parts = parts;
    this.#access = access;
    this.#limits = limits;
    this.#tidy = setInterval(() => this.#removeOld(), TIDY_EVERY_MS).unref();
    const { viewsBytes = VIEWS_BYTES } = limits;
    const sessions = () => [...this.#byId.values()].filter((life) => life instanceof Session);
    this.#weigh = setInterval(() => shrinkViews(sessions(), viewsBytes), WEIGH_EVERY_MS).unref();
  }

  /** Whether the server is going away and begins nothing new. */
  get draining(): boolean {
    return this.#draining;
  }

  /**
   * Takes over every session there is: what runs is adopted, what died is concluded; from then on those too that other servers make.
   * Called once, before the server listens.
   */
  async adopt(signal: AbortSignal): Promise<void> {
    await this.#parts.launcher.follow({ known: (claim) => this.#known(claim), gone: (claim) => this.#gone(claim) }, signal);
    // Most clients then never notice; a driver that takes longer is waited for by whoever asks for its statements.
    await Promise.all([...this.#byId.values()].map((session) => session.caughtUp(ADOPT_WAIT_MS, signal)));
  }

  /**
   * Claims an id and starts a driver; the session is `starting`.
   * @throws Problem SPEC_REFUSED, TOO_MANY_SESSIONS, NAME_TAKEN, DRAINING, FORBIDDEN (proxyUser)
   */
  async create(draft: SessionDraft, caller: Caller, signal: AbortSignal): Promise<Session> {
    const made = await this.#claim({ ...draft, uid: randomUUID() }, caller, signal);
    if (made instanceof Session) return made;
    throw new Error(`claim ${made.id} is no session's`);
  }

  /**
   * Claims an id for an application and starts its driver. The same key of the same owner answers the same batch, for as long as that is
   * readable; null: a batch of its own.
   * @throws Problem as `create`
   */
  async createBatch(draft: SessionDraft, key: string | null, caller: Caller, signal: AbortSignal): Promise<Batch> {
    if (key === null) return asBatch(await this.#claim({ ...draft, uid: randomUUID() }, caller, signal));
    return this.createBatchAs(keyedUid(draft.owner, key), draft, caller, signal);
  }

  /** What the caller's key has made, as far as this server knows; null: nothing that can still be read. */
  batchOfKey(key: string, { name }: Caller): Batch | null {
    const uid = keyedUid(name, key);
    const known = [...this.#byId.values()].find((life) => life.uid === uid);
    return known === undefined || this.#deleting.has(known.id) ? null : asBatch(known);
  }

  /**
   * The same for whoever knows the uid beforehand: one batch has it, whichever servers are asked for it and how often.
   * @throws Problem as `create`
   */
  async createBatchAs(uid: string, draft: SessionDraft, caller: Caller, signal: AbortSignal): Promise<Batch> {
    return asBatch(await this.#createKeyed(uid, draft, caller, signal));
  }

  async #createKeyed(uid: string, draft: SessionDraft, caller: Caller, signal: AbortSignal): Promise<Life> {
    signal.throwIfAborted();
    const known = [...this.#byId.values()].find((life) => life.uid === uid);
    const deleting = known === undefined ? undefined : this.#deleting.get(known.id);
    if (deleting !== undefined) {
      // Nobody can read it any more: whoever asks now asks for another one.
      await deleting.catch(() => undefined);
      return this.#createKeyed(uid, draft, caller, signal);
    }
    if (known !== undefined) return known;
    // Others may wait for it too: it is not given up when one of them leaves.
    const creating = this.#keyed.get(uid) ?? this.#claim({ ...draft, uid, shared: true }, caller, new AbortController().signal);
    this.#keyed.set(uid, creating);
    return creating.finally(() => this.#keyed.delete(uid));
  }

  async #claim(draft: ClaimDraft, caller: Caller, signal: AbortSignal): Promise<Life> {
    this.#checkMay(draft, caller);
    const { uid } = draft;
    this.#coming.set(uid, draft);
    try {
      return this.#take(await this.#parts.launcher.claim(draft, signal));
    } finally {
      this.#coming.delete(uid);
    }
  }

  /** The claim's session or batch, begun or adopted if it is new. */
  #take(claim: Claim): Life {
    const known = this.#byId.get(claim.id);
    if (known !== undefined) return known;
    const session = claim.spec.application === undefined ? new Session(claim, this.#parts) : new Batch(claim, this.#parts);
    this.#byId.set(claim.id, session);
    session.start();
    return session;
  }

  #known(claim: Claim): void {
    if (this.#closed) return;
    const present = this.#byId.get(claim.id);
    if (present !== undefined) {
      if (claim.end !== null && present.end === null) present.endedElsewhere(claim.end);
      return;
    }
    this.#take(claim);
    // The news of our own claim may be here before the answer to it.
    if (claim.end === null && !this.#coming.has(claim.uid))
      publishSession({ session: claim.id, event: "adopted", detail: "another server made it" });
  }

  #gone({ id, uid }: Claim): void {
    const session = this.#byId.get(id);
    if (session?.uid !== uid || this.#deleting.has(id)) return;
    this.#byId.delete(id);
    session.endedElsewhere({ state: "killed", reason: "It was deleted.", logTail: [], endedMs: this.#parts.clock.now(), appId: null });
    publishSession({ session: id, event: "removed", detail: "another server removed it" });
  }

  /**
   * Makes sure that a session which another server has just made is known here, before it is looked for. Costs nothing when it is.
   * @throws Problem DRIVER_UNREACHABLE when it cannot be found out whether there is one
   */
  async seek(idOrName: string): Promise<void> {
    const isId = DIGITS.test(idOrName);
    const known = isId ? this.#byId.get(Number(idOrName)) : this.#byName(idOrName);
    // The name of one that has ended may be another's by now.
    if (known !== undefined && (isId || known.end === null)) return;
    await this.#ask(isId ? { id: Number(idOrName) } : { name: idOrName });
  }

  /**
   * The same for the session of a Jupyter kernel that is not known here.
   * @throws Problem DRIVER_UNREACHABLE
   */
  async seekKernel(kernel: string): Promise<void> {
    await this.#ask({ kernel });
  }

  async #ask(wanted: WantedClaim): Promise<void> {
    const claim = await this.#parts.launcher.find(wanted);
    if (claim !== null) this.#known(claim);
  }

  /**
   * What `create` would start; no id is claimed and nothing is made.
   * @throws Problem as `create`
   */
  async plan(draft: SessionDraft, caller: Caller, signal: AbortSignal): Promise<LaunchPlan> {
    this.#checkMay(draft, caller);
    const { name } = draft.spec;
    const holder = name === null ? undefined : this.#byName(name);
    if (holder?.end === null) throw new Problem("NAME_TAKEN", `Duplicate session name: ${name} for session ${holder.id}`);
    return this.#parts.launcher.plan(draft, signal);
  }

  /**
   * A session by id or name, if the caller has the right.
   * @throws Problem SESSION_NOT_FOUND, FORBIDDEN
   */
  find(idOrName: string, caller: Caller, right: Right): Session {
    return this.#find(Session, idOrName, caller, right);
  }

  /** The same for a batch; Livy calls those sessions too. */
  findBatch(idOrName: string, caller: Caller, right: Right): Batch {
    return this.#find(Batch, idOrName, caller, right);
  }

  #find<Kind extends Life>(kind: Class<Kind>, idOrName: string, caller: Caller, right: Right): Kind {
    const session = DIGITS.test(idOrName) ? this.#byId.get(Number(idOrName)) : this.#byName(idOrName, kind);
    if (!(session instanceof kind) || this.#deleting.has(session.id)) {
      throw new Problem("SESSION_NOT_FOUND", `Session '${idOrName}' not found.`);
    }
    if (!this.#access.may(caller, right, session)) {
      throw new Problem("FORBIDDEN", `User '${caller.name}' may not ${right} session ${session.id}.`);
    }
    return session;
  }

  /** The sessions the caller may view, by id; ended ones too until retention. */
  list(caller: Caller): readonly Session[] {
    return this.#list(Session, caller);
  }

  /** The batches the caller may view, as `list`. */
  listBatches(caller: Caller): readonly Batch[] {
    return this.#list(Batch, caller);
  }

  /** The batch of this uid, whoever it is of; null: none is known. */
  batchOf(uid: string): Batch | null {
    for (const life of this.#byId.values()) if (life.uid === uid && life instanceof Batch) return life;
    return null;
  }

  /** What has not ended, whoever it is of. */
  living(): readonly Life[] {
    return [...this.#byId.values()].filter((life) => life.end === null);
  }

  /** Ids of the uploads that what has not ended names. */
  uploads(): readonly string[] {
    return this.living().flatMap(({ spec }) => uploadsIn(spec).map(({ id }) => id));
  }

  #list<Kind extends Life>(kind: Class<Kind>, caller: Caller): readonly Kind[] {
    return [...this.#byId.values()]
      .filter((life): life is Kind => life instanceof kind)
      .filter((life) => !this.#deleting.has(life.id) && this.#access.may(caller, "view", life))
      .sort((a, b) => a.id - b.id);
  }

  may(caller: Caller, right: Right, session: Life): boolean {
    return this.#access.may(caller, right, session);
  }

  /** Ends the session and removes all that is left of it; its id never returns. Idempotent. */
  delete(session: Life, reason: string): Promise<void> {
    const deleting = this.#deleting.get(session.id) ?? this.#delete(session, reason);
    this.#deleting.set(session.id, deleting);
    return deleting;
  }

  async #delete(session: Life, reason: string): Promise<void> {
    try {
      await session.stop("killed", reason);
      await this.#parts.launcher.remove(session.claim);
      this.#byId.delete(session.id);
      publishSession({ session: session.id, event: "removed", detail: reason });
    } finally {
      this.#deleting.delete(session.id);
    }
  }

  /** From now on nothing new is begun; what is there goes on. */
  drain(): void {
    this.#draining = true;
  }

  /** @throws Problem DRAINING while the server is going away. */
  checkOpen(): void {
    if (this.#draining) throw new Problem("DRAINING", "The server is shutting down; try again in a moment.");
  }

  /** Lets go of every session without ending one. Idempotent. */
  async close(): Promise<void> {
    this.drain();
    this.#closed = true;
    clearInterval(this.#tidy);
    clearInterval(this.#weigh);
    await Promise.allSettled(this.#deleting.values());
    await Promise.all([...this.#byId.values()].map((session) => session.detach()));
  }

  #checkMay(draft: SessionDraft, caller: Caller): void {
    this.checkOpen();
    this.#access.checkProxyUser(caller, draft.spec.proxyUser);
    this.#checkLimits(draft);
  }

  #checkLimits({ owner, spec: { preset } }: SessionDraft): void {
    const { maxSessions, maxSessionsPerUser } = this.#limits;
    const begun = [...this.#byId.values()].filter((session) => session.end === null);
    const known = new Set(begun.map((session) => session.uid));
    const living = [...begun, ...[...this.#coming].flatMap(([uid, coming]) => (known.has(uid) ? [] : [coming]))];
    if (maxSessions > 0 && living.length >= maxSessions) {
      throw new Problem("TOO_MANY_SESSIONS", `Rejected, too many sessions are being created or running: the limit is ${maxSessions}.`);
    }
    const own = living.filter((other) => other.owner === owner);
    if (maxSessionsPerUser > 0 && own.length >= maxSessionsPerUser) {
      throw new Problem(
        "TOO_MANY_SESSIONS",
        `Rejected, too many sessions of ${owner ?? "this server"}: the limit per user is ${maxSessionsPerUser}.`,
      );
    }
    if (preset === undefined || preset.limits.sessionsPerUser === 0) return;
    const { name, limits } = preset;
    if (own.filter(({ spec }) => spec.preset?.name === name).length >= limits.sessionsPerUser) {
      throw new Problem(
        "TOO_MANY_SESSIONS",
        `Rejected, too many sessions of ${owner ?? "this server"} with preset '${name}': its limit per user is ${limits.sessionsPerUser}.`,
      );
    }
  }

  /** The living one of that name, else the newest that has ended. */
  #byName(name: string, kind: Class<Life> = Life): Life | undefined {
    const named = [...this.#byId.values()].filter((life) => life.name === name && life instanceof kind);
    return named.find((session) => session.end === null) ?? named.sort((a, b) => b.id - a.id)[0];
  }

  #removeOld(): void {
    const before = this.#parts.clock.now() - this.#limits.retentionMs;
    for (const session of this.#byId.values()) {
      if (session.end === null || session.end.endedMs > before) continue;
      this.delete(session, "its retention time is over").catch((error: unknown) => {
        publishSession({ session: session.id, event: "fault", detail: `it could not be removed: ${String(error)}` });
      });
    }
  }
}

const keyedUid = (owner: string | null, key: string): string => uuidv5(JSON.stringify([owner, key]), KEY_NAMESPACE);

const asBatch = (made: Life): Batch => {
  if (made instanceof Batch) return made;
  throw new Error(`claim ${made.id} is no batch's`);
};
