import { setTimeout as pause } from "node:timers/promises";
import { type Api, ApiError, isStatus } from "./api.ts";

/** What every object of the API has. */
export interface Stored {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly creationTimestamp?: string;
    /** When it is to be gone: so many seconds after somebody asked for it. */
    readonly deletionTimestamp?: string;
    readonly deletionGracePeriodSeconds?: number;
  };
}

export interface WatchedList<T extends Stored> {
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** An object is there, or has changed. */
  changed(object: T): void;
  /** It is gone; what it was like last. */
  gone(object: T): void;
  /** What is kept of it in memory; all of it when absent. */
  keep?(object: T): T;
  /** The watch is down or up again; words for a log. */
  fault(message: string): void;
  /** The list may not be read any more, in the API server's words; null: it may, and was read anew. */
  refused?(why: string | null): void;
}

const FIRST_PAUSE_MS = 200;
const PAUSE_LIMIT_MS = 10_000;
/** A watch without a word that ends sooner has failed: an API server that goes, a proxy that does not let it through. */
const SHORTEST_MS = 1_000;
/** After so many failures in a row whoever follows is told, and what an API server refuses to go on from is left. */
const FAILURES = 3;

/**
 * A list kept current by one watch: resumed where it stopped, read anew when the past is gone, whatever happens to the API
 * server or the way to it. What went while nobody watched is told of as gone.
 */
export class Watch<T extends Stored> {
  readonly #api: Api;
  readonly #list: WatchedList<T>;
  readonly #objects = new Map<string, T>();
  readonly #closing = new AbortController();
  readonly #synced = Promise.withResolvers<void>();
  readonly #looked = Promise.withResolvers<void>();
  readonly #running: Promise<void>;

  constructor(api: Api, list: WatchedList<T>) {
    this.#api = api;
    this.#list = list;
    this.#running = this.#run();
  }

  /** Resolves once the list was read for the first time, or the watch was closed. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  /** Resolves once the list was read or refused for the first time, or the watch was closed. */
  get looked(): Promise<void> {
    return this.#looked.promise;
  }

  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("closed"));
    this.#synced.resolve();
    this.#looked.resolve();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    let resourceVersion: string | null = null;
    let failures = 0;
    while (!signal.aborted) {
      try {
        resourceVersion ??= await this.#read(signal);
        const beganMs = performance.now();
        let silent = true;
        for await (const { type, object } of this.#api.watch(this.#list.path, this.#list.query, resourceVersion, signal)) {
          // Every event but ERROR, which throws, carries an object of the list's kind.
          const stored: T = lean(object as T);
          resourceVersion = stored.metadata.resourceVersion;
          failures = 0;
          silent = false;
          if (type === "DELETED") this.#remove(stored);
          else if (type !== "BOOKMARK") this.#put(stored);
        }
        if (silent && performance.now() - beganMs < SHORTEST_MS) throw new Error("it is ended as soon as it has begun");
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        this.#looked.resolve();
        if (isStatus(error, 403)) this.#list.refused?.(error.message);
        failures += 1;
        // Who may again is to know at once, not with the next change; an API server that was put back to an earlier state refuses otherwise than by 410.
        if (isStatus(error, 403, 410) || (failures >= FAILURES && error instanceof ApiError && error.status !== 429))
          resourceVersion = null;
        if (failures === FAILURES)
          this.#list.fault(`The watch of ${this.#list.path} is down: ${error instanceof Error ? error.message : String(error)}`);
        const asked = error instanceof ApiError ? error.retryAfterMs : 0;
        const grown = Math.min(PAUSE_LIMIT_MS, FIRST_PAUSE_MS * 2 ** (failures - 1)) * (0.5 + Math.random());
        await pause(Math.max(asked, grown), undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #read(signal: AbortSignal): Promise<string> {
    const { items, resourceVersion } = await this.#api.list<T>(this.#list.path, this.#list.query, signal);
    const seen = new Set<string>();
    for (const item of items.map(lean)) {
      seen.add(item.metadata.uid);
      if (this.#objects.get(item.metadata.uid)?.metadata.resourceVersion !== item.metadata.resourceVersion) this.#put(item);
    }
    for (const object of [...this.#objects.values()]) if (!seen.has(object.metadata.uid)) this.#remove(object);
    this.#synced.resolve();
    this.#looked.resolve();
    this.#list.refused?.(null);
    return resourceVersion;
  }

  #put(object: T): void {
    this.#objects.set(object.metadata.uid, this.#list.keep?.(object) ?? object);
    this.#list.changed(object);
  }

  #remove(object: T): void {
    this.#objects.delete(object.metadata.uid);
    this.#list.gone(object);
  }
}

/** Without the record of who wrote which field: it is as large as the rest, and nobody here asks. */
const lean = <T extends Stored>(object: T): T => {
  const { managedFields: _, ...metadata } = object.metadata as T["metadata"] & { managedFields?: unknown };
  return { ...object, metadata };
};
