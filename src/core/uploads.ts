import { createHash } from "node:crypto";
import { type Static, Type } from "typebox";
import { Check } from "typebox/value";
import { v7 as uuidv7 } from "uuid";
import type { Access, Caller, Right } from "./access.ts";
import { publishSession } from "./events.ts";
import type { Clock } from "./ports.ts";
import { Problem } from "./problems.ts";
import type { StoredObject, UploadStore } from "./upload-store.ts";
import { isUploadId, uploadUri } from "./upload-uri.ts";

/** What is written down of an upload once all of it is there; never changed. */
const UploadFile = Type.Object({
  id: Type.String(),
  name: Type.String(),
  bytes: Type.Integer({ minimum: 0 }),
  sha256: Type.String(),
  owner: Type.Union([Type.String(), Type.Null()]),
  proxyUser: Type.Union([Type.String(), Type.Null()]),
  createdMs: Type.Integer(),
});
type UploadFile = Static<typeof UploadFile>;

/** A file that somebody sent to be used in sessions and batches. Its content and its name never change. */
export interface Upload extends UploadFile {
  /** When a session or batch was last made with it, else when it was sent; Unix time in milliseconds. */
  readonly usedMs: number;
}

export interface UploadRules {
  /** Of one file. */
  readonly limitBytes: number;
  /** Of all files of one owner; 0: no limit. */
  readonly quotaBytes: number;
  /** How many one owner may have; 0: no limit. */
  readonly quotaFiles: number;
  /** How long a file may be unused; 0: for ever. */
  readonly retentionMs: number;
}

export interface UploadsParts {
  readonly store: UploadStore;
  readonly access: Access;
  readonly rules: UploadRules;
  readonly clock: Clock;
  /** Ids of the uploads that schedules name, and sessions and batches which have not ended, whichever server made them. */
  readonly named: () => ReadonlySet<string>;
}

/** What drivers that wait for uploads are sent. */
export interface UploadSource {
  /**
   * The bytes from a position on.
   * @throws Problem UPLOAD_NOT_FOUND, STORAGE_UNREACHABLE
   */
  open(
    id: string,
    fromByte: number,
    signal: AbortSignal,
  ): Promise<{ readonly sha256: string; readonly content: AsyncIterable<Uint8Array> }>;
}

export interface UploadDraft {
  readonly name: string;
  readonly proxyUser: string | null;
}

/** What an owner has, while some of it is still coming. */
class Ledger {
  storedBytes = 0;
  storedFiles = 0;
  comingBytes = 0;
  comingFiles = 0;
  takers = 0;
  /** Until it is known what is stored. */
  readonly opened: Promise<void>;

  constructor(stored: Promise<readonly Upload[]>) {
    this.opened = stored.then((uploads) => {
      this.storedFiles += uploads.length;
      this.storedBytes += uploads.reduce((sum, { bytes }) => sum + bytes, 0);
    });
  }
}

/** Parts of an upload in the store: `ID/data` first, `ID/upload.json` makes it known. The other two are empty: their times count. */
const PARTS = { data: "data", file: "upload.json", used: "used", condemned: "condemned" } as const;
/**
 * A file that is to be removed for not being used is condemned first, and from then on refused to new sessions: so long the servers have
 * to see those that were made with it just before.
 */
const CONDEMNED_MS = 10 * 60_000;
/** What was begun so long ago and is not whole never will be: no request takes so long. */
const UNFINISHED_MS = 60 * 60_000;
/** The longest name in bytes: it is a file's in the driver. */
const NAME_LIMIT_BYTES = 200;
const FILE_LIMIT_BYTES = 64 * 1024;

/**
 * Files for sessions and batches. The store is the truth: what is kept here is only what cannot change. Every method throws what the
 * store throws.
 */
export class Uploads implements UploadSource {
  readonly #parts: UploadsParts;
  readonly #store: UploadStore;
  readonly #access: Access;
  readonly #rules: UploadRules;
  readonly #clock: Clock;
  readonly #files = new Map<string, UploadFile>();
  readonly #closing = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  readonly #ledgers = new Map<string | null, Ledger>();

  constructor(parts: UploadsParts) {
    this.#parts = parts;
    this.#store = parts.store;
    this.#access = parts.access;
    this.#rules = parts.rules;
    this.#clock = parts.clock;
  }

