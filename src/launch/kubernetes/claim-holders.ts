import { setTimeout as pause } from "node:timers/promises";
import { Problem } from "../../core/problems.ts";
import { type Api, isStatus } from "./api.ts";
import { type ClaimState, type ConfigMap, readClaim, uidOf } from "./claim-reading.ts";
import { claimName, holderName, SESSION_LABEL, sessionLabels, sharedName } from "./names.ts";

/** A new name is its session's before the claim is written; so long an unknown holder is believed. */
const HOLDER_GRACE_MS = 60_000;
/** How often a claim that another server is making is looked for. */
const SHARED_LOOK_MS = 200;

/** Names, and uids that several servers may claim: whoever creates the small object that stands for one has it. */
export class ClaimHolders {
  readonly #api: Api;
  readonly #instance: string;
  /** Of the ConfigMaps in the server's namespace. */
  readonly #path: string;

  constructor(api: Api, instance: string, path: string) {
    this.#api = api;
    this.#instance = instance;
    this.#path = path;
  }

  /** Takes a uid that other servers may claim too; answers the claim of the one that was first. */
  async takeShared(id: number, uid: string, signal: AbortSignal): Promise<ClaimState | null> {
    const name = sharedName(this.#instance, uid);
    const object = { metadata: { name, labels: sessionLabels(this.#instance, uid, "shared") }, data: { session: String(id) } };
    for (;;) {
      try {
        await this.#api.create(this.#path, object, signal);
        return null;
      } catch (error) {
        if (!isStatus(error, 409)) throw error;
      }
      const holder = await found(this.#api.get<ConfigMap>(`${this.#path}/${name}`, signal));
      if (holder === null) continue;
      const holderId = Number(holder.data?.["session"]);
      // The answer to our own creation may be all that was lost.
      if (holderId === id) return null;
      const claim = await this.#claimOf(holderId, signal);
      if (claim !== null && uidOf(claim) === uid) return readClaim(claim);
      if (Date.now() - Date.parse(holder.metadata.creationTimestamp ?? "") < HOLDER_GRACE_MS)
        await pause(SHARED_LOOK_MS, undefined, { signal });
      else await this.leaveShared(uid, signal, holder.metadata.uid);
    }
  }

  /** Idempotent; `holderUid`: only if it is this one. */
  async leaveShared(uid: string, signal: AbortSignal, holderUid?: string): Promise<void> {
    const only = holderUid === undefined ? {} : { preconditions: { uid: holderUid } };
    await this.#api.delete(`${this.#path}/${sharedName(this.#instance, uid)}`, signal, only).catch(ignoreConflict);
  }

  /**
   * Takes a name for its session.
   * @throws Problem NAME_TAKEN
   */
  async takeName(name: string, id: number, uid: string, signal: AbortSignal): Promise<void> {
    const path = `${this.#path}/${holderName(this.#instance, name)}`;
    const object = {
      metadata: { name: holderName(this.#instance, name), labels: sessionLabels(this.#instance, uid, "name") },
      data: { name, session: String(id) },
    };
    for (;;) {
      try {
        await this.#api.create(this.#path, object, signal);
        return;
      } catch (error) {
        if (!isStatus(error, 409)) throw error;
      }
      const holder = await found(this.#api.get<ConfigMap>(path, signal));
      if (holder === null) continue;
      if (holder.metadata.labels?.[SESSION_LABEL] === uid) return;
      if (await this.#lives(holder, signal)) throw new Problem("NAME_TAKEN", `Duplicate session name: ${name} for session ${id}`);
      await this.#api.delete(path, signal, { preconditions: { uid: holder.metadata.uid } }).catch(ignoreConflict);
    }
  }

  async #lives(holder: ConfigMap, signal: AbortSignal): Promise<boolean> {
    const claim = await this.#claimOf(Number(holder.data?.["session"]), signal);
    if (claim === null || claim.metadata.labels?.[SESSION_LABEL] !== holder.metadata.labels?.[SESSION_LABEL])
      return Date.now() - Date.parse(holder.metadata.creationTimestamp ?? "") < HOLDER_GRACE_MS;
    return claim.data?.["end.json"] === undefined;
  }

  /** Idempotent; the name of another session stays. */
  async leaveName(name: string | null, uid: string, signal: AbortSignal): Promise<void> {
    if (name === null) return;
    const path = `${this.#path}/${holderName(this.#instance, name)}`;
    const holder = await found(this.#api.get<ConfigMap>(path, signal));
    if (holder?.metadata.labels?.[SESSION_LABEL] !== uid) return;
    await this.#api.delete(path, signal, { preconditions: { uid: holder.metadata.uid } }).catch(ignoreConflict);
  }

  #claimOf(id: number, signal: AbortSignal): Promise<ConfigMap | null> {
    return found(this.#api.get<ConfigMap>(`${this.#path}/${claimName(this.#instance, id)}`, signal));
  }
}

/** null for what is not there. */
export const found = async <T>(asked: Promise<T>): Promise<T | null> => {
  try {
    return await asked;
  } catch (error) {
    if (isStatus(error, 404)) return null;
    throw error;
  }
};

/** Somebody else has done it. */
export const ignoreConflict = (error: unknown): void => {
  if (!isStatus(error, 409)) throw error;
};
