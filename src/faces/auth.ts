import { createHash, hash, randomBytes } from "node:crypto";
import type { Access, Caller } from "../core/access.ts";
import { Problem } from "../core/problems.ts";
import { checkPassword, type Htpasswd, parseHtpasswd } from "./htpasswd.ts";
import { WatchedFile } from "./watched-file.ts";

export interface AuthOptions {
  /** Apache password file for HTTP Basic; null: no passwords. */
  readonly htpasswdFile: string | null;
  /** Lines `SHA-256-of-the-token user`, the hash in hex; null: no tokens. */
  readonly tokensFile: string | null;
  readonly access: Access;
  /** Throws, with words for people, when these users may not all use this server. Asked at the start and whenever a file has changed. */
  readonly checkUsers: (users: readonly string[]) => void;
  /** Hears of files that cannot be read and of lines that are left out; never of secrets. */
  readonly onFault: (message: string) => void;
}

/** Token hash (hex) → user. */
type Tokens = ReadonlyMap<string, string>;

/** Verdicts remembered, so that a password is hashed once and not with every request. */
const REMEMBERED = 10_000;
/** Wrong credentials an address may try a minute; repeating the same ones counts once. */
const ATTEMPTS = 10;
const ATTEMPTS_MS = 60_000;
/** Credentials being checked at once; hashing a password takes long, and takes the processor. */
const CHECKS = 32;

/**
 * Says who is calling: by HTTP Basic, by bearer token, or, with neither file, nobody in particular. Files are read again when they
 * change; what was verified before a change is forgotten with it.
 */
export class Auth {
  readonly #options: AuthOptions;
  readonly #passwords: WatchedFile<Htpasswd> | null;
  readonly #tokens: WatchedFile<Tokens> | null;
  /** Verdicts by a keyed hash of the header, so that no credential is kept in memory and no lookup's time tells of one. */
  readonly #verdicts = new Map<string, string | null>();
  /** Of this process alone; as no hash ever leaves it, key and header in one SHA-256 do, at a fifth of an HMAC's cost. */
  readonly #verdictKey = randomBytes(64).toString("base64");
  /** Why nobody is let in; null: they are. */
  #shut: string | null = null;
  readonly #checking = new Map<string, Promise<string | null>>();
  readonly #attempts = new Map<string, { count: number; untilMs: number }>();