  /**
   * Stores a file as it comes; durable when it returns, nothing is left when it throws.
   * @throws Problem INVALID (name), FORBIDDEN (proxyUser), TOO_LARGE, OVER_QUOTA; whatever `content` throws
   */
  async take({ name, proxyUser }: UploadDraft, caller: Caller, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<Upload> {
    this.#access.checkProxyUser(caller, proxyUser);
    checkName(name);
    const id = uuidv7();
    const ledger = this.#join(caller.name);
    let bytes = 0;
    let files = 0;
    const hash = createHash("sha256");
    try {
      await ledger.opened;
      this.#checkCount(ledger);
      files = 1;
      ledger.comingFiles += files;
      const counted = async function* (this: Uploads): AsyncGenerator<Uint8Array> {
        for await (const chunk of content) {
          const refusal = this.#refusal(bytes + chunk.length, chunk.length, ledger);
          if (refusal !== null) {
            // At once: another one of the owner's may have the room.
            ledger.comingBytes -= bytes;
            bytes = 0;
            throw refusal;
          }
          bytes += chunk.length;
          ledger.comingBytes += chunk.length;
          hash.update(chunk);
          yield chunk;
        }
      };
      await this.#store.put(`${id}/${PARTS.data}`, counted.call(this), signal);
      const file = { id, name, bytes, sha256: hash.digest("hex"), owner: caller.name, proxyUser, createdMs: this.#clock.now() };
      try {
        await this.#store.put(`${id}/${PARTS.file}`, only(Buffer.from(JSON.stringify(file))), signal);
      } catch (error) {
        await this.#store.remove(`${id}/${PARTS.data}`, AbortSignal.timeout(UNDO_MS)).catch(() => undefined);
        throw error;
      }
      this.#files.set(id, file);
      ledger.storedBytes += bytes;
      ledger.storedFiles += files;
      return { ...file, usedMs: file.createdMs };
    } finally {
      ledger.comingBytes -= bytes;
      ledger.comingFiles -= files;
      this.#leave(caller.name, ledger);
    }
  }

  /** @throws Problem OVER_QUOTA */
  #checkCount({ storedFiles, comingFiles }: Ledger): void {
    const { quotaFiles } = this.#rules;
    if (quotaFiles === 0 || storedFiles + comingFiles < quotaFiles) return;
    throw new Problem("OVER_QUOTA", `You have ${storedFiles + comingFiles} uploads, and one user may have ${quotaFiles}. ${MAKE_ROOM}`);
  }

  #refusal(fileBytes: number, moreBytes: number, { storedBytes, comingBytes }: Ledger): Problem | null {
    const { limitBytes, quotaBytes } = this.#rules;
    if (fileBytes > limitBytes) return new Problem("TOO_LARGE", `The file is larger than ${limitBytes} bytes, the limit here.`);
    if (quotaBytes === 0 || storedBytes + comingBytes + moreBytes <= quotaBytes) return null;
    return new Problem(
      "OVER_QUOTA",
      `Your uploads would take more than ${quotaBytes} bytes, the limit per user; those there are take ${storedBytes}. ${MAKE_ROOM}`,
    );
  }

