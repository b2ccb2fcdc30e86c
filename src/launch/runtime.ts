import { createHash, hkdfSync, randomBytes, randomUUID } from "node:crypto";
import { chmod, lstat, mkdir, readdir, readFile, realpath, rename, rm, stat, symlink, unlink, writeFile } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { Type } from "typebox";
import type { Attempt, Claim, ClaimDraft, SessionEnd } from "../core/ports.ts";
import { Problem } from "../core/problems.ts";
import { redactSpec } from "../core/redaction.ts";
import { NO_SPEC, SessionSpec } from "../core/spec.ts";
import { WrittenAttempts, WrittenEnd } from "./ending.ts";
import { describe, readWhole, storing, Unreadable, writeWhole } from "./files.ts";
import { idFor } from "./ids.ts";
import { type DirectoryLock, isCode, lockDirectory } from "./lock.ts";

/** Where everything of one session is; of a batch that was tried again, what its attempts do not share is the current one's. */
export interface SessionPaths {
  readonly directory: string;
  /** The claim without secrets: once it is there the id is taken and the session is known. */
  readonly claim: string;
  /** What was asked for, secrets included. */
  readonly spec: string;
  readonly end: string;
  /** The attempts before the current one. */
  readonly attempts: string;
  /** What the supervisor is told; see python-shim's config.py. */
  readonly driver: string;
  /** Spark's conf, as the supervisor writes it down for Spark. */
  readonly properties: string;
  /** Which process the supervisor is, and how often it was started again. */
  readonly supervisor: string;
  readonly output: string;
  readonly journal: string;
  /** In the journal, by the supervisor's names: what statements did, and the driver's log. */
  readonly records: string;
  readonly log: string;
  readonly termination: string;
  readonly work: string;
  /** The session's own copies of what users uploaded, as the supervisor looks for them: `ID/NAME`. */
  readonly uploads: string;
  readonly socket: string;
}

const ClaimFile = Type.Object({
  id: Type.Integer({ minimum: 0 }),
  uid: Type.String({ format: "uuid" }),
  owner: Type.Union([Type.String(), Type.Null()]),
  spec: SessionSpec,
  createdMs: Type.Integer(),
  notes: Type.Array(Type.String()),
});

/** A unix socket's address holds so many bytes with its end (Linux 108, the BSDs and macOS 104). */
const SOCKET_PATH_BYTES = process.platform === "linux" ? 107 : 103;
const KEY_BYTES = 32;
const PRIVATE = 0o700;

/**
 * The directory where a local server keeps what must survive it: claims, names, the master key. One server at a time holds it.
 *
 *     lock-<n>  master.key  next-id  names/<hash>  schedules/<name>.json  trash/
 *     sessions/<id>/  claim.json spec.json end.json driver.json spark.properties supervisor.json driver.out driver.sock journal/ work/
 *                     uploads/ termination.json
 *     sessions/<id>/  attempts.json  attempt-<n>/ with the driver's files, from the second one on
 */
export class RuntimeDirectory {
  readonly #root: string;
  readonly #masterKey: Uint8Array;
  readonly #lock: DirectoryLock;
  #nextId: number;
  /** Claims take their ids one after the other. */
  #numbering: Promise<unknown> = Promise.resolve();

  private constructor(root: string, masterKey: Uint8Array, nextId: number, lock: DirectoryLock) {
    this.#root = root;
    this.#masterKey = masterKey;
    this.#nextId = nextId;
    this.#lock = lock;
  }

