import { Check } from "typebox/value";
import { kernelIdOf } from "../../core/kernel-id.ts";
import type { Attempt, Claim, ClaimDraft, SessionEnd, WantedClaim } from "../../core/ports.ts";
import { Problem } from "../../core/problems.ts";
import { redactSpec } from "../../core/redaction.ts";
import { SessionSpec } from "../../core/spec.ts";
import { idFor } from "../ids.ts";
import { type Api, isStatus } from "./api.ts";
import { ClaimHolders, found, ignoreConflict } from "./claim-holders.ts";
import { attemptKeys, type ClaimJson, type ClaimState, type ConfigMap, type Doom, readClaim, uidOf, writeEnd } from "./claim-reading.ts";
import type { MasterKeys } from "./keys.ts";
import {
  claimName,
  holderName,
  INSTANCE_LABEL,
  idsName,
  instanceLabels,
  KERNEL_LABEL,
  PART_LABEL,
  SESSION_LABEL,
  sessionLabels,
  specName,
} from "./names.ts";
import { type Stored, Watch } from "./watch.ts";

interface Secret extends Stored {
  readonly data?: Readonly<Record<string, string>>;
}

/** Told of claims by their watch. */
export interface ClaimWatcher {
  changed(state: ClaimState): void;
  /** The uid of one that is gone. */
  gone(uid: string): void;
  /** Words for a log. */
  fault(message: string): void;
}

type Removable = Pick<ClaimState, "hasSecret" | "shared"> & { readonly claim: Pick<Claim, "id" | "uid" | "spec"> };

/** Nothing in a claim is worth waiting for longer. */
const STORE_MS = 30_000;
const UNDO_MS = 5_000;

/** Claims as ConfigMaps of the server's own namespace: whoever creates one has the id. */
export class Claims {
  readonly namespace: string;
  readonly #api: Api;
  readonly #instance: string;
  readonly #keys: MasterKeys;
  readonly #holders: ClaimHolders;
  /** One id at a time: the servers compete for the mark, our own requests need not. */
  #numbering: Promise<unknown> = Promise.resolve();
  #mark: { readonly next: number; readonly resourceVersion: string } | null = null;

  constructor(api: Api, namespace: string, instance: string, keys: MasterKeys) {
    this.#api = api;
    this.namespace = namespace;
    this.#instance = instance;
    this.#keys = keys;
    this.#holders = new ClaimHolders(api, instance, this.#configMaps);
  }

