import { randomBytes, randomUUID } from "node:crypto";
import { Type } from "typebox";
import { Check } from "typebox/value";
import type { Claim, ClaimDraft, SessionEnd } from "../../core/ports.ts";
import { Problem } from "../../core/problems.ts";
import { NO_SPEC, redactSpec, SessionSpec } from "../../core/spec.ts";
import { type Api, isStatus } from "./api.ts";
import { KEY_BYTES, MasterKeys } from "./keys.ts";
import {
  claimName,
  holderName,
  INSTANCE_LABEL,
  idsName,
  instanceLabels,
  masterKeyName,
  PART_LABEL,
  SESSION_LABEL,
  sessionLabels,
  specName,
} from "./names.ts";
import type { Stored } from "./watch.ts";

interface ConfigMap extends Stored {
  readonly data?: Readonly<Record<string, string>>;
}
interface Secret extends Stored {
  readonly data?: Readonly<Record<string, string>>;
}

const EndJson = Type.Object({
  state: Type.Union([Type.Literal("dead"), Type.Literal("killed"), Type.Literal("success")]),
  reason: Type.String(),
  logTail: Type.Array(Type.String()),
  endedMs: Type.Integer(),
  appId: Type.Union([Type.String(), Type.Null()]),
});
const ClaimJson = Type.Object({
  owner: Type.Union([Type.String(), Type.Null()]),
  spec: SessionSpec,
  createdMs: Type.Integer(),
  notes: Type.Array(Type.String()),
  /** Whose master key its keys come from. */
  key: Type.String(),
  /** Whether a Secret holds the spec with its secrets. */
  secret: Type.Boolean(),
});
type ClaimJson = Type.Static<typeof ClaimJson>;

/** What a claim says of its workload besides what the core must know. */
export interface ClaimState {
  readonly claim: Claim;
  readonly keyId: string;
  readonly hasSecret: boolean;
  /** A pod was made: when there is none any more it is gone for good. */
  readonly launched: boolean;
  /** Somebody decided that it ends, and may not have come to the end of it. */
  readonly doom: SessionEnd | null;
}

/** A new name is its session's before the claim is written; so long an unknown holder is believed. */
const HOLDER_GRACE_MS = 60_000;
/** A claim follows its secrets within seconds. */
const UNCLAIMED_MS = 10 * 60_000;
const END_TAIL_BYTES = 128 * 1024;
/** Nothing in a claim is worth waiting for longer. */
const STORE_MS = 30_000;

/** Claims as ConfigMaps of the server's own namespace: whoever creates one has the id. */
export class Claims {
  readonly #api: Api;
  readonly #namespace: string;
  readonly #instance: string;
  readonly #keys: MasterKeys;
  /** One id at a time: the servers compete for the mark, our own requests need not. */
  #numbering: Promise<unknown> = Promise.resolve();
  #mark: { readonly next: number; readonly resourceVersion: string } | null = null;

  constructor(api: Api, namespace: string, instance: string, keys: MasterKeys) {
    this.#api = api;
    this.#namespace = namespace;
    this.#instance = instance;
    this.#keys = keys;
  }

  /**
   * Takes an id and a name. Durable when it returns.
   * @throws Problem NAME_TAKEN; SPEC_REFUSED when it is too large to be kept; DRIVER_UNREACHABLE when nothing can be stored
   */
  claim(draft: ClaimDraft, signal: AbortSignal): Promise<ClaimState> {
    return storing(async () => {
      const within = AbortSignal.any([signal, AbortSignal.timeout(STORE_MS)]);
      const uid = randomUUID();
      const id = await this.#takeId(within);
      if (draft.spec.name !== null) await this.#takeName(draft.spec.name, id, uid, within);
      try {
        return await this.#write(id, uid, draft, within);
      } catch (error) {
        await this.#leaveName(draft.spec.name, uid, AbortSignal.timeout(STORE_MS)).catch(() => undefined);
        throw error;
      }
    });
  }