  /** Makes what is missing and takes the lock. Rejects when another server has it, or when nothing can be stored there. */
  static async open(path: string): Promise<RuntimeDirectory> {
    await mkdir(path, { recursive: true, mode: PRIVATE });
    const root = await realpath(path);
    // What an earlier umask or a packager left open is closed: keys and journals are below.
    await chmod(root, PRIVATE);
    const lock = await lockDirectory(root);
    try {
      for (const name of ["sessions", "names", "schedules", "trash"]) await mkdir(join(root, name), { recursive: true, mode: PRIVATE });
      // Nothing here needs room on the disk when it was there before: a server must come back on a full one.
      for (const name of await readdir(join(root, "trash"))) await rm(join(root, "trash", name), { recursive: true, force: true });
      const masterKey = await readOrMakeKey(join(root, "master.key"));
      return new RuntimeDirectory(root, masterKey, await readNextId(root), lock);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Where schedules are kept. */
  get schedules(): string {
    return join(this.#root, "schedules");
  }

  /** The link's key: derived, so that a server needs nothing but the claim to speak to a driver. */
  key(uid: string): Uint8Array {
    return this.#derived(uid, "longwick link key");
  }

  /** See Workload. */
  seal(uid: string): Uint8Array {
    return this.#derived(uid, "longwick seal");
  }

  #derived(uid: string, purpose: string): Uint8Array {
    return new Uint8Array(hkdfSync("sha256", this.#masterKey, uid, purpose, KEY_BYTES));
  }

  /** `attempt`: from 1. */
  paths(id: number, attempt = 1): SessionPaths {
    const session = join(this.#root, "sessions", String(id));
    const directory = attempt === 1 ? session : join(session, `attempt-${attempt}`);
    const at = (name: string) => join(directory, name);
    return {
      directory,
      claim: join(session, "claim.json"),
      spec: join(session, "spec.json"),
      end: join(session, "end.json"),
      attempts: join(session, "attempts.json"),
      driver: at("driver.json"),
      properties: at("spark.properties"),
      supervisor: at("supervisor.json"),
      output: at("driver.out"),
      journal: at("journal"),
      records: at(join("journal", "records")),
      log: at(join("journal", "log")),
      termination: at("termination.json"),
      work: at("work"),
      uploads: at("uploads"),
      socket: socketPath(directory),
    };
  }

  /**
   * Takes the next id and the name. As in Livy an id that met a taken name is spent.
   * @throws Problem NAME_TAKEN, DRIVER_UNREACHABLE when nothing can be stored
   */
  async claim(draft: ClaimDraft, createdMs: number): Promise<Claim> {
    return storing(async () => {
      const id = await idFor(draft, () => this.#takeId());
      const paths = this.paths(id);
      const claim: Claim = {
        id,
        uid: draft.uid,
        owner: draft.owner,
        spec: redactSpec(draft.spec),
        createdMs,
        notes: draft.notes,
        attempts: [],
        end: null,
      };
      try {
        if (draft.spec.name !== null) await this.#takeName(draft.spec.name, id);
        await writeWhole(paths.spec, JSON.stringify(draft.spec));
        const { end: _none, attempts: _yet, ...stored } = claim;
        await writeWhole(paths.claim, JSON.stringify(stored));
      } catch (error) {
        await this.#leaveName(draft.spec.name, id);
        await rm(paths.directory, { recursive: true, force: true });
        throw error;
      }
      return claim;
    });
  }

  /** Every claim, by id. One that cannot be read is told of as ended, with the reason; a half-made one, of which nobody knows, goes. */
  async claims(): Promise<readonly Claim[]> {
    const names = await readdir(join(this.#root, "sessions"));
    const ids = names.filter((name) => /^\d+$/.test(name)).map(Number);
    const claims: Claim[] = [];
    for (const id of ids.sort((a, b) => a - b)) {
      const claim = await this.#readClaim(id);
      if (claim !== null) claims.push(claim);
    }
    return claims;
  }

  /**
   * What was asked for, with its secrets.
   * @throws Unreadable
   */
  async spec(id: number): Promise<SessionSpec> {
    const spec = await readWhole(this.paths(id).spec, SessionSpec);
    if (spec === null) throw new Unreadable("what the session asked for is gone");
    return spec;
  }

  /** Whether the end is written down, and not only known from what is missing. */
  concluded(id: number): Promise<boolean> {
    return exists(this.paths(id).end);
  }

  /** Writes down that an attempt is followed by another, unless that was done before; what only its driver had to know goes. */
  async retry(claim: Claim, attempt: Attempt): Promise<Claim> {
    const paths = currentPaths(this, claim);
    return storing(async () => {
      const end = await readWhole(paths.end, WrittenEnd);
      if (end !== null) return { ...claim, end };
      const present = (await readWhole(paths.attempts, WrittenAttempts)) ?? [];
      const attempts = present.length > claim.attempts.length ? present : [...claim.attempts, attempt];
      const next = { ...claim, attempts };
      await mkdir(currentPaths(this, next).directory, { recursive: true, mode: PRIVATE });
      if (attempts !== present) await writeWhole(paths.attempts, JSON.stringify(attempts));
      for (const path of [paths.driver, paths.properties, paths.socket]) await rm(path, { force: true });
      return next;
    });
  }

  /**
   * Writes the end down, unless one is there, and answers the one that is; secrets go, of the journal the records stay, the name is free
   * again.
   */
  async conclude(claim: Claim, end: SessionEnd): Promise<SessionEnd> {
    const paths = currentPaths(this, claim);
    const write = () =>
      storing(async () => {
        const present = await readWhole(paths.end, WrittenEnd).catch(() => null);
        if (present === null) await writeWhole(paths.end, JSON.stringify(end));
        return present ?? end;
      });
    const written = await write().catch(async () => {
      // On a full disk the journal makes the room.
      await rm(paths.journal, { recursive: true, force: true });
      return write();
    });
    // What an application wrote is what it leaves.
    const log = claim.spec.application === undefined ? [paths.log] : [];
    const { spec, driver, properties, socket, uploads } = paths;
    for (const path of [spec, driver, properties, socket, uploads, ...log]) await rm(path, { recursive: true, force: true });
    await this.#leaveName(claim.spec.name, claim.id);
    return written;
  }

  /** Nothing is left but that the id was used. */
  async remove(claim: Claim): Promise<void> {
    const paths = currentPaths(this, claim);
    const { directory } = this.paths(claim.id);
    const trash = join(this.#root, "trash", `${claim.id}-${randomBytes(4).toString("hex")}`);
    await this.#leaveName(claim.spec.name, claim.id);
    await rm(paths.socket, { force: true });
    // In one step: a server that dies in between does not find half a session.
    await rename(directory, trash).catch((error: unknown) => {
      if (!isCode(error, "ENOENT")) throw error;
    });
    await rm(trash, { recursive: true, force: true });
  }

  /** Makes sure that the place of a driver's socket is there and ours alone. */
  async prepareSocket(paths: SessionPaths): Promise<void> {
    const inside = join(paths.directory, "driver.sock");
    await rm(paths.socket, { force: true });
    if (paths.socket === inside) return;
    await mkdir(socketDirectory(), { recursive: true, mode: PRIVATE });
    const { uid, mode } = await lstat(socketDirectory());
    if (uid !== userInfo().uid || (mode & 0o777) !== PRIVATE) {
      throw new Error(`${socketDirectory()} is not this user's alone; remove it, or give the server a shorter runtime directory`);
    }
    // For people who look for it.
    await rm(inside, { force: true });
    await symlink(paths.socket, inside);
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#lock.release();
  }

  async #takeId(): Promise<number> {
    const taking = this.#numbering.then(async () => {
      for (;;) {
        const id = this.#nextId;
        // First the mark, then the directory: a server that dies in between has spent an id, not given one twice.
        await writeWhole(join(this.#root, "next-id"), `${id + 1}\n`);
        this.#nextId = id + 1;
        try {
          await mkdir(this.paths(id).directory, { mode: PRIVATE });
          return id;
        } catch (error) {
          if (!isCode(error, "EEXIST")) throw error;
        }
      }
    });
    this.#numbering = taking.catch(() => undefined);
    return taking;
  }

  async #takeName(name: string, id: number): Promise<void> {
    const path = this.#namePath(name);
    for (;;) {
      try {
        await writeFile(path, String(id), { flag: "wx", mode: 0o600 });
        return;
      } catch (error) {
        if (!isCode(error, "EEXIST")) throw error;
      }
      const holder = await readFile(path, "utf8").catch(() => "");
      if (/^\d+$/.test(holder) && (await this.#holds(Number(holder), name)))
        throw new Problem("NAME_TAKEN", `Duplicate session name: ${name} for session ${id}`);
      // Of a claim that was never finished.
      await unlink(path).catch(() => undefined);
    }
  }

  async #holds(id: number, name: string): Promise<boolean> {
    const paths = this.paths(id);
    if (await exists(paths.end)) return false;
    const claim = await readWhole(paths.claim, ClaimFile).catch(() => null);
    // A claim that this server is making right now has its directory, not yet its file.
    return claim === null ? exists(paths.directory) : claim.spec.name === name;
  }

  async #leaveName(name: string | null, id: number): Promise<void> {
    if (name === null) return;
    const holder = await readFile(this.#namePath(name), "utf8").catch(() => null);
    if (holder === String(id)) await unlink(this.#namePath(name)).catch(() => undefined);
  }

  /** Names may hold slashes and be longer than a file's name. */
  #namePath(name: string): string {
    return join(this.#root, "names", createHash("sha256").update(name).digest("hex"));
  }

  async #readClaim(id: number): Promise<Claim | null> {
    const paths = this.paths(id);
    let end = await readWhole(paths.end, WrittenEnd).catch((error: unknown) => unreadableEnd("end", error));
    try {
      const claim = await readWhole(paths.claim, ClaimFile);
      const attempts = (await readWhole(paths.attempts, WrittenAttempts)) ?? [];
      if (claim !== null) return { ...claim, id, attempts, end };
      if (!(await exists(paths.driver)) && end === null) {
        await rm(paths.directory, { recursive: true, force: true });
        return null;
      }
      end ??= unreadableEnd("claim", new Unreadable("it is gone"));
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      end ??= unreadableEnd("claim", error);
    }
    const { mtimeMs } = await stat(paths.directory);
    const createdMs = Math.floor(mtimeMs);
    return { id, uid: await this.#uidOf(paths), owner: null, spec: NO_SPEC, createdMs, notes: [], attempts: [], end };
  }

  /** The uid under which the processes of a torn claim run, as far as anything still tells. */
  async #uidOf(paths: SessionPaths): Promise<string> {
    const driver = await readWhole(paths.driver, Type.Object({ session: Type.String({ format: "uuid" }) })).catch(() => null);
    return driver?.session ?? randomUUID();
  }
}

/** Those of the attempt that is the claim's last. */
export const currentPaths = (runtime: RuntimeDirectory, { id, attempts }: Claim): SessionPaths => runtime.paths(id, attempts.length + 1);

const unreadableEnd = (what: "claim" | "end", error: unknown): SessionEnd => {
  const reason = `The session's ${what} cannot be read back from the runtime directory: ${describe(error)}.`;
  return { state: "dead", reason, logTail: [reason], endedMs: Date.now(), appId: null };
};

const exists = async (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

const readNextId = async (root: string): Promise<number> => {
  const mark = Number.parseInt(await readFile(join(root, "next-id"), "utf8").catch(() => "0"), 10);
  const used = (await readdir(join(root, "sessions"))).filter((name) => /^\d+$/.test(name)).map((name) => Number(name) + 1);
  return Math.max(Number.isSafeInteger(mark) ? mark : 0, 0, ...used);
};

const readOrMakeKey = async (path: string): Promise<Uint8Array> => {
  const key = await readFile(path).catch((error: unknown) => {
    if (isCode(error, "ENOENT")) return null;
    throw error;
  });
  if (key !== null && key.length === KEY_BYTES) return key;
  if (key !== null) throw new Error(`${path} is not a key of ${KEY_BYTES} bytes; restore it, or remove it to give up the drivers that run`);
  const made = randomBytes(KEY_BYTES);
  await writeWhole(path, made);
  return made;
};

const socketDirectory = (): string => join(tmpdir(), `longwick-${userInfo().uid}`);

/** In the session's directory where that fits; else under a short name, always the same one, in a directory of the user's. */
const socketPath = (directory: string): string => {
  const inside = join(directory, "driver.sock");
  if (Buffer.byteLength(inside) <= SOCKET_PATH_BYTES) return inside;
  return join(socketDirectory(), `${createHash("sha256").update(directory).digest("hex").slice(0, 24)}.sock`);
};