  /**
   * Takes an id and a name. Durable when it returns.
   * @throws Problem NAME_TAKEN; SPEC_REFUSED when it is too large to be kept; DRIVER_UNREACHABLE when nothing can be stored
   */
  claim(draft: ClaimDraft, signal: AbortSignal): Promise<ClaimState> {
    return storing(async () => {
      const within = AbortSignal.any([signal, AbortSignal.timeout(STORE_MS)]);
      const { uid } = draft;
      const id = await idFor(draft, () => this.#takeId(within));
      const other = draft.shared === true ? await this.#holders.takeShared(id, uid, within) : null;
      if (other !== null) return other;
      try {
        if (draft.spec.name !== null) await this.#holders.takeName(draft.spec.name, id, uid, within);
        return await this.#write(id, draft, within);
      } catch (error) {
        // Its answer may be all that was lost.
        const begun = { claim: { id, uid, spec: draft.spec }, hasSecret: true, shared: draft.shared === true };
        await this.remove(begun, AbortSignal.timeout(UNDO_MS)).catch(() => undefined);
        throw error;
      }
    });
  }

  /**
   * Follows every claim of this instance, ended ones too; close the watch when it is not needed any more.
   * @throws ApiError when they cannot be read
   */
  async follow({ changed, gone, fault }: ClaimWatcher, signal: AbortSignal): Promise<Watch<ConfigMap>> {
    const query = { labelSelector: this.#claimLabels };
    // A watch tries for ever; what will never be allowed is to be known now.
    await this.#api.get(this.#configMaps, signal, { ...query, limit: 1 });
    return new Watch<ConfigMap>(this.#api, {
      path: this.#configMaps,
      query,
      changed: (item) => changed(readClaim(item)),
      gone: (item) => gone(uidOf(item)),
      keep: ({ metadata }) => ({ metadata }),
      fault,
    });
  }

  /** A claim as it is now; of several that were one kernel's, the newest. */
  async find(wanted: WantedClaim, signal: AbortSignal): Promise<ClaimState | null> {
    if ("id" in wanted) return readIf(await this.#get(wanted.id, signal));
    if ("kernel" in wanted) {
      const labelSelector = `${this.#claimLabels},${KERNEL_LABEL}=${wanted.kernel}`;
      const { items } = await this.#api.list<ConfigMap>(this.#configMaps, { labelSelector }, signal);
      return items.map(readClaim).toSorted((a, b) => b.claim.id - a.claim.id)[0] ?? null;
    }
    const holder = await found(this.#api.get<ConfigMap>(`${this.#configMaps}/${holderName(this.#instance, wanted.name)}`, signal));
    if (holder === null) return null;
    const item = await this.#get(Number(holder.data?.["session"]), signal);
    return item !== null && uidOf(item) === uidOf(holder) ? readClaim(item) : null;
  }

  /** The claim as it is now; null when there is none any more. */
  async look({ id, uid }: Claim, signal: AbortSignal): Promise<ClaimState | null> {
    const item = await this.#get(id, signal);
    return item !== null && uidOf(item) === uid ? readClaim(item) : null;
  }

  /** The spec with its secrets. */
  async spec({ claim, hasSecret }: ClaimState, signal: AbortSignal): Promise<SessionSpec> {
    if (!hasSecret) return claim.spec;
    const secret = await this.#api.get<Secret>(`${this.#secrets}/${specName(this.#instance, claim.uid)}`, signal);
    const spec: unknown = JSON.parse(Buffer.from(secret.data?.["spec.json"] ?? "", "base64").toString());
    if (!Check(SessionSpec, spec)) throw new Error("the Secret with its settings is malformed");
    return spec;
  }

  /** Notes that a pod was made. What it answers was so after that: another server may have decided otherwise meanwhile. */
  async launched(claim: Claim, podUid: string, signal: AbortSignal): Promise<ClaimState | null> {
    return readIf(await this.#patch(claim, { data: { [attemptKeys(claim.attempts.length).launched]: podUid } }, signal));
  }

  async doom(claim: Claim, doom: Doom, signal: AbortSignal): Promise<void> {
    await this.#patch(claim, { data: { [attemptKeys(claim.attempts.length).doom]: writeEnd(doom) } }, signal);
  }

  /** Writes down that an attempt is followed by another, unless the claim has another or an end by now; answers the claim after that. */
  async retry(state: ClaimState, attempt: Attempt, signal: AbortSignal): Promise<ClaimState> {
    const { claim } = state;
    for (;;) {
      const stored = await this.#get(claim.id, signal);
      if (stored === null || uidOf(stored) !== claim.uid)
        return { ...state, claim: { ...claim, end: { ...attempt, state: "killed", reason: "The session was deleted." } } };
      const present = readClaim(stored);
      if (present.claim.end !== null || present.claim.attempts.length > claim.attempts.length) return present;
      const { launched, doom } = attemptKeys(claim.attempts.length);
      const data = { "attempts.json": JSON.stringify([...claim.attempts, attempt]), [launched]: null, [doom]: null };
      try {
        const { resourceVersion } = stored.metadata;
        const written = await this.#patch(claim, { metadata: { resourceVersion }, data }, signal);
        if (written !== null) return readClaim(written);
      } catch (error) {
        if (!isStatus(error, 409)) throw error;
      }
    }
  }

  /** Writes the end, unless one is there, and answers the one that is; then frees the name and forgets the secrets. */
  async conclude({ claim, hasSecret, shared }: ClaimState, end: SessionEnd, signal: AbortSignal): Promise<SessionEnd> {
    let written = end;
    for (;;) {
      const stored = await this.#get(claim.id, signal);
      if (stored === null || uidOf(stored) !== claim.uid) break;
      const present = readClaim(stored).claim.end;
      if (present !== null) {
        written = present;
        break;
      }
      const { resourceVersion } = stored.metadata;
      try {
        await this.#patch(claim, { metadata: { resourceVersion }, data: { "end.json": writeEnd(end) } }, signal);
        break;
      } catch (error) {
        if (!isStatus(error, 409)) throw error;
      }
    }
    await this.#holders.leaveName(claim.spec.name, claim.uid, signal);
    // Of a schedule's run servers learn at the same moment: one that is late finds whose it was.
    if (shared && claim.spec.application?.run === undefined) await this.#holders.leaveShared(claim.uid, signal);
    if (hasSecret) await this.#forgetSpec(claim, signal);
    return written;
  }

  async remove({ claim, hasSecret, shared }: Removable, signal: AbortSignal): Promise<void> {
    await this.#holders.leaveName(claim.spec.name, claim.uid, signal);
    if (shared) await this.#holders.leaveShared(claim.uid, signal);
    if (hasSecret) await this.#forgetSpec(claim, signal);
    const stored = await this.#get(claim.id, signal);
    if (stored === null || uidOf(stored) !== claim.uid) return;
    const { name, uid } = stored.metadata;
    await this.#api.delete(`${this.#configMaps}/${name}`, signal, { preconditions: { uid } }).catch(ignoreConflict);
  }

  /** Whether the session of this uid has a claim, and has not ended. */
  async lives(uid: string, signal: AbortSignal): Promise<boolean> {
    const labelSelector = `${this.#claimLabels},${SESSION_LABEL}=${uid}`;
    const { items } = await this.#api.list<ConfigMap>(this.#configMaps, { labelSelector }, signal);
    return items.some((item) => readClaim(item).claim.end === null);
  }

  get #claimLabels(): string {
    return `${INSTANCE_LABEL}=${this.#instance},${PART_LABEL}=claim`;
  }
  get #configMaps(): string {
    return `api/v1/namespaces/${this.namespace}/configmaps`;
  }
  get #secrets(): string {
    return `api/v1/namespaces/${this.namespace}/secrets`;
  }

  async #get(id: number, signal: AbortSignal): Promise<ConfigMap | null> {
    return found(this.#api.get<ConfigMap>(`${this.#configMaps}/${claimName(this.#instance, id)}`, signal));
  }

  /** Answers the claim after it; null when there is none any more. */
  #patch(claim: Claim, patch: object, signal: AbortSignal): Promise<ConfigMap | null> {
    return found(this.#api.merge<ConfigMap>(`${this.#configMaps}/${claimName(this.#instance, claim.id)}`, patch, signal));
  }

  #forgetSpec({ uid }: Pick<Claim, "uid">, signal: AbortSignal): Promise<void> {
    return this.#api.delete(`${this.#secrets}/${specName(this.#instance, uid)}`, signal);
  }