  /** Every claim of this instance, ended ones too. */
  async all(signal: AbortSignal): Promise<readonly ClaimState[]> {
    const labelSelector = `${INSTANCE_LABEL}=${this.#instance},${PART_LABEL}=claim`;
    const { items } = await this.#api.list<ConfigMap>(this.#configMaps, { labelSelector }, signal);
    return items.map((item) => this.#read(item)).sort((a, b) => a.claim.id - b.claim.id);
  }

  /** The spec with its secrets. */
  async spec({ claim, hasSecret }: ClaimState, signal: AbortSignal): Promise<SessionSpec> {
    if (!hasSecret) return claim.spec;
    const secret = await this.#api.get<Secret>(`${this.#secrets}/${specName(this.#instance, claim.uid)}`, signal);
    const spec: unknown = JSON.parse(Buffer.from(secret.data?.["spec.json"] ?? "", "base64").toString());
    if (!Check(SessionSpec, spec)) throw new Error("the Secret with its settings is malformed");
    return spec;
  }

  async launched(claim: Claim, podUid: string, signal: AbortSignal): Promise<void> {
    await this.#patch(claim, { data: { launched: podUid } }, signal);
  }

  async doom(claim: Claim, end: SessionEnd, signal: AbortSignal): Promise<void> {
    await this.#patch(claim, { data: { "doom.json": JSON.stringify(bounded(end)) } }, signal);
  }

  /** Writes the end, unless one is there; then frees the name and forgets the secrets. */
  async conclude(claim: Claim, end: SessionEnd, signal: AbortSignal): Promise<void> {
    for (;;) {
      const stored = await this.#get(claim.id, signal);
      if (stored === null || stored.metadata.labels?.[SESSION_LABEL] !== claim.uid) break;
      if (stored.data?.["end.json"] !== undefined) break;
      const { resourceVersion } = stored.metadata;
      try {
        await this.#patch(claim, { metadata: { resourceVersion }, data: { "end.json": JSON.stringify(bounded(end)) } }, signal);
        break;
      } catch (error) {
        if (!isStatus(error, 409)) throw error;
      }
    }
    await this.#leaveName(claim.spec.name, claim.uid, signal);
    await this.#api.delete(`${this.#secrets}/${specName(this.#instance, claim.uid)}`, signal);
  }

  async remove(claim: Claim, signal: AbortSignal): Promise<void> {
    await this.#leaveName(claim.spec.name, claim.uid, signal);
    await this.#api.delete(`${this.#secrets}/${specName(this.#instance, claim.uid)}`, signal);
    const stored = await this.#get(claim.id, signal);
    if (stored?.metadata.labels?.[SESSION_LABEL] === claim.uid)
      await this.#api.delete(`${this.#configMaps}/${stored.metadata.name}`, signal, { preconditions: { uid: stored.metadata.uid } });
  }

  /** Whether this session's claim is there: what carries the uid of one that is not belongs to nobody. */
  async holds(id: number, uid: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#get(id, signal))?.metadata.labels?.[SESSION_LABEL] === uid;
  }

  /** Removes the secrets of claims that were begun and never written. */
  async clear(known: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const labelSelector = `${INSTANCE_LABEL}=${this.#instance},${PART_LABEL}=spec`;
    const { items } = await this.#api.list<Secret>(this.#secrets, { labelSelector }, signal);
    for (const { metadata } of items) {
      const ageMs = Date.now() - Date.parse(metadata.creationTimestamp ?? "");
      if (ageMs > UNCLAIMED_MS && !known.has(metadata.labels?.[SESSION_LABEL] ?? ""))
        await this.#api.delete(`${this.#secrets}/${metadata.name}`, signal, { preconditions: { uid: metadata.uid } });
    }
  }

  get #configMaps(): string {
    return `api/v1/namespaces/${this.#namespace}/configmaps`;
  }
  get #secrets(): string {
    return `api/v1/namespaces/${this.#namespace}/secrets`;
  }

  async #get(id: number, signal: AbortSignal): Promise<ConfigMap | null> {
    return found(this.#api.get<ConfigMap>(`${this.#configMaps}/${claimName(this.#instance, id)}`, signal));
  }

  async #patch(claim: Claim, patch: object, signal: AbortSignal): Promise<void> {
    await found(this.#api.merge(`${this.#configMaps}/${claimName(this.#instance, claim.id)}`, patch, signal));
  }

  async #write(id: number, uid: string, draft: ClaimDraft, signal: AbortSignal): Promise<ClaimState> {
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
    const json: ClaimJson = { owner: draft.owner, spec, createdMs: Date.now(), notes: [...draft.notes], key: this.#keys.current, secret };
    const object = {
      metadata: { name: claimName(this.#instance, id), labels: labels("claim") },
      data: { "claim.json": JSON.stringify(json) },
    };
    await this.#create(this.#configMaps, object, signal);
    const { owner, createdMs, notes } = json;
    const claim: Claim = { id, uid, owner, spec, createdMs, notes, end: null };
    return { claim, keyId: json.key, hasSecret: secret, launched: false, doom: null };
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

  #read(item: ConfigMap): ClaimState {
    const uid = item.metadata.labels?.[SESSION_LABEL] ?? item.metadata.uid;
    const id = Number(/-(\d+)$/.exec(item.metadata.name)?.[1] ?? Number.NaN);
    const { data = {} } = item;
    const json = parsed(data["claim.json"]);
    const end = parsed(data["end.json"]);
    const doom = parsed(data["doom.json"]);
    if (!Check(ClaimJson, json)) return unreadable(id, uid, item);
    const { owner, spec, createdMs, notes, key, secret } = json;
    return {
      claim: { id, uid, owner, spec, createdMs, notes, end: Check(EndJson, end) ? end : null },
      keyId: key,
      hasSecret: secret,
      launched: data["launched"] !== undefined,
      doom: Check(EndJson, doom) ? doom : null,
    };
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
      const used = (await this.all(signal)).map(({ claim }) => claim.id + 1);
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

  // ── Names ──

  async #takeName(name: string, id: number, uid: string, signal: AbortSignal): Promise<void> {
    const path = `${this.#configMaps}/${holderName(this.#instance, name)}`;
    const object = {
      metadata: { name: holderName(this.#instance, name), labels: sessionLabels(this.#instance, uid, "name") },
      data: { name, session: String(id) },
    };
    for (;;) {
      try {
        await this.#api.create(this.#configMaps, object, signal);
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
    const claim = await this.#get(Number(holder.data?.["session"]), signal);
    if (claim === null || claim.metadata.labels?.[SESSION_LABEL] !== holder.metadata.labels?.[SESSION_LABEL])
      return Date.now() - Date.parse(holder.metadata.creationTimestamp ?? "") < HOLDER_GRACE_MS;
    return claim.data?.["end.json"] === undefined;
  }

  async #leaveName(name: string | null, uid: string, signal: AbortSignal): Promise<void> {
    if (name === null) return;
    const path = `${this.#configMaps}/${holderName(this.#instance, name)}`;
    const holder = await found(this.#api.get<ConfigMap>(path, signal));
    if (holder?.metadata.labels?.[SESSION_LABEL] !== uid) return;
    await this.#api.delete(path, signal, { preconditions: { uid: holder.metadata.uid } }).catch(ignoreConflict);
  }
}

const found = async <T>(asked: Promise<T>): Promise<T | null> => {
  try {
    return await asked;
  } catch (error) {
    if (isStatus(error, 404)) return null;
    throw error;
  }
};

const ignoreConflict = (error: unknown): void => {
  if (!isStatus(error, 409)) throw error;
};

const parsed = (text: string | undefined): unknown => {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** The last lines that fit beside the rest of a claim. */
const bounded = (end: SessionEnd): SessionEnd => {
  const logTail: string[] = [];
  let room = END_TAIL_BYTES;
  for (const line of [...end.logTail].reverse()) {
    room -= Buffer.byteLength(line) + 3;
    if (room < 0) break;
    logTail.unshift(line);
  }
  return { ...end, logTail };
};

const unreadable = (id: number, uid: string, item: ConfigMap): ClaimState => {
  const reason = `The session's claim, ConfigMap ${item.metadata.name}, cannot be read back.`;
  const createdMs = Date.parse(item.metadata.creationTimestamp ?? "") || 0;
  const end: SessionEnd = { state: "dead", reason, logTail: [reason], endedMs: createdMs, appId: null };
  return {
    claim: { id, uid, owner: null, spec: NO_SPEC, createdMs, notes: [], end },
    keyId: "",
    hasSecret: false,
    launched: true,
    doom: end,
  };
};

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

/** The master key of this instance, made by whichever server comes first. */
export const readMasterKeys = async (api: Api, namespace: string, instance: string, signal: AbortSignal): Promise<MasterKeys> => {
  const name = masterKeyName(instance);
  const path = `api/v1/namespaces/${namespace}/secrets`;
  const read = () => found(api.get<Secret>(`${path}/${name}`, signal));
  let secret = await read();
  if (secret === null) {
    const made = {
      metadata: { name, labels: instanceLabels(instance, "master-key") },
      type: "Opaque",
      data: { current: randomBytes(KEY_BYTES).toString("base64") },
    };
    await api.create(path, made, signal).catch(ignoreConflict);
    secret = await read();
  }
  const keys = ["current", "previous"]
    .flatMap((key) => secret?.data?.[key] ?? [])
    .map((text) => new Uint8Array(Buffer.from(text, "base64")));
  if (keys.length === 0 || keys.some((key) => key.length !== KEY_BYTES))
    throw new Error(`Secret ${namespace}/${name} must hold keys of ${KEY_BYTES} bytes as 'current' and, while one is rotated, 'previous'`);
  return new MasterKeys(keys);
};