  /** @throws Error when a file cannot be read */
  static async open(options: AuthOptions): Promise<Auth> {
    const { htpasswdFile, tokensFile, onFault } = options;
    const fault = (file: string) => (message: string) => onFault(`${file}: ${message}`);
    const [passwords, tokens] = await Promise.all([
      htpasswdFile === null ? null : WatchedFile.open(htpasswdFile, (text) => parseHtpasswd(text, fault(htpasswdFile)), onFault),
      tokensFile === null ? null : WatchedFile.open(tokensFile, (text) => parseTokens(text, fault(tokensFile)), onFault),
    ]);
    const auth = new Auth(options, passwords, tokens);
    options.checkUsers(auth.#users);
    return auth;
  }

  private constructor(options: AuthOptions, passwords: WatchedFile<Htpasswd> | null, tokens: WatchedFile<Tokens> | null) {
    this.#options = options;
    this.#passwords = passwords;
    this.#tokens = tokens;
  }

  /** Whether callers must say who they are. */
  get on(): boolean {
    return this.#passwords !== null || this.#tokens !== null;
  }

  /** Everybody whom the files name. */
  get #users(): readonly string[] {
    return [...new Set([...(this.#passwords?.content.keys() ?? []), ...(this.#tokens?.content.values() ?? [])])];
  }

  /** The `WWW-Authenticate` of a 401: Livy's Java client sends its password only after one. */
  get challenge(): string {
    return this.#passwords === null ? 'Bearer realm="longwick"' : 'Basic realm="longwick", charset="UTF-8"';
  }

  /**
   * Who is calling, at once when that was verified before.
   * @throws Problem UNAUTHENTICATED, TOO_MANY_ATTEMPTS, FORBIDDEN (not among the allowed users)
   */
  identify(authorization: string | undefined, remote: string): Caller | Promise<Caller> {
    if (!this.on) return { name: null, remote };
    if (authorization === undefined) throw new Problem("UNAUTHENTICATED", "Say who you are: this server asks for a user.");
    const key = hash("sha256", this.#verdictKey + authorization, "base64");
    if (this.#fresh) {
      const verdict = this.#verdicts.get(key);
      if (verdict !== undefined) return this.#callerOf(verdict, remote);
    }
    return this.#verify(key, authorization, remote);
  }

  /**
   * Whether somebody who is not calling now could: what was put off in their name is still theirs.
   * @throws Problem FORBIDDEN
   */
  async checkUser(name: string | null): Promise<void> {
    if (!this.on) return;
    const changes = await Promise.all([this.#passwords?.refresh(), this.#tokens?.refresh()]);
    if (changes.includes(true)) this.#changed();
    if (this.#shut !== null) throw new Problem("FORBIDDEN", this.#shut);
    if (name === null) throw new Problem("FORBIDDEN", "It is nobody's: it was made while authentication was off.");
    if (!this.#users.includes(name)) throw new Problem("FORBIDDEN", `User '${name}' is not known here any more.`);
    this.#options.access.checkAllowed({ name, remote: null });
  }

  get #fresh(): boolean {
    return (this.#passwords?.fresh ?? true) && (this.#tokens?.fresh ?? true);
  }

  async #verify(key: string, authorization: string, remote: string): Promise<Caller> {
    const changes = await Promise.all([this.#passwords?.refresh(), this.#tokens?.refresh()]);
    if (changes.includes(true)) this.#changed();
    const known = this.#verdicts.get(key);
    if (known !== undefined) return this.#callerOf(known, remote);
    let checking = this.#checking.get(key);
    if (checking === undefined) {
      const attempt = this.#countAttempt(remote);
      checking = this.#check(authorization)
        .then((verdict) => {
          // A good one was no attempt at guessing.
          if (verdict !== null) attempt.count -= 1;
          return verdict;
        })
        .finally(() => this.#checking.delete(key));
      this.#checking.set(key, checking);
    }
    const verdict = await checking;
    this.#remember(key, verdict);
    return this.#callerOf(verdict, remote);
  }

  /** Forgets what was verified before. Users who may not be there together shut the door until the file is mended. */
  #changed(): void {
    this.#verdicts.clear();
    this.#shut = null;
    try {
      this.#options.checkUsers(this.#users);
    } catch (error) {
      this.#shut = error instanceof Error ? error.message : String(error);
      this.#options.onFault(this.#shut);
    }
  }

  #callerOf(name: string | null, remote: string): Caller {
    if (this.#shut !== null) throw new Problem("FORBIDDEN", this.#shut);
    if (name === null) throw new Problem("UNAUTHENTICATED", "Unknown user or wrong password or token.");
    const caller = { name, remote };
    this.#options.access.checkAllowed(caller);
    return caller;
  }

  async #check(authorization: string): Promise<string | null> {
    const [, scheme, credentials] = /^\s*(\S+)\s+(\S+)\s*$/.exec(authorization) ?? [];
    if (scheme === undefined || credentials === undefined) return null;
    // Jupyter's clients say `token` where others say `Bearer`.
    if (/^(bearer|token)$/i.test(scheme)) {
      return this.#tokens?.content.get(createHash("sha256").update(credentials).digest("hex")) ?? null;
    }
    if (!/^basic$/i.test(scheme) || this.#passwords === null) return null;
    const [, user, password] = /^([^:]+):(.*)$/s.exec(Buffer.from(credentials, "base64").toString("utf8")) ?? [];
    if (user === undefined || password === undefined) return null;
    return (await checkPassword(this.#passwords.content, user, password)) ? user : null;
  }

  #remember(key: string, verdict: string | null): void {
    if (this.#verdicts.size >= REMEMBERED) {
      const [oldest] = this.#verdicts.keys();
      if (oldest !== undefined) this.#verdicts.delete(oldest);
    }
    this.#verdicts.set(key, verdict);
  }

  /** Counts before the check, so that many guesses sent at once are counted too. */
  #countAttempt(remote: string): { count: number } {
    const now = performance.now();
    if (this.#attempts.size > REMEMBERED)
      for (const [other, { untilMs }] of this.#attempts) if (untilMs < now) this.#attempts.delete(other);
    const known = this.#attempts.get(remote);
    const attempt = known === undefined || known.untilMs < now ? { count: 0, untilMs: now + ATTEMPTS_MS } : known;
    if (attempt.count >= ATTEMPTS || this.#checking.size >= CHECKS) {
      throw new Problem("TOO_MANY_ATTEMPTS", "Too many failed attempts to log in: try again in a minute.");
    }
    attempt.count += 1;
    this.#attempts.set(remote, attempt);
    return attempt;
  }
}

const parseTokens = (text: string, onFault: (message: string) => void): Tokens => {
  const tokens = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, hash, user] = /^\s*([0-9a-f]{64})\s+(\S+)\s*$/i.exec(line) ?? [];
    if (hash !== undefined && user !== undefined) tokens.set(hash.toLowerCase(), user);
    else onFault(`line ${index + 1} is left out: it must be the SHA-256 of a token in hex, a space and a user`);
  }
  return tokens;
};
