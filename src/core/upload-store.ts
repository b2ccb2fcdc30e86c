/** What a store holds: opaque bytes under a key of one or two path segments, replaced or removed as a whole. */
export interface StoredObject {
  readonly key: string;
  readonly bytes: number;
  /** When it was written last, by the store's clock; Unix time in milliseconds. */
  readonly changedMs: number;
}

/**
 * Where uploads are kept: a directory or a bucket. Several servers may use one store at once.
 * Every method throws Problem STORAGE_FULL or STORAGE_UNREACHABLE for what the store refuses.
 */
export interface UploadStore {
  /** What is whole below a key's first segment, or at all; whichever server wrote it. */
  list(segment: string | null, signal: AbortSignal): Promise<readonly StoredObject[]>;
  /**
   * Writes an object, seen by others only once it is whole and durable. What `content` throws is thrown on; nothing is left of the
   * object then.
   */
  put(key: string, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
  /** The bytes from a position on, which must be below the object's size or 0; null when there is no such object. */
  read(key: string, fromByte: number, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | null>;
  /** Idempotent. */
  remove(key: string, signal: AbortSignal): Promise<void>;
  /** Where this machine's processes can read the object as a file; null where it is none. Says nothing of whether it is there. */
  pathOf(key: string): string | null;
  /** Removes what writers that died before this time (Unix ms) have left unfinished. */
  sweep(beforeMs: number, signal: AbortSignal): Promise<void>;
  /** Idempotent. */
  close(): void;
}