  /** Shared by the uploads of one owner that come at once, so that together they keep to the quota. */
  #join(owner: string | null): Ledger {
    const ledger = this.#ledgers.get(owner) ?? new Ledger(this.#storedOf(owner));
    this.#ledgers.set(owner, ledger);
    ledger.takers += 1;
    return ledger;
  }

  #leave(owner: string | null, ledger: Ledger): void {
    ledger.takers -= 1;
    if (ledger.takers === 0) this.#ledgers.delete(owner);
  }

  async #storedOf(owner: string | null): Promise<readonly Upload[]> {
    return (await this.#all(AbortSignal.timeout(LIST_MS))).filter((upload) => upload.owner === owner);
  }

  /** Those that the caller may see, oldest first. */
  async list(caller: Caller, signal: AbortSignal): Promise<readonly Upload[]> {
    return (await this.#all(signal)).filter((upload) => this.#access.may(caller, "view", upload));
  }

  /** @throws Problem UPLOAD_NOT_FOUND, FORBIDDEN */
  async find(id: string, caller: Caller, right: Right, signal: AbortSignal): Promise<Upload> {
    const [upload] = isUploadId(id) ? await this.#all(signal, id) : [];
    if (upload === undefined) throw notFound(id);
    if (!this.#access.may(caller, right, upload)) throw new Problem("FORBIDDEN", `User '${caller.name}' may not ${right} upload ${id}.`);
    return upload;
  }

  /**
   * The upload, for a session or batch that the caller is about to make with it.
   * @throws Problem UPLOAD_NOT_FOUND, FORBIDDEN
   */
  async use(id: string, caller: Caller, signal: AbortSignal): Promise<Upload> {
    const upload = await this.find(id, caller, "modify", signal);
    await this.#store.put(`${id}/${PARTS.used}`, only(), signal);
    return upload;
  }

  /**
   * Removes it for good. Idempotent.
   * @throws Problem UPLOAD_IN_USE
   */
  async delete(upload: Upload, signal: AbortSignal): Promise<void> {
    if (this.#parts.named().has(upload.id))
      throw new Problem("UPLOAD_IN_USE", `Upload ${upload.id} is in use: a session or batch that has not ended names it, or a schedule.`);
    await this.#remove(upload, signal);
  }

  async #remove(upload: Pick<Upload, "id" | "owner" | "bytes">, signal: AbortSignal): Promise<void> {
    const { id, owner, bytes } = upload;
    const known = this.#files.has(id);
    // Unknown first: what is left when this is cut short is unfinished, and goes as such.
    for (const part of [PARTS.file, PARTS.used, PARTS.condemned, PARTS.data]) await this.#store.remove(`${id}/${part}`, signal);
    this.#files.delete(id);
    const ledger = this.#ledgers.get(owner);
    if (!known || ledger === undefined) return;
    ledger.storedBytes -= bytes;
    ledger.storedFiles -= 1;
  }

  async open(
    id: string,
    fromByte: number,
    signal: AbortSignal,
  ): Promise<{ readonly sha256: string; readonly content: AsyncIterable<Uint8Array> }> {
    const file = isUploadId(id) ? await this.#file(id, signal) : null;
    const content =
      file === null ? null : file.bytes <= fromByte ? only() : await this.#store.read(`${id}/${PARTS.data}`, fromByte, signal);
    if (file === null || content === null) throw notFound(id);
    return { sha256: file.sha256, content };
  }

  /** Where this machine's processes can read it; null where it is no file here. */
  pathOf(id: string): string | null {
    return isUploadId(id) ? this.#store.pathOf(`${id}/${PARTS.data}`) : null;
  }

  /**
   * Removes what nobody has used for too long and what was never finished; what somebody names stays. Idempotent, also among servers.
   */
  async tidy(signal: AbortSignal): Promise<void> {
    const now = this.#clock.now();
    const named = this.#parts.named();
    const stored = byId(await this.#store.list(null, signal));
    for (const [id, parts] of stored) {
      const file = parts.has(PARTS.file) ? await this.#file(id, signal) : null;
      if (file !== null) await this.#retain(file, parts, named.has(id), now, signal);
      // One that cannot be read may be a later release's.
      else if (!parts.has(PARTS.file) && newest(parts) < now - UNFINISHED_MS) await this.#remove({ id, owner: null, bytes: 0 }, signal);
    }
    for (const id of this.#files.keys()) if (!stored.has(id)) this.#files.delete(id);
    await this.#store.sweep(now - UNFINISHED_MS, signal);
  }

  async #retain(file: UploadFile, parts: Parts, named: boolean, now: number, signal: AbortSignal): Promise<void> {
    const { retentionMs } = this.#rules;
    const idleMs = now - usedMs(file, parts);
    const put = (part: string) => this.#store.put(`${file.id}/${part}`, only(), signal);
    const condemnedMs = parts.get(PARTS.condemned)?.changedMs;
    if (retentionMs === 0 || named || idleMs < retentionMs) {
      if (condemnedMs !== undefined) await this.#store.remove(`${file.id}/${PARTS.condemned}`, signal);
      // Its time begins when the last one that names it has ended.
      if (named && retentionMs > 0 && idleMs > retentionMs / 2) await put(PARTS.used);
    } else if (condemnedMs === undefined) await put(PARTS.condemned);
    else if (condemnedMs <= now - CONDEMNED_MS) await this.#remove(file, signal);
  }

  /** Begins to tidy, now and then; all sessions, batches and schedules must be known. */
  start(): void {
    const look = () => {
      this.tidy(this.#closing.signal).catch((error: unknown) => {
        if (!this.#closing.signal.aborted)
          publishSession({ session: -1, event: "fault", detail: `uploads cannot be tidied: ${String(error)}` });
      });
    };
    this.#timer ??= setInterval(look, TIDY_EVERY_MS).unref();
    look();
  }

  /** Idempotent. */
  close(): void {
    clearInterval(this.#timer);
    this.#closing.abort();
    this.#store.close();
  }

  /** All that can be used, or one of them; oldest first. */
  async #all(signal: AbortSignal, wanted: string | null = null): Promise<readonly Upload[]> {
    const found: Upload[] = [];
    for (const [id, parts] of byId(await this.#store.list(wanted, signal))) {
      const file = parts.has(PARTS.file) ? await this.#file(id, signal) : null;
      if (file !== null && !parts.has(PARTS.condemned)) found.push({ ...file, usedMs: usedMs(file, parts) });
    }
    return found.toSorted((a, b) => a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1));
  }

  /** null: there is none, or what was written down of it cannot be read. */
  async #file(id: string, signal: AbortSignal): Promise<UploadFile | null> {
    const known = this.#files.get(id);
    if (known !== undefined) return known;
    const content = await this.#store.read(`${id}/${PARTS.file}`, 0, signal);
    const file = content === null ? null : await readJson(content);
    if (!Check(UploadFile, file) || file.id !== id) return null;
    this.#files.set(id, file);
    return file;
  }
}

const MAKE_ROOM = "Delete some that you do not need (GET and DELETE /uploads).";
const TIDY_EVERY_MS = 10 * 60_000;
const UNDO_MS = 10_000;
const LIST_MS = 60_000;

const notFound = (id: string): Problem =>
  new Problem("UPLOAD_NOT_FOUND", `Upload '${id.slice(0, 100)}' not found: it was deleted, or not used for too long.`);

/** @throws Problem INVALID for a name that would be a path, a pattern or a list to those who are given it */
const checkName = (name: string): void => {
  const refuse = (why: string) => new Problem("INVALID", `The file's name ${why}: send it under another one (filename="…").`);
  if (name === "" || name === "." || name === ".." || name.includes("/")) throw refuse("is missing or is a path");
  if (/\p{Cc}/u.test(name) || !name.isWellFormed()) throw refuse("holds control characters");
  // Spark would take it for a list, a pattern or a name with another name behind it.
  if (/[,*?[\]{}\\#]/.test(name)) throw refuse("holds one of , * ? # [ ] { } \\");
  if (Buffer.byteLength(name) > NAME_LIMIT_BYTES) throw refuse(`is longer than ${NAME_LIMIT_BYTES} bytes`);
};

type Parts = ReadonlyMap<string, StoredObject>;

const byId = (objects: readonly StoredObject[]): ReadonlyMap<string, Parts> => {
  const found = new Map<string, Map<string, StoredObject>>();
  for (const object of objects) {
    const [id = "", part = ""] = object.key.split("/");
    if (!isUploadId(id)) continue;
    const parts = found.get(id) ?? new Map<string, StoredObject>();
    found.set(id, parts.set(part, object));
  }
  return found;
};

const newest = (parts: Parts): number => Math.max(...[...parts.values()].map(({ changedMs }) => changedMs));
const usedMs = ({ createdMs }: UploadFile, parts: Parts): number => Math.max(createdMs, parts.get(PARTS.used)?.changedMs ?? 0);

async function* only(...chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

const readJson = async (content: AsyncIterable<Uint8Array>): Promise<unknown> => {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.length;
    if (bytes > FILE_LIMIT_BYTES) return null;
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    return null;
  }
};

/** How clients are told to name it. */
export const uriOf = ({ id, name }: Pick<Upload, "id" | "name">): string => uploadUri({ id, name, fragment: "" });
