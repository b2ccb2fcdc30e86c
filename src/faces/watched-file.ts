import { readFile, stat } from "node:fs/promises";

/** How long what was read is taken for what the file holds. */
const FRESH_MS = 1_000;

/**
 * What a small text file says, read again when it has changed. Looking is on demand, at most once a second: no timer, no watcher that a
 * swapped symbolic link (a Kubernetes Secret) would mislead. A file that cannot be read counts as empty: it lets nobody in.
 */
export class WatchedFile<Content> {
  readonly #path: string;
  readonly #parse: (text: string) => Content;
  readonly #onFault: (message: string) => void;
  #content: Content;
  #stamp = "";
  #lookedMs = Number.NEGATIVE_INFINITY;
  #looking: Promise<boolean> | null = null;

  /** Reads the file. Rejects when it cannot be read: a server must not start with a lock that has no key. */
  static async open<Content>(
    path: string,
    parse: (text: string) => Content,
    onFault: (message: string) => void,
  ): Promise<WatchedFile<Content>> {
    const file = new WatchedFile(path, parse, onFault);
    await stat(path);
    await file.refresh();
    return file;
  }

  private constructor(path: string, parse: (text: string) => Content, onFault: (message: string) => void) {
    this.#path = path;
    this.#parse = parse;
    this.#onFault = onFault;
    this.#content = parse("");
  }

  /** Whether `content` may be used without `refresh`. */
  get fresh(): boolean {
    return performance.now() - this.#lookedMs < FRESH_MS;
  }

  get content(): Content {
    return this.#content;
  }

  /** Looks whether the file has changed and reads it if so; resolves with whether it had. Never rejects. */
  refresh(): Promise<boolean> {
    this.#looking ??= this.#look().finally(() => {
      this.#lookedMs = performance.now();
      this.#looking = null;
    });
    return this.#looking;
  }

  async #look(): Promise<boolean> {
    try {
      const { mtimeMs, ctimeMs, size, ino } = await stat(this.#path);
      const stamp = [mtimeMs, ctimeMs, size, ino].join(" ");
      if (stamp === this.#stamp) return false;
      this.#content = this.#parse(await readFile(this.#path, "utf8"));
      this.#stamp = stamp;
    } catch (error) {
      if (this.#stamp === "unreadable") return false;
      this.#content = this.#parse("");
      this.#stamp = "unreadable";
      this.#onFault(`${this.#path} cannot be read: ${String(error)}`);
    }
    return true;
  }
}