  async #write(id: number, draft: ClaimDraft, signal: AbortSignal): Promise<ClaimState> {
    const { uid } = draft;
    const spec = redactSpec(draft.spec);
    const secret = JSON.stringify(spec) !== JSON.stringify(draft.spec);
    const labels = (part: string) => sessionLabels(this.#instance, uid, part);
    // Secrets first: a claim that is there can be launched. One whose claim never came is cleared away later.
    if (secret) {
      const object = {
        metadata: { name: specName(this.#instance, uid), labels: labels("spec") },
        type: "Opaque",
        immutable: true,
        stringData: { "spec.json": JSON.stringify(draft.spec) },
      };
      await this.#create(this.#secrets, object, signal);
    }
    const { owner, notes, shared = false } = draft;
    const json: ClaimJson = { owner, spec, createdMs: Date.now(), notes: [...notes], key: this.#keys.current, secret, shared };
    const object = {
      metadata: { name: claimName(this.#instance, id), labels: { ...labels("claim"), [KERNEL_LABEL]: kernelIdOf({ uid, spec }) } },
      data: { "claim.json": JSON.stringify(json) },
    };
    await this.#create(this.#configMaps, object, signal);
    const { createdMs, key: keyId } = json;
    const claim: Claim = { id, uid, owner, spec, createdMs, notes, attempts: [], end: null };
    return { claim, keyId, hasSecret: secret, shared, launched: false, doom: null };
  }

  /** Creates an object of one session; the one that is there may be our own, whose answer was lost. */
  async #create(
    path: string,
    object: { metadata: { name: string; labels: Readonly<Record<string, string>> } },
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await this.#api.create(path, object, signal);
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
      const present = await this.#api.get<Stored>(`${path}/${object.metadata.name}`, signal);
      if (present.metadata.labels?.[SESSION_LABEL] !== object.metadata.labels[SESSION_LABEL]) throw error;
    }
  }

  // ── Ids ──

  #takeId(signal: AbortSignal): Promise<number> {
    const taking = this.#numbering.then(async () => {
      for (;;) {
        this.#mark ??= await this.#readMark(signal);
        const { next, resourceVersion } = this.#mark;
        try {
          const path = `${this.#configMaps}/${idsName(this.#instance)}`;
          const written = await this.#api.merge<ConfigMap>(
            path,
            { metadata: { resourceVersion }, data: { next: String(next + 1) } },
            signal,
          );
          this.#mark = { next: next + 1, resourceVersion: written.metadata.resourceVersion };
        } catch (error) {
          this.#mark = null;
          if (isStatus(error, 404, 409)) continue;
          throw error;
        }
        // A mark that was lost and made anew may be behind.
        if ((await this.#get(next, signal)) === null) return next;
      }
    });
    this.#numbering = taking.catch(() => undefined);
    return taking;
  }

  async #readMark(signal: AbortSignal): Promise<{ next: number; resourceVersion: string }> {
    const path = `${this.#configMaps}/${idsName(this.#instance)}`;
    let mark = await found(this.#api.get<ConfigMap>(path, signal));
    if (mark === null) {
      const claims = await this.#api.list<ConfigMap>(this.#configMaps, { labelSelector: this.#claimLabels }, signal);
      const used = claims.items.map((item) => readClaim(item).claim.id + 1);
      const object = {
        metadata: { name: idsName(this.#instance), labels: instanceLabels(this.#instance, "ids") },
        data: { next: String(Math.max(0, ...used)) },
      };
      mark = await this.#api.create<ConfigMap>(this.#configMaps, object, signal).catch(async (error: unknown) => {
        if (!isStatus(error, 409)) throw error;
        return this.#api.get<ConfigMap>(path, signal);
      });
    }
    const next = Number(mark.data?.["next"]);
    if (!Number.isSafeInteger(next) || next < 0) throw new Error(`ConfigMap ${idsName(this.#instance)} holds no next id`);
    return { next, resourceVersion: mark.metadata.resourceVersion };
  }
}

const readIf = (item: ConfigMap | null): ClaimState | null => (item === null ? null : readClaim(item));

/** The API server's refusals as Problems. */
const storing = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Problem) throw error;
    if (isStatus(error, 413, 422)) throw new Problem("SPEC_REFUSED", `Rejected, Reason: ${error.message}`, { cause: error });
    const why = error instanceof Error ? error.message : String(error);
    throw new Problem("DRIVER_UNREACHABLE", `The session cannot be written down in Kubernetes: ${why}.`, { cause: error });
  }
};
